package failures_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// failure is one that people hit, and what the spans of it say. The same application may be named with any of kinds:
// where a proxy does the same with two mistakes, spans cannot tell them apart.
type failure struct {
	name    string
	kinds   []doctor.Kind
	headers []doctor.Kind // what recorded headers tell more exactly; nil: kinds
	formats []trace.Format
	profile trace.Profile // "" any
	callees int           // how many calls the culprit must make at least
	atEdge  bool          // the culprit is the application behind the gateway
}

func kinds(k ...doctor.Kind) []doctor.Kind { return k }

// failures are those that spans show. What spans cannot show is listed in docs/doctor.md.
func failures() []failure {
	return []failure{
		{name: "nothing forwarded", kinds: kinds(doctor.NothingForwarded), callees: 1},
		{name: "x-request-id only", kinds: kinds(doctor.ContextLost), callees: 1},
		{name: "x-request-id dropped", kinds: kinds(doctor.RequestIDDropped), callees: 1},
		{name: "half a context", kinds: kinds(doctor.ContextLost), headers: kinds(doctor.HalfContext), formats: []trace.Format{trace.B3}, callees: 1},
		{name: "sampling denied", kinds: kinds(doctor.TraceStops), callees: 1},
		{name: "joined", kinds: kinds(doctor.TraceStops), callees: 1},
		{name: "malformed ids", kinds: kinds(doctor.TraceStops), callees: 1},
		{name: "SDK of another format", kinds: kinds(doctor.NewTrace), callees: 1},
		{name: "stale b3 of the client", kinds: kinds(doctor.StaleB3), formats: []trace.Format{trace.B3}, profile: trace.Envoy136, callees: 1, atEdge: true},
		{name: "stale b3 of the application", kinds: kinds(doctor.StaleB3, doctor.HiddenSpans), headers: kinds(doctor.StaleB3), formats: []trace.Format{trace.B3}, profile: trace.Envoy136, callees: 1},
		{name: "SDK that does not export", kinds: kinds(doctor.HiddenSpans), callees: 1},
		{name: "SDK begins a trace", kinds: kinds(doctor.NewTrace), callees: 1},
		{name: "SDK begins a trace and does not export", kinds: kinds(doctor.NewTrace), callees: 1},
		{name: "async loses the context", kinds: kinds(doctor.PartlyForwarded), callees: 2},
		{name: "leak", kinds: kinds(doctor.Leak), callees: 1},
		{name: "parent's id sent", kinds: kinds(doctor.WrongParent), callees: 1},
		{name: "own span is its own parent", kinds: kinds(doctor.Cycle), callees: 1},
		{name: "duplicate ids", kinds: kinds(doctor.DuplicateID), callees: 1},
		{name: "gRPC metadata not copied", kinds: kinds(doctor.NothingForwarded), callees: 1},
		{name: "message without context", kinds: kinds(doctor.MessagingLost)},
		{name: "trace id cut to 64 bits", kinds: kinds(doctor.MixedWidth), formats: []trace.Format{trace.B3}, callees: 1},
		{name: "sidecar missing", kinds: kinds(doctor.NoSidecar)},
	}
}

