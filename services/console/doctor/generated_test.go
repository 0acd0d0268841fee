package doctor_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
)

// mesh is a random set of applications, each with those it calls for every request; a0 is behind the gateway.
type mesh struct{ calls [][]int }

func newMesh(rng *rand.Rand) mesh {
	m := mesh{calls: make([][]int, 4+rng.IntN(6))}
	for i := 1; i < len(m.calls); i++ {
		caller := rng.IntN(i)
		m.calls[caller] = append(m.calls[caller], i)
	}
	return m
}

func name(app int) string { return fmt.Sprintf("a%d.shop", app) }

func (m mesh) knowledge() doctor.Knowledge {
	number := func(application string) (app int) {
		if _, err := fmt.Sscanf(application, "a%d.shop", &app); err != nil {
			return -1
		}
		return app
	}
	return doctor.Knowledge{
		Callees: func(server *span.Span) (callees []string) {
			if app := number(server.Service); app >= 0 {
				for _, c := range m.calls[app] {
					callees = append(callees, name(c))
				}
			}
			return callees
		},
		Serves: func(application string) bool { return number(application) >= 0 },
	}
}

// context is what a request carries; a nil one is a request without trace headers.
type context struct {
	trace span.TraceID
	id    span.ID
}

// simulation plays one request through proxies that do as Envoy does.
type simulation struct {
	rng     *rand.Rand
	mesh    mesh
	failure doctor.Kind
	culprit int
	w3c     bool
	spans   []span.Span
	epoch   time.Time
	skewed  int // an application whose clock is off, -1 none
}

func (s *simulation) id() span.ID { return span.ID(s.rng.Uint64() | 1) }

func (s *simulation) uuid() string {
	return fmt.Sprintf("%08x-%04x-9%03x-8%03x-%012x", s.rng.Uint32(), s.rng.IntN(1<<16), s.rng.IntN(1<<12), s.rng.IntN(1<<12), s.rng.Uint64()>>16)
}

// proxy makes a proxy's span, a root where in is nil.
func (s *simulation) proxy(application string, kind span.Kind, operation string, in *context, requestID string, from, to time.Duration) *context {
	out := span.Span{
		Service: application, Kind: kind, Name: operation, IP: "10.0.0." + fmt.Sprint(len(application)),
		Start: s.epoch.Add(from), Duration: to - from,
		Tags: span.Tags{{Key: "component", Value: "proxy"}, {Key: "http.status_code", Value: "200"}, {Key: "response_flags", Value: "-"}},
	}
	if s.skewed >= 0 && application == name(s.skewed) {
		out.Start = out.Start.Add(-3 * time.Second)
	}
	if requestID != "" {
		out.Tags = append(out.Tags, span.Tag{Key: "guid:x-request-id", Value: requestID})
	}
	if in == nil {
		out.TraceID = span.TraceID{Hi: s.rng.Uint64() | 1, Lo: s.rng.Uint64() | 1}
		out.ID = span.ID(out.TraceID.Lo)
		if s.w3c {
			out.ID = s.id()
		}
	} else {
		out.TraceID, out.ParentID, out.ID = in.trace, in.id, s.id()
	}
	s.spans = append(s.spans, out)
	return &context{out.TraceID, out.ID}
}

func (s *simulation) request(clientContext bool) {
	var in *context
	if clientContext {
		in = &context{span.TraceID{Hi: s.rng.Uint64() | 1, Lo: s.rng.Uint64() | 1}, s.id()}
	}
	requestID := s.uuid()
	total := 2 * time.Second
	ctx := s.proxy("istio-ingressgateway.istio-system", span.KindServer, "a0:80/*", in, requestID, 0, total)
	ctx = s.proxy("istio-ingressgateway.istio-system", span.KindClient, "router a0; egress", ctx, "", time.Millisecond, total-time.Millisecond)
	s.serve(0, ctx, requestID, 2*time.Millisecond, total-2*time.Millisecond, span.ID(0))
}

// serve is the inbound proxy and the application behind it; above is the id of the span over the caller's.
func (s *simulation) serve(app int, in *context, requestID string, from, to time.Duration, above span.ID) {
	here := s.proxy(name(app), span.KindServer, name(app)+":80/*", in, requestID, from, to)
	callees := s.mesh.calls[app]
	if len(callees) == 0 {
		return
	}
	failure := doctor.Kind("")
	if app == s.culprit {
		failure = s.failure
	}
	if failure == doctor.TraceStops {
		return // sampling denied or context unreadable: no proxy below reports
	}
	step := (to - from - 2*time.Millisecond) / time.Duration(len(callees))
	for n, callee := range callees {
		start := from + time.Millisecond + time.Duration(n)*step
		end := start + step - time.Millisecond
		sent, id := *here, requestID
		out := &sent
		switch failure {
		case doctor.NothingForwarded:
			out, id = nil, s.uuid()
		case doctor.ContextLost:
			out = nil
		case doctor.RequestIDDropped:
			id = s.uuid()
		case doctor.PartlyForwarded:
			if n > 0 {
				out, id = nil, s.uuid()
			}
		case doctor.WrongParent:
			sent.id = in.id
		case doctor.HiddenSpans:
			sent.id = s.id()
		case doctor.MixedWidth:
			sent.trace.Hi = 0
		case doctor.Leak:
			start, end = start+5*time.Minute, end+5*time.Minute
		case doctor.NewTrace:
			own := span.Span{TraceID: span.TraceID{Hi: s.rng.Uint64() | 1, Lo: s.rng.Uint64() | 1}, ID: s.id(), Kind: span.KindServer, Service: name(app),
				Name: "GET /", IP: s.spans[len(s.spans)-1].IP, Start: s.epoch.Add(start - time.Microsecond), Duration: end - start + 2*time.Microsecond,
				Tags: span.Tags{{Key: "telemetry.sdk.language", Value: "go"}}}
			own.IP = "10.0.0." + fmt.Sprint(len(name(app)))
			s.spans = append(s.spans, own)
			sent = context{own.TraceID, own.ID}
		}
		call := s.proxy(name(app), span.KindClient, name(callee)+":80/*", out, id, start, end)
		s.spans[len(s.spans)-1].Remote.Service = name(callee)
		if failure == doctor.NoSidecar {
			continue
		}
		s.serve(callee, call, id, start+time.Microsecond*100, end-time.Microsecond*100, here.id)
	}
}

