package otelforward_test

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"testing"

	otelprop "go.opentelemetry.io/otel/propagation"

	"example.com/bookinfo/propagation"
	"example.com/bookinfo/propagation/otelforward"
)

// mapCarrier knows one value a key, as the carriers of message queues do.
type mapCarrier map[string]string

func (c mapCarrier) Get(key string) string { return c[key] }
func (c mapCarrier) Set(key, value string) { c[key] = value }
func (c mapCarrier) Keys() []string        { return nil }

// valuesCarrier has the method that OpenTelemetry's carriers gained later.
type valuesCarrier struct {
	mapCarrier
	lines []string
}

func (c valuesCarrier) Values(key string) []string {
	if key == "tracestate" {
		return c.lines
	}
	return nil
}

func TestForward(t *testing.T) {
	all := otelforward.New(propagation.All())
	for _, tt := range []struct {
		name string
		p    otelforward.Propagator
		in   otelprop.TextMapCarrier
		want mapCarrier
	}{
		{"verbatim, parent id and flags too", all,
			otelprop.HeaderCarrier(http.Header{
				"X-B3-Traceid": {"463AC35C9f6413ad"}, "X-B3-Spanid": {"a2fb4a1d1a96d312"}, "X-B3-Parentspanid": {"0020000000000001"},
				"X-B3-Flags": {"1"}, "Traceparent": {"00-not-valid"}, "Cookie": {"session=1"}, "X-Forwarded-For": {"10.0.0.7"},
			}),
			mapCarrier{"x-b3-traceid": "463AC35C9f6413ad", "x-b3-spanid": "a2fb4a1d1a96d312", "x-b3-parentspanid": "0020000000000001",
				"x-b3-flags": "1", "traceparent": "00-not-valid"}},
		{"lines of a header", all,
			otelprop.HeaderCarrier(http.Header{"Tracestate": {"a=1", "b=2"}, "B3": {"0", "1"}, "Baggage": {""}}),
			mapCarrier{"tracestate": "a=1,b=2", "b3": "0"}},
		{"values of a newer carrier", all, valuesCarrier{lines: []string{"a=1", "b=2"}}, mapCarrier{"tracestate": "a=1,b=2"}},
		{"a carrier of single values", all, mapCarrier{"b3": "0", "baggage": "", "other": "1"}, mapCarrier{"b3": "0"}},
		{"a chosen set", otelforward.New(propagation.All().Only(propagation.W3C)), mapCarrier{"b3": "0", "traceparent": "t"},
			mapCarrier{"traceparent": "t"}},
		{"nothing", otelforward.Propagator{}, mapCarrier{"b3": "0"}, mapCarrier{}},
	} {
		out := mapCarrier{}
		tt.p.Inject(tt.p.Extract(context.Background(), tt.in), out)
		if !reflect.DeepEqual(out, tt.want) {
			t.Errorf("%s: forwards %v, want %v", tt.name, out, tt.want)
		}
	}
}

func TestInjectKeepsToItsSet(t *testing.T) {
	ctx := otelforward.New(propagation.All()).Extract(context.Background(), mapCarrier{"b3": "0", "traceparent": "t"})
	out := mapCarrier{}
	otelforward.New(propagation.All().Without("w3c")).Inject(ctx, out)
	if want := (mapCarrier{"b3": "0"}); !reflect.DeepEqual(out, want) {
		t.Errorf("injects %v, want %v", out, want)
	}
}

func TestExtractNothingKeepsTheContext(t *testing.T) {
	p := otelforward.New(propagation.All())
	ctx := p.Extract(context.Background(), mapCarrier{"b3": "0"})
	if got := propagation.FromContext(p.Extract(ctx, mapCarrier{})).Get("b3"); got != "0" {
		t.Errorf("a carrier without headers left b3 %q, want 0", got)
	}
}

func TestFields(t *testing.T) {
	if got, want := otelforward.New(propagation.All().Only(propagation.W3C)).Fields(), []string{"traceparent", "tracestate"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Fields() = %q, want %q", got, want)
	}
	if got := otelforward.New(propagation.All()).Fields(); len(got) != len(propagation.Table()) {
		t.Errorf("Fields() lists %d names, want %d", len(got), len(propagation.Table()))
	}
}

func Example() {
	propagator := otelforward.New(propagation.All())

	incoming := http.Header{"X-B3-Traceid": {"463ac35c9f6413ad"}, "X-B3-Parentspanid": {"0020000000000001"}}
	ctx := propagator.Extract(context.Background(), otelprop.HeaderCarrier(incoming))

	outgoing := http.Header{}
	propagator.Inject(ctx, otelprop.HeaderCarrier(outgoing))
	fmt.Println(outgoing)
	// Output: map[X-B3-Parentspanid:[0020000000000001] X-B3-Traceid:[463ac35c9f6413ad]]
}