// mistreat is what the culprit does to the headers of all its calls.
func (w *world) mistreat(a *app, came, out header.Fields) (header.Fields, *ownSpan) {
	w.planted = w.planted || len(a.callees) > 0
	set := func(name, value string) {
		if out.Has(name) {
			out.Set(name, value)
		}
	}
	sdk := func(newTrace, hidden bool) *ownSpan {
		o := w.begin(a, came)
		if newTrace {
			o.span.TraceID, o.span.ParentID = span.TraceID{Hi: w.rng.Uint64() | 1, Lo: w.rng.Uint64() | 1}, 0
		}
		o.hidden = hidden
		o.inject(w, &out)
		return o
	}
	switch w.failure {
	case "nothing forwarded", "gRPC metadata not copied":
		return nil, nil
	case "x-request-id only":
		only := header.Fields{}
		only.Add("x-request-id", out.Get("x-request-id"))
		return only, nil
	case "x-request-id dropped":
		out.Del("x-request-id")
	case "half a context":
		out.Del([]string{"x-b3-traceid", "x-b3-spanid"}[w.rng.IntN(2)])
	case "sampling denied":
		set("x-b3-sampled", "0")
		set("traceparent", strings.TrimSuffix(out.Get("traceparent"), "01")+"00")
	case "joined":
		for _, name := range []string{"x-b3-traceid", "x-b3-spanid", "traceparent"} {
			set(name, out.Get(name)+","+out.Get(name))
		}
	case "malformed ids":
		set("x-b3-traceid", "not-hexadecimal")
		set("traceparent", "00-nothexadecimal-00-01")
	case "SDK of another format", "SDK begins a trace":
		return out, sdk(true, false)
	case "SDK begins a trace and does not export":
		o := sdk(true, true)
		return out, o
	case "SDK that does not export":
		o := sdk(false, true)
		return out, o
	case "stale b3 of the application":
		out.Set("b3", came.Get("x-b3-traceid")+"-"+w.id().String()+"-1")
	case "leak":
		if w.earlier == nil {
			w.earlier = out.Clone()
		}
		return w.earlier.Clone(), nil
	case "parent's id sent":
		if parent := came.Get("x-b3-parentspanid"); parent != "" {
			set("x-b3-spanid", parent)
		}
		if parts := strings.Split(out.Get("traceparent"), "-"); len(parts) == 4 {
			set("traceparent", parts[0]+"-"+parts[1]+"-"+w.above(a)+"-"+parts[3])
		}
	case "own span is its own parent":
		o := sdk(false, false)
		o.span.ParentID = o.span.ID
		return out, o
	case "duplicate ids":
		o := sdk(false, false)
		o.span.ID = 0x0123456789abcdef // an SDK whose randomness is not seeded
		twin := o.span
		twin.Kind, twin.Name, twin.ParentID = span.KindInternal, "render", o.span.ParentID
		twin.Start, twin.Duration = epoch().Add(w.now), time.Millisecond
		w.spans = append(w.spans, twin)
		o.inject(w, &out)
		return out, o
	case "message without context":
		w.planted = true
		o := w.begin(a, came)
		o.span.TraceID, o.span.ParentID = span.TraceID{Hi: w.rng.Uint64() | 1, Lo: w.rng.Uint64() | 1}, 0
		o.span.Kind, o.span.Name = span.KindConsumer, "orders process"
		o.finish(w)
	case "trace id cut to 64 bits":
		set("x-b3-traceid", out.Get("x-b3-traceid")[16:])
	}
	return out, nil
}

// above is the id of the span over the application's SERVER span, which a W3C application would have to keep itself.
func (w *world) above(a *app) string { return w.parents[a] }

// mistreatCall is what the culprit does to the n-th of its calls alone.
func (w *world) mistreatCall(n int, out *header.Fields) {
	if w.failure == "async loses the context" && n%2 == 1 {
		*out = nil
	}
}

// plant plays a request in which one application makes the mistake, at a random place.
func plant(rng *rand.Rand, f failure) *world {
	for {
		w := newWorld(rng)
		if f.formats != nil {
			w.format = f.formats[rng.IntN(len(f.formats))]
		}
		if f.profile != "" {
			w.profile = f.profile
		}
		var able []*app
		for _, a := range w.apps {
			switch {
			case len(a.callees) < f.callees, f.atEdge && a.number != 0:
			case f.name == "sidecar missing" && a.number == 0:
			default:
				able = append(able, a)
			}
		}
		if len(able) == 0 {
			continue
		}
		w.failure, w.culprit = f.name, able[rng.IntN(len(able))]
		w.vary(false)
		w.grpc = f.name == "gRPC metadata not copied"
		if f.name == "stale b3 of the client" {
			w.client.Add("b3", span.TraceID{Hi: rng.Uint64() | 1, Lo: rng.Uint64() | 1}.String()+"-"+w.id().String()+"-1")
		}
		w.request(1)
		if f.name == "leak" {
			w.now += time.Duration(1+rng.IntN(600)) * time.Second
			w.request(1)
		}
		if w.planted {
			return w
		}
	}
}

// vary makes the mesh do what meshes do without a fault: retries, injected faults, mirrors, SDKs, work after the answer.
func (w *world) vary(whole bool) {
	for _, a := range w.apps {
		if len(a.callees) == 0 || a == w.culprit {
			continue
		}
		switch w.rng.IntN(12) {
		case 0:
			a.retries = true
		case 1:
			a.mirrored = true
		case 2:
			a.sdk = true
		case 3:
			a.async = whole
		case 4:
			a.aborted = whole
		}
	}
}

