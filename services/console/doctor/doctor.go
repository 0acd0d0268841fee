// Package doctor reads spans and says why a trace broke: which application, between its two sidecars, lost which
// header, how sure that is, and how to mend it.
//
// It needs nothing but spans. What a sidecar does with each kind of context was measured on a real Envoy: with none,
// or half of one, it begins a new trace; with one that it cannot read it makes no span and passes everything on; with
// a denied one it reports nothing. So each mistake of an application leaves a shape of its own in the trees.
package doctor

import (
	"slices"
	"strings"
	"time"

	"example.com/bookinfo/services/console/span"
)

// Kind names a finding. Its text is stable: pages, the API and links use it.
type Kind string

// What can be found. The mend of each is in Advice.
const (
	NothingForwarded Kind = "nothing-forwarded"  // neither context nor x-request-id left the application
	ContextLost      Kind = "context-lost"       // x-request-id was forwarded, the trace context was not
	HalfContext      Kind = "half-context"       // a part of the context was forwarded
	WrongFamily      Kind = "wrong-family"       // the context of another format was forwarded
	PartlyForwarded  Kind = "partly-forwarded"   // some calls carry the context, others do not
	RequestIDDropped Kind = "request-id-dropped" // the context was forwarded, x-request-id was not
	TraceStops       Kind = "trace-stops"        // nothing is reported below an application that always calls others
	StaleB3          Kind = "stale-b3"           // a single b3 header overrides x-b3-* and spans hang too high
	WrongParent      Kind = "wrong-parent"       // the application sent another span's id as the parent
	HiddenSpans      Kind = "spans-not-exported" // the application makes spans that never arrive
	NewTrace         Kind = "sdk-new-trace"      // the application's own SDK began another trace
	Leak             Kind = "context-leak"       // headers of an earlier request were sent
	Cycle            Kind = "cycle"              // a span is its own ancestor
	DuplicateID      Kind = "duplicate-id"       // two spans of a trace have one id
	MixedWidth       Kind = "mixed-width"        // the left half of a 128-bit trace id was cut
	NoSidecar        Kind = "no-sidecar"         // a callee which reports spans otherwise reported none
	MessagingLost    Kind = "messaging-lost"     // a consumer began a trace of its own
	ClockSkew        Kind = "clock-skew"         // no fault of propagation
)

// Confidence says how much else could have made the same spans.
type Confidence string

// Certain: nothing else makes these spans. Likely: something rare does. Possible: spans alone cannot tell.
const (
	Certain  Confidence = "certain"
	Likely   Confidence = "likely"
	Possible Confidence = "possible"
)

// Finding is one thing that is wrong at one hop.
type Finding struct {
	Kind Kind
	// Application is the one between two sidecars that did it; Caller called it, Callees are whom it called then.
	// Each is a span's service, "" where no span tells.
	Caller, Application string
	Callees             []string
	// Headers are those at fault.
	Headers    []string
	Confidence Confidence
	// Text says what was seen, Mend in one sentence what to do, Lesson which lesson shows it.
	Text, Mend, Lesson string
	// Evidence are the spans that show it, the one to draw it at first.
	Evidence []Evidence
}

// Evidence is a span by its ids.
type Evidence struct {
	TraceID span.TraceID
	SpanID  span.ID
}

// Knowledge is what earlier traces tell about the mesh. The zero value knows nothing: what can be told only by
// comparison (TraceStops, NoSidecar) is not found then.
type Knowledge struct {
	// Callees lists whom the application of a SERVER span always calls while it serves such a request.
	Callees func(server *span.Span) []string
	// Serves tells whether an application has reported SERVER spans.
	Serves func(application string) bool
}

// Settle is how long after the last span of a request came its trace may still be arriving: Envoy flushes every 5 s.
const Settle = 6 * time.Second

// Examine reads the spans of one request: a trace and the fragments of it, see Related. It returns findings by the
// time of their first evidence. A trace that may still be arriving at now has none; a zero now never waits.
func Examine(spans []span.Span, known Knowledge, now time.Time) []Finding {
	if len(spans) == 0 {
		return nil
	}
	r := newRequest(spans, known)
	if !now.IsZero() && now.Sub(r.lastReceived) < Settle {
		return nil
	}
	r.brokenIDs()
	r.brokenParents()
	r.lostContext()
	r.requestIDs()
	r.silence()
	r.skew()
	for i := range r.findings {
		f := &r.findings[i]
		advise(f, r)
	}
	slices.SortStableFunc(r.findings, func(a, b Finding) int {
		return r.startOf(a.Evidence[0]).Compare(r.startOf(b.Evidence[0]))
	})
	return r.findings
}

// Related reports whether a trace belongs to the request of another: they share an x-request-id, or one trace id is
// the right half of the other, or a fragment begins inside a SERVER span of an application that it comes from.
func Related(main, other []span.Span) bool {
	ids, halves := map[string]bool{}, map[uint64]span.TraceID{}
	servers := map[string][]*span.Span{}
	for i := range main {
		m := &main[i]
		if id := m.RequestID(); id != "" {
			ids[id] = true
		}
		halves[m.TraceID.Lo] = m.TraceID
		if m.Kind == span.KindServer {
			servers[m.Service] = append(servers[m.Service], m)
		}
	}
	for i := range other {
		o := &other[i]
		if ids[o.RequestID()] {
			return true
		}
		if half, ok := halves[o.TraceID.Lo]; ok && half != o.TraceID {
			return true
		}
		if o.ParentID == 0 && o.Kind != span.KindConsumer && slices.ContainsFunc(servers[o.Service], func(m *span.Span) bool {
			return m.TraceID != o.TraceID && within(o, m) && samePlace(o, m)
		}) {
			return true
		}
	}
	return false
}

func within(inner, outer *span.Span) bool {
	return !inner.Start.Before(outer.Start) && !inner.End().After(outer.End())
}

// samePlace reports whether two spans may be of one instance: what either does not tell does not count.
func samePlace(a, b *span.Span) bool {
	return (a.IP == "" || b.IP == "" || a.IP == b.IP) && (a.Host == "" || b.Host == "" || a.Host == b.Host)
}

// fromProxy reports whether a sidecar or gateway made the span, by the tag that every Envoy sets.
func fromProxy(s *span.Span) bool {
	component, ok := s.Tags.Get("component")
	if ok {
		return component == "proxy"
	}
	_, node := s.Tags.Get("node_id")
	return node || len(s.Tags) == 0 || s.RequestID() != ""
}

// edgeService reports whether an application is a gateway by its name, as Istio's and ASM's are called.
func edgeService(name string) bool {
	workload, _, _ := strings.Cut(name, ".")
	return strings.Contains(workload, "gateway")
}
