package check

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/contrib/propagators/b3"
	otelprop "go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"example.com/bookinfo/propagation"
)

// participant is an app with OpenTelemetry's SDK, which forwards the headers of set as they came.
func participant(set propagation.Set, p otelprop.TextMapPropagator, sampler sdktrace.Sampler, more func(http.Header, *http.Request)) app {
	return func(upstream string) http.Handler {
		options := []otelhttp.Option{otelhttp.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler))), otelhttp.WithPropagators(p)}
		client := &http.Client{Transport: otelhttp.NewTransport(propagation.Transport{}, options...)}
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := http.Header{}
			if more != nil {
				more(h, r)
			}
			_, _ = ask(r.Context(), client, upstream, h)
			fmt.Fprint(w, "ok")
		})
		return otelhttp.NewHandler(propagation.Handler(set, handler), "", options...)
	}
}

func TestParticipants(t *testing.T) {
	w3c := otelprop.NewCompositeTextMapPropagator(otelprop.TraceContext{}, otelprop.Baggage{})
	b3multi := b3.New(b3.WithInjectEncoding(b3.B3MultipleHeader))
	both := otelprop.NewCompositeTextMapPropagator(otelprop.TraceContext{}, otelprop.Baggage{}, b3multi)
	always := sdktrace.ParentBased(sdktrace.AlwaysSample())
	beside := propagation.All().Only(propagation.RequestID, propagation.ClientTraceID)
	var last string
	for _, tt := range []struct {
		name string
		app  app
		args []string
		want []string
	}{
		{"W3C", participant(beside, w3c, always, nil), nil, nil},
		{"W3C and B3", participant(beside, both, always, nil), []string{"--require", "request-id,w3c,b3"}, nil},
		{"over h2c", participant(beside, w3c, always, nil), []string{"--protocol", "h2c"}, nil},
		{"raw headers beside the SDK's", participant(propagation.All(), w3c, always, nil), nil, []string{ruleMalformed, ruleRaw, ruleTwoContexts}},
		{"no x-request-id", participant(propagation.Set{}, w3c, always, nil), nil, []string{ruleRequestIDLost}},
		{"does not read B3", participant(beside, w3c, always, nil), []string{"--require", "request-id,w3c,b3"}, []string{ruleNewTrace}},
		{"samples nothing", participant(beside, w3c, sdktrace.NeverSample(), nil), nil, []string{ruleSampledChanged}},
		{"forgets to write", participant(beside, otelprop.NewCompositeTextMapPropagator(), always, nil), nil, []string{ruleNoContext}},
		{"is a forwarder", good, nil, []string{ruleMalformed, ruleNoContext, ruleRaw}},
		{"writes what nobody can read", participant(beside, otelprop.NewCompositeTextMapPropagator(), always, func(h http.Header, r *http.Request) {
			h.Set("Traceparent", "00-0-0-01")
		}), nil, []string{ruleMalformed}},
		{"leaks the trace of the last request", participant(beside, otelprop.NewCompositeTextMapPropagator(), always, func(h http.Header, r *http.Request) {
			if v := r.Header.Get("Traceparent"); len(v) == 55 {
				last = v[:36] + "1111111111111111" + v[52:]
			}
			if last != "" {
				h.Set("Traceparent", last)
			}
		}), nil, []string{ruleLeak, ruleNoContext}}, // nothing leaves before the first context came
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := examine(t, tt.app, append([]string{"--profile", "sdk"}, tt.args...)...)
			got := errorsOf(r)
			if !slices.Equal(got, tt.want) {
				t.Errorf("errors %q, want %q\n%s", got, tt.want, text(t, r))
			}
		})
	}
}