// wholeWorlds plays requests without a fault and gives them a name.
func wholeWorlds() map[string]func(*rand.Rand) *world {
	play := func(change func(w *world)) func(*rand.Rand) *world {
		return func(rng *rand.Rand) *world {
			w := newWorld(rng)
			w.vary(true)
			change(w)
			if len(w.spans) == 0 {
				w.request(1)
			}
			return w
		}
	}
	return map[string]func(*rand.Rand) *world{
		"plain": play(func(*world) {}),
		"sampled at random": play(func(w *world) {
			w.sampling = 10
			for range 10 {
				w.request(1)
				w.now += time.Second
			}
		}),
		"retried at the gateway": play(func(w *world) { w.request(2 + w.rng.IntN(2)) }),
		"the client's retries share an x-request-id": play(func(w *world) {
			// A gateway before this one gives the id, and this one trusts it.
			w.trusted = true
			w.client.Add("x-request-id", "6f2d8d5c-0a1b-9c3d-8e4f-5a6b7c8d9e0f")
			for range 3 {
				w.request(1)
				w.now += 100 * time.Millisecond
			}
		}),
		"an x-request-id of another form": play(func(w *world) {
			w.trusted = true
			w.client.Add("x-request-id", "0af7651916cd43dd8448eb211c80319c")
		}),
		"context of the client": play(func(w *world) {
			id := span.TraceID{Hi: w.rng.Uint64() | 1, Lo: w.rng.Uint64() | 1}.String()
			w.client.Add("x-b3-traceid", id)
			w.client.Add("x-b3-spanid", w.id().String())
			w.client.Add("x-b3-sampled", "1")
			w.client.Add("traceparent", "00-"+id+"-"+w.id().String()+"-01")
		}),
		"context of the client with 64 bits": play(func(w *world) {
			w.client.Add("x-b3-traceid", w.id().String())
			w.client.Add("x-b3-spanid", w.id().String())
		}),
		"fan-out": play(func(w *world) {
			caller := w.apps[w.rng.IntN(len(w.apps))]
			for range 100 + w.rng.IntN(100) {
				a := &app{number: len(w.apps)}
				w.apps = append(w.apps, a)
				caller.callees = append(caller.callees, a.number)
			}
		}),
		"gRPC": play(func(w *world) { w.grpc = true }),
		"a message that is linked": play(func(w *world) {
			w.request(1)
			consumer := w.begin(w.apps[len(w.apps)-1], nil)
			consumer.span.TraceID = span.TraceID{Hi: w.rng.Uint64() | 1, Lo: w.rng.Uint64() | 1}
			consumer.span.Kind, consumer.span.Name = span.KindConsumer, "orders process"
			consumer.span.Links = []span.Link{{TraceID: w.spans[0].TraceID, SpanID: w.spans[0].ID}}
			consumer.finish(w)
		}),
	}
}

// TestEachFailureIsFoundAtItsHop plants one failure in each of 10,000 requests.
func TestEachFailureIsFoundAtItsHop(t *testing.T) {
	const requests = 10_000
	rng := rand.New(rand.NewPCG(11, 12))
	found, planted := 0, 0
	for n, f := range failures() {
		here, missed := requests/len(failures()), 0
		if n < requests%len(failures()) {
			here++
		}
		for range here {
			w := plant(rng, f)
			want := f.kinds
			if w.headers && f.headers != nil {
				want = f.headers
			}
			findings := doctor.Examine(w.spans, w.knowledge(), time.Time{})
			if slices.ContainsFunc(findings, func(got doctor.Finding) bool {
				return slices.Contains(want, got.Kind) && got.Application == w.culprit.name()
			}) {
				found++
			} else if missed++; missed == 1 {
				t.Logf("%s at %s, %s %s: found %s\n%s", f.name, w.culprit.name(), w.format, w.profile, texts(findings), w.tree())
			}
			planted++
		}
		if missed*100 > here {
			t.Errorf("%s: missed %d of %d", f.name, missed, here)
		}
	}
	t.Logf("found %d of %d", found, planted)
	if found*100 < planted*99 {
		t.Errorf("found %d of %d at the right hop, want 99 %%", found, planted)
	}
}

