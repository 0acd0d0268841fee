package trace_test

import (
	"slices"
	"strings"
	"testing"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// contextHeaders are those that a tracer may write.
var contextHeaders = []string{
	"b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "traceparent", "tracestate",
}

func contextOf(f header.Fields) header.Fields {
	var out header.Fields
	for _, field := range f {
		if slices.Contains(contextHeaders, field.Name) {
			out = append(out, field)
		}
	}
	return out
}

// fuzzed reads "name: value" lines.
func fuzzed(text string) header.Fields {
	var f header.Fields
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ":"); ok && name != "" {
			f.Add(strings.ToLower(name), strings.Trim(value, " \t\r\n"))
		}
	}
	return f
}

// FuzzExtract sends any headers through a proxy and what comes out of it through a second one. Either no span is made
// and the context passes as it came, or the second proxy's span is a child of the first one's.
func FuzzExtract(f *testing.F) {
	for _, name := range []string{"b3.json", "b3-w3c.json", "otel.json", "hcm.json"} {
		for _, e := range vectors.Entries(f, name) {
			var text strings.Builder
			for _, line := range e.In {
				text.WriteString(line[0] + ": " + line[1] + "\n")
			}
			f.Add(text.String(), uint8(len(text.String())))
		}
	}
	f.Fuzz(func(t *testing.T, text string, choice uint8) {
		config := trace.Defaults([]trace.Direction{trace.Inbound, trace.Outbound, trace.Gateway}[choice%3])
		config.Format = []trace.Format{trace.B3, trace.B3W3C, trace.W3C}[choice/3%3]
		config.Profile = []trace.Profile{trace.Envoy136, trace.Envoy140}[choice/9%2]
		config.SharedSpanContext = choice/18%2 == 1
		config.TraceID128Bit = choice/36%2 == 1
		config.RecordHeaders = choice/72%2 == 1
		// Whatever the request id and the flags say, a span is reported or not for the format's own reasons only.
		config.UseRequestIDForTraceSampling = false

		came := fuzzed(text)
		first, spans := exchange(t, config, trace.Options{}, came.Clone())
		if len(spans) == 0 {
			passed := slices.Equal(contextOf(first), contextOf(came))
			denied := strings.HasSuffix(first.Get("traceparent"), "-00") || first.Get("x-b3-sampled") == "0" || strings.Contains(first.Get("b3"), "-0")
			if !passed && !denied {
				t.Fatalf("no span, but %v became %v", contextOf(came), contextOf(first))
			}
			return
		}
		own := spans[0] // the one whose context was sent: the child span, if there is one
		config.SharedSpanContext = false
		second, spans := exchange(t, config, trace.Options{}, first.Clone())
		if config.Profile == trace.Envoy136 && config.Format != trace.W3C && came.Has("b3") {
			return // envoy#47515: the stale b3 leads the second proxy astray
		}
		if !own.HasParent && came.Has("x-b3-parentspanid") {
			return // a stray parent stays beside a root, and may be unreadable
		}
		if len(spans) == 0 {
			t.Fatalf("%v became %v, which the next proxy cannot read", contextOf(came), contextOf(first))
		}
		next := spans[len(spans)-1]
		if next.TraceHigh != own.TraceHigh || next.TraceLow != own.TraceLow || !next.HasParent || next.Parent != own.ID {
			t.Fatalf("%v became %v, which the next proxy reads as a child of %x in %x%016x; sent by %x in %x%016x, then %v",
				contextOf(came), contextOf(first), next.Parent, next.TraceHigh, next.TraceLow, own.ID, own.TraceHigh,
				own.TraceLow, contextOf(second))
		}
	})
}