func kinds() []doctor.Kind {
	return []doctor.Kind{
		doctor.NothingForwarded, doctor.ContextLost, doctor.RequestIDDropped, doctor.PartlyForwarded, doctor.WrongParent,
		doctor.HiddenSpans, doctor.MixedWidth, doctor.Leak, doctor.NewTrace, doctor.TraceStops, doctor.NoSidecar,
	}
}

func generate(rng *rand.Rand, failure doctor.Kind) (spans []span.Span, m mesh, culprit int) {
	m = newMesh(rng)
	var able []int
	for app, callees := range m.calls {
		if len(callees) > 0 && (failure != doctor.PartlyForwarded || len(callees) > 1) {
			able = append(able, app)
		}
	}
	if len(able) == 0 {
		return generate(rng, failure)
	}
	culprit = able[rng.IntN(len(able))]
	s := &simulation{rng: rng, mesh: m, failure: failure, culprit: culprit, w3c: rng.IntN(2) == 0, epoch: time.Unix(1_700_000_000, 0), skewed: -1}
	if failure == doctor.ClockSkew {
		for s.skewed = rng.IntN(len(m.calls)); s.skewed == 0; s.skewed = rng.IntN(len(m.calls)) {
		}
		culprit = s.skewed
	}
	s.request(rng.IntN(4) == 0)
	rng.Shuffle(len(s.spans), func(i, j int) { s.spans[i], s.spans[j] = s.spans[j], s.spans[i] })
	return s.spans, m, culprit
}

// TestGeneratedTraces plants one failure in each of 10,000 traces and none in another 10,000.
func TestGeneratedTraces(t *testing.T) {
	const traces = 10_000
	rng := rand.New(rand.NewPCG(1, 2))
	found, missed := 0, map[doctor.Kind]int{}
	for i := range traces {
		kind := kinds()[i%len(kinds())]
		spans, m, culprit := generate(rng, kind)
		at := name(culprit)
		findings := doctor.Examine(spans, m.knowledge(), time.Time{})
		ok := slices.ContainsFunc(findings, func(f doctor.Finding) bool {
			if kind == doctor.NoSidecar {
				return f.Kind == kind && f.Caller == at // what lacks a sidecar is whom it called
			}
			return f.Kind == kind && f.Application == at
		})
		if ok {
			found++
		} else {
			missed[kind]++
			if missed[kind] == 1 {
				t.Logf("%s at %s: found %+v", kind, at, findings)
			}
		}
	}
	if found < traces*99/100 {
		t.Errorf("found %d of %d planted failures at the right hop, want 99 %%; missed %v", found, traces, missed)
	}
	alarms := 0
	for range traces {
		spans, m, _ := generate(rng, "")
		if findings := doctor.Examine(spans, m.knowledge(), time.Time{}); len(findings) > 0 {
			if alarms == 0 {
				t.Logf("false: %+v", findings)
			}
			alarms++
		}
	}
	if alarms > traces/1000 {
		t.Errorf("%d findings on %d whole traces, want at most 0.1 %%", alarms, traces)
	}
	t.Logf("found %d of %d, false on %d of %d", found, traces, alarms, traces)
}

func TestClockSkewIsNoFaultOfPropagation(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		spans, m, skewed := generate(rng, doctor.ClockSkew)
		findings := doctor.Examine(spans, m.knowledge(), time.Time{})
		if len(findings) == 0 {
			t.Fatalf("skew of %s not named", name(skewed))
		}
		for _, f := range findings {
			if f.Kind != doctor.ClockSkew {
				t.Fatalf("%+v", f)
			}
		}
	}
}

func TestATraceThatIsStillArrivingHasNoFindings(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	spans, m, _ := generate(rng, doctor.NothingForwarded)
	now := time.Unix(1_700_000_100, 0)
	for i := range spans {
		spans[i].Received = now.Add(-time.Second)
	}
	if got := doctor.Examine(spans, m.knowledge(), now); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := doctor.Examine(spans, m.knowledge(), now.Add(doctor.Settle)); len(got) == 0 {
		t.Error("nothing found after it settled")
	}
}

func BenchmarkExamine(b *testing.B) {
	rng := rand.New(rand.NewPCG(7, 8))
	type one struct {
		spans []span.Span
		m     mesh
	}
	var traces []one
	spans := 0
	for i := range 1000 {
		s, m, _ := generate(rng, kinds()[i%len(kinds())])
		traces = append(traces, one{s, m})
		spans += len(s)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, t := range traces {
			doctor.Examine(t.spans, t.m.knowledge(), time.Time{})
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*spans), "ns/span")
}