// TestWholeTracesHaveNoFinding plays 10,000 requests without a fault.
func TestWholeTracesHaveNoFinding(t *testing.T) {
	const requests = 10_000
	rng := rand.New(rand.NewPCG(13, 14))
	worlds := wholeWorlds()
	alarmed, played := 0, 0
	for name, play := range worlds {
		here, alarms := requests/len(worlds), 0
		for range here {
			w := play(rng)
			played++
			if findings := doctor.Examine(w.spans, w.knowledge(), time.Time{}); len(findings) > 0 {
				alarmed++
				if alarms++; alarms == 1 {
					t.Logf("%s, %s %s: %s\n%s", name, w.format, w.profile, texts(findings), w.tree())
				}
			}
		}
		if alarms > 0 {
			t.Logf("%s: false on %d of %d", name, alarms, here)
		}
	}
	t.Logf("false on %d of %d", alarmed, played)
	if alarmed*1000 > played {
		t.Errorf("findings on %d of %d whole traces, want at most 0.1 %%", alarmed, played)
	}
}

// TestSkewedClocksAreNamedAsThat lets one pod's clock be off in requests without another fault.
func TestSkewedClocksAreNamedAsThat(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	for range 1000 {
		w := newWorld(rng)
		a := w.apps[1+rng.IntN(len(w.apps)-1)]
		w.skew[a.name()] = time.Duration(rng.IntN(2)*2-1) * time.Duration(2+rng.IntN(5000)) * time.Second
		w.request(1)
		findings := doctor.Examine(w.spans, w.knowledge(), time.Time{})
		if len(findings) == 0 || slices.ContainsFunc(findings, func(f doctor.Finding) bool { return f.Kind != doctor.ClockSkew }) {
			t.Fatalf("clock of %s off by %s: %s\n%s", a.name(), w.skew[a.name()], texts(findings), w.tree())
		}
	}
}

// TestARequestThatIsStillArrivingHasNoFinding takes spans away from whole requests, as if they were on their way.
func TestARequestThatIsStillArrivingHasNoFinding(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 18))
	for range 500 {
		w := newWorld(rng)
		w.request(1)
		now := epoch().Add(w.now + time.Second)
		rng.Shuffle(len(w.spans), func(i, j int) { w.spans[i], w.spans[j] = w.spans[j], w.spans[i] })
		some := w.spans[:1+rng.IntN(len(w.spans))]
		for i := range some {
			some[i].Received = now.Add(-time.Duration(rng.IntN(5000)) * time.Millisecond)
		}
		if findings := doctor.Examine(some, w.knowledge(), now); len(findings) > 0 {
			t.Fatalf("%s\n%s", texts(findings), w.tree())
		}
	}
}

func texts(findings []doctor.Finding) string {
	var b strings.Builder
	for _, f := range findings {
		b.WriteString("\n  " + string(f.Kind) + " at " + f.Application + ": " + f.Text)
	}
	if len(findings) == 0 {
		return "nothing"
	}
	return b.String()
}

// tree is the spans one a line, for messages.
func (w *world) tree() string {
	var b strings.Builder
	sorted := slices.SortedStableFunc(slices.Values(w.spans), func(a, b span.Span) int { return a.Start.Compare(b.Start) })
	for i, s := range sorted {
		if i == 30 {
			b.WriteString("  …\n")
			break
		}
		b.WriteString("  " + s.TraceID.String()[24:] + " " + s.ParentID.String()[8:] + ">" + s.ID.String()[8:] + " " + s.Kind.String() + " " + s.Service + " " + s.Name + " " + s.RequestID() + " " + s.Start.Sub(epoch()).String() + "+" + s.Duration.String() + "\n")
	}
	return b.String()
}

func BenchmarkFailures(b *testing.B) {
	rng := rand.New(rand.NewPCG(19, 20))
	var worlds []*world
	var known []doctor.Knowledge
	spans := 0
	for range 20 {
		for _, f := range failures() {
			w := plant(rng, f)
			worlds, known = append(worlds, w), append(known, w.knowledge())
			spans += len(w.spans)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for i, w := range worlds {
			doctor.Examine(w.spans, known[i], time.Time{})
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*spans), "ns/span")
}
