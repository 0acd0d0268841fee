package telemetry_test

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.com/bookinfo/internal/telemetry"
	"example.com/bookinfo/propagation"
)

// collector receives OTLP over HTTP.
type collector struct {
	mu       sync.Mutex
	spans    []*tracepb.Span
	services []string
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var req coltracepb.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &req) != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "not OTLP", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range req.ResourceSpans {
		for _, attr := range rs.Resource.Attributes {
			if attr.Key == "service.name" {
				c.services = append(c.services, attr.Value.GetStringValue())
			}
		}
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
}

// span returns the only span of a kind that has arrived.
func (c *collector) span(t *testing.T, kind tracepb.Span_SpanKind) *tracepb.Span {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	found := slices.DeleteFunc(slices.Clone(c.spans), func(s *tracepb.Span) bool { return s.Kind != kind })
	if len(found) != 1 {
		t.Fatalf("%d spans of kind %v arrived, want 1: %v", len(found), kind, c.spans)
	}
	return found[0]
}

// environment sets variables for the process, as the exporter wants it, and returns them as getenv.
func environment(t *testing.T, vars map[string]string) func(string) string {
	t.Helper()
	for name, value := range vars {
		t.Setenv(name, value)
	}
	return func(name string) string { return vars[name] }
}

// pass sends one request with headers in through a service and returns those that its upstream got, without what
// net/http adds.
func pass(t *testing.T, tel *telemetry.Telemetry, in map[string]string) map[string]string {
	t.Helper()
	got := map[string]string{}
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for name, lines := range r.Header {
			got[strings.ToLower(name)] = strings.Join(lines, " AND ")
		}
	}))
	defer upstream.Close()
	client := &http.Client{Transport: tel.Transport(nil)}
	service := httptest.NewServer(tel.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		call, err := http.NewRequestWithContext(r.Context(), http.MethodGet, upstream.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := client.Do(call)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close() // ends the CLIENT span
	})))
	defer service.Close()

	r, err := http.NewRequest(http.MethodGet, service.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range in {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	delete(got, "accept-encoding")
	delete(got, "user-agent")
	return got
}

const (
	traceA, spanA = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"
	traceB, spanB = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
)

func b3(sampled string) map[string]string {
	return map[string]string{"x-b3-traceid": traceA, "x-b3-spanid": spanA, "x-b3-parentspanid": "0020000000000001", "x-b3-sampled": sampled}
}

func w3c() map[string]string {
	return map[string]string{"traceparent": "00-" + traceB + "-" + spanB + "-01", "tracestate": "vendor=1"}
}

func join(maps ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

func TestForwardMode(t *testing.T) {
	everything := join(b3("1"), w3c(), map[string]string{"x-request-id": "r", "b3": "0", "baggage": "k=v"})
	for _, tt := range []struct {
		name string
		env  map[string]string
		want map[string]string
	}{
		{"by default", nil, everything},
		{"without an exporter", map[string]string{"OTEL_TRACES_EXPORTER": "none"}, everything},
		{"a choice of headers", map[string]string{"FORWARD_HEADERS": "w3c"}, w3c()},
		{"nothing", map[string]string{"FORWARD_HEADERS": "none"}, map[string]string{}},
	} {
		tel, err := telemetry.Start(context.Background(), environment(t, tt.env), "reviews")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, pass(t, tel, everything)); diff != "" {
			t.Errorf("%s: the upstream got (-want +got):\n%s", tt.name, diff)
		}
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// TestSDKMode checks for each format that the parents are right, that the upstream got the CLIENT span in the formats
// of the list and nothing raw beside them, and that the spans arrive at shutdown.
func TestSDKMode(t *testing.T) {
	passing := map[string]string{"x-request-id": "r", "x-client-trace-id": "c"}
	vendors := map[string]string{"uber-trace-id": "1:2:0:1", "sw8": "s", "x-ot-span-context": "o", "b3": traceA + "-" + spanA + "-1", "baggage": "k=v"}
	for _, tt := range []struct {
		name          string
		propagators   string
		in            map[string]string
		trace, parent string   // of the SERVER span
		want          []string // names of what the upstream gets; T, S stand for ids of the CLIENT span
	}{
		{"B3 by default", "", join(passing, b3("1")), traceA, spanA,
			[]string{"traceparent", "x-b3-sampled", "x-b3-spanid", "x-b3-traceid"}},
		{"W3C by default", "", join(passing, w3c()), traceB, spanB,
			[]string{"traceparent", "tracestate", "x-b3-sampled", "x-b3-spanid", "x-b3-traceid"}},
		{"both of one trace, as a mesh of B3 and W3C sends them", "",
			join(passing, b3("1"), map[string]string{"traceparent": "00-" + traceA + "-" + spanA + "-01"}), traceA, spanA,
			[]string{"traceparent", "x-b3-sampled", "x-b3-spanid", "x-b3-traceid"}},
		{"both and different: the last of the list wins", "", join(passing, b3("1"), w3c()), traceA, spanA,
			[]string{"traceparent", "x-b3-sampled", "x-b3-spanid", "x-b3-traceid"}},
		{"the same with the list turned round", "b3multi, tracecontext", join(passing, b3("1"), w3c()), traceB, spanB,
			[]string{"traceparent", "tracestate", "x-b3-sampled", "x-b3-spanid", "x-b3-traceid"}},
		{"W3C alone, beside raw headers of every other format", "tracecontext", join(passing, b3("1"), w3c(), vendors), traceB, spanB,
			[]string{"traceparent", "tracestate"}},
		{"B3 in one header", "b3", join(passing, vendors), traceA, spanA, []string{"b3"}},
		{"baggage", "tracecontext,baggage", join(passing, w3c(), vendors), traceB, spanB, []string{"baggage", "traceparent", "tracestate"}},
		{"no context came", "", passing, "", "", []string{"traceparent", "x-b3-sampled", "x-b3-spanid", "x-b3-traceid"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var received collector
			server := httptest.NewServer(&received)
			defer server.Close()
			env := map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_PROPAGATORS": tt.propagators}
			tel, err := telemetry.Start(t.Context(), environment(t, env), "reviews")
			if err != nil {
				t.Fatal(err)
			}
			got := pass(t, tel, tt.in)
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}

			serverSpan, clientSpan := received.span(t, tracepb.Span_SPAN_KIND_SERVER), received.span(t, tracepb.Span_SPAN_KIND_CLIENT)
			trace, span := hex.EncodeToString(clientSpan.TraceId), hex.EncodeToString(clientSpan.SpanId)
			if got := hex.EncodeToString(serverSpan.ParentSpanId); got != tt.parent {
				t.Errorf("the parent of the SERVER span is %q, want the caller's %q", got, tt.parent)
			}
			if string(clientSpan.ParentSpanId) != string(serverSpan.SpanId) || string(clientSpan.TraceId) != string(serverSpan.TraceId) {
				t.Errorf("the CLIENT span %v is not a child of the SERVER span %v", clientSpan, serverSpan)
			}
			if tt.trace != "" && trace != tt.trace {
				t.Errorf("trace id %s, want the caller's %s", trace, tt.trace)
			}
			if !slices.Contains(received.services, "reviews") {
				t.Errorf("the service is called %q, want reviews", received.services)
			}
			values := map[string]string{
				"traceparent": "00-" + trace + "-" + span + "-01", "tracestate": "vendor=1", "baggage": "k=v",
				"x-b3-traceid": trace, "x-b3-spanid": span, "x-b3-sampled": "1", "b3": trace + "-" + span + "-1",
			}
			want := join(passing)
			for _, name := range tt.want {
				want[name] = values[name]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the upstream got (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSDKModeKeepsADenial(t *testing.T) {
	var received collector
	server := httptest.NewServer(&received)
	defer server.Close()
	tel, err := telemetry.Start(t.Context(), environment(t, map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": server.URL}), "reviews")
	if err != nil {
		t.Fatal(err)
	}
	got := pass(t, tel, b3("0"))
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got["x-b3-sampled"] != "0" || got["x-b3-traceid"] != traceA || !strings.HasSuffix(got["traceparent"], "-00") {
		t.Errorf("the upstream got %v, want the trace continued and not sampled", got)
	}
	if len(received.spans) != 0 {
		t.Errorf("spans arrived of a trace that is not sampled: %v", received.spans)
	}
}

func TestDisabledSDKPassesTheContextOn(t *testing.T) {
	env := map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true", "OTEL_PROPAGATORS": "b3multi"}
	tel, err := telemetry.Start(t.Context(), environment(t, env), "reviews")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"x-b3-traceid": traceA, "x-b3-spanid": spanA, "x-b3-sampled": "1", "x-request-id": "r"}
	if diff := cmp.Diff(want, pass(t, tel, join(b3("1"), map[string]string{"x-request-id": "r"}))); diff != "" {
		t.Errorf("the upstream got (-want +got):\n%s", diff)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSetIsNarrowedBesideAnSDK(t *testing.T) {
	for _, tt := range []struct{ exporter, forward, want string }{
		{"", "", propagation.All().String()},
		{"console", "", "request-id,client-trace-id"},
		{"console", "b3,client-trace-id", "client-trace-id"},
		{"console", "none", "none"},
	} {
		env := map[string]string{"OTEL_TRACES_EXPORTER": tt.exporter, "FORWARD_HEADERS": tt.forward}
		tel, err := telemetry.Start(t.Context(), environment(t, env), "reviews")
		if err != nil {
			t.Fatal(err)
		}
		if got := tel.Set().String(); got != tt.want {
			t.Errorf("exporter %q and FORWARD_HEADERS=%q leave %s to forward, want %s", tt.exporter, tt.forward, got, tt.want)
		}
		if err := tel.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestWrongSettings(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"FORWARD_HEADERS": "zipkin"}, `FORWARD_HEADERS: unknown header or family "zipkin"`},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, `OTEL_TRACES_EXPORTER="zipkin"`},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_PROPAGATORS": "b3,w3c"}, `OTEL_PROPAGATORS="b3,w3c": unknown propagator: w3c`},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http"}, `OTEL_EXPORTER_OTLP_PROTOCOL="http"`},
	} {
		t.Run(tt.want, func(t *testing.T) {
			_, err := telemetry.Start(t.Context(), environment(t, tt.env), "reviews")
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, tt.want)
			}
		})
	}
}

// TestShutdownGivesUp has a collector that does not answer.
func TestShutdownGivesUp(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	tel, err := telemetry.Start(t.Context(), environment(t, map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": server.URL}), "reviews")
	if err != nil {
		t.Fatal(err)
	}
	pass(t, tel, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tel.Shutdown(ctx); err == nil {
		t.Error("Shutdown says that the last spans were sent")
	}
}
