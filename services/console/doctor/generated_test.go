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
		if rng.IntN(10) == 0 {
			m.calls[caller] = append(m.calls[caller], i) // twice for each request
		}
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
	narrow  bool // trace ids of 64 bits
	spans   []span.Span
	epoch   time.Time
	skewed  int          // an application whose clock is off, -1 none
	sdk     map[int]bool // applications that make spans of their own, between those of their sidecar
	// What the client sent as b3, and which applications pass that on (Envoy up to 1.36 reads it before x-b3-*).
	b3         *context
	forwardsB3 map[int]bool
}

// outcome is what became of a call in a mesh whose forwarding is in order.
type outcome int

const (
	answered outcome = iota
	aborted          // by a fault rule of the caller's proxy
	refused          // nobody listens
	retried          // after a 503
	late             // the caller's proxy gave up, the callee went on
	mirrored         // a copy goes to another instance
	denied           // by a rule of the callee's proxy, or by the callee itself
	detached         // the caller answered without waiting
)

// draw makes one call in three take an unusual turn, unless a failure is planted: what never happens because of one
// hides the other.
func (s *simulation) draw() outcome {
	if s.failure != "" || s.rng.IntN(3) > 0 {
		return answered
	}
	return outcome(1 + s.rng.IntN(int(detached)))
}

func (s *simulation) traceID() span.TraceID {
	id := span.TraceID{Hi: s.rng.Uint64() | 1, Lo: s.rng.Uint64() | 1}
	if s.narrow {
		id.Hi = 0
	}
	return id
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
		out.TraceID = s.traceID()
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

// own makes a span of the application's SDK.
func (s *simulation) own(application string, kind span.Kind, operation string, in context, from, to time.Duration) *context {
	out := span.Span{
		TraceID: in.trace, ParentID: in.id, ID: s.id(), Service: application, Kind: kind, Name: operation, IP: "10.0.0." + fmt.Sprint(len(application)),
		Start: s.epoch.Add(from), Duration: to - from, Tags: span.Tags{{Key: "telemetry.sdk.language", Value: "go"}},
	}
	s.spans = append(s.spans, out)
	return &context{out.TraceID, out.ID}
}

func (s *simulation) last() *span.Span { return &s.spans[len(s.spans)-1] }

// answer writes over the status of the proxy's span made last.
func (s *simulation) answer(status, flags string) {
	one := s.last()
	for i, t := range one.Tags {
		switch t.Key {
		case "http.status_code":
			one.Tags[i].Value = status
		case "response_flags":
			one.Tags[i].Value = flags
		}
	}
	if status[0] == '5' || status == "0" {
		one.Status = span.StatusError
	}
}

func (s *simulation) request(clientContext bool) {
	var in *context
	if clientContext {
		in = &context{s.traceID(), s.id()}
	}
	if s.failure == doctor.StaleB3 {
		in = &context{s.traceID(), s.id()}
		s.b3 = in
	}
	times := 1
	if s.failure == "" && s.rng.IntN(20) == 0 {
		times = 2 // a client behind a gateway that keeps x-request-id tries again
	}
	requestID := s.uuid()
	for i := range times {
		at := time.Duration(i) * 3 * time.Second
		total := 2 * time.Second
		ctx := s.proxy("istio-ingressgateway.istio-system", span.KindServer, "a0:80/*", in, requestID, at, at+total)
		ctx = s.proxy("istio-ingressgateway.istio-system", span.KindClient, "router a0; egress", ctx, "", at+time.Millisecond, at+total-time.Millisecond)
		s.serve(0, s.read(-1, ctx), requestID, at+2*time.Millisecond, at+total-2*time.Millisecond)
	}
}

// read is the context that a proxy reads where sent was written by the one before it, and b3 passed on by the
// application between them, -1 for the gateway, whose proxy passes it on.
func (s *simulation) read(application int, sent *context) *context {
	if s.b3 != nil && (application < 0 || s.forwardsB3[application]) {
		return s.b3
	}
	s.b3 = nil // below an application that drops it nobody has it
	return sent
}

// serve is the inbound proxy and the application behind it.
func (s *simulation) serve(app int, in *context, requestID string, from, to time.Duration) {
	here := s.proxy(name(app), span.KindServer, name(app)+":80/*", in, requestID, from, to)
	server := len(s.spans) - 1
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
	if failure == doctor.MessagingLost {
		s.own(name(app), span.KindProducer, "orders publish", *here, from+time.Millisecond, from+2*time.Millisecond)
		s.own(consumer(app), span.KindConsumer, "orders process", context{trace: s.traceID()}, from+5*time.Millisecond, from+6*time.Millisecond)
		s.last().Tags = append(s.last().Tags, span.Tag{Key: "guid:x-request-id", Value: requestID})
	}
	inside := *here
	if s.sdk[app] && failure == "" {
		inside = *s.own(name(app), span.KindServer, "GET /", *here, from+200*time.Microsecond, to-200*time.Microsecond)
	}
	before := s.b3
	step := (to - from - 2*time.Millisecond) / time.Duration(len(callees))
	for n, callee := range callees {
		s.b3 = before
		start := from + time.Millisecond + time.Duration(n)*step
		end := start + step - time.Millisecond
		turn := s.draw()
		if turn == detached {
			start, end = to-time.Millisecond, to+100*time.Millisecond
		}
		sent, id := inside, requestID
		if s.sdk[app] && failure == "" {
			sent = *s.own(name(app), span.KindClient, "GET", inside, start-100*time.Microsecond, end+100*time.Microsecond)
		}
		out := s.read(app, &sent)
		switch failure {
		case doctor.NothingForwarded:
			out, id = nil, s.uuid()
		case doctor.ContextLost, doctor.HalfContext, doctor.WrongFamily:
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
			sent = *s.own(name(app), span.KindServer, "GET /", context{trace: s.traceID()}, start-time.Microsecond, end+time.Microsecond)
		}
		call := s.proxy(name(app), span.KindClient, name(callee)+":80/*", out, id, start, end)
		client := len(s.spans) - 1
		s.last().Remote.Service = name(callee)
		switch failure {
		case doctor.HalfContext:
			s.recordHeaders(server, client, []string{"x-b3-traceid", "x-b3-spanid"}, []string{"x-b3-traceid"}, requestID)
		case doctor.WrongFamily:
			s.recordHeaders(server, client, []string{"x-b3-traceid", "x-b3-spanid"}, []string{"traceparent"}, requestID)
		case doctor.DuplicateID:
			if n > 0 { // two calls by one id, as SDKs that were seeded alike draw them
				s.spans[client].ID = duplicated(s.spans, name(app))
				call.id = s.spans[client].ID
			}
		case doctor.Cycle:
			s.spans[client].ParentID = s.spans[client].ID
		case doctor.NoSidecar:
			continue
		}
		serve := func(from, to time.Duration) {
			s.serve(callee, s.read(app, call), id, from+100*time.Microsecond, to-100*time.Microsecond)
		}
		switch turn {
		case aborted:
			s.answer("503", "FI")
		case refused:
			s.answer("503", "UF,URX")
		case retried:
			s.proxy(name(callee), span.KindServer, name(callee)+":80/*", call, id, start+100*time.Microsecond, start+time.Millisecond)
			s.answer("503", "-")
			serve(start+2*time.Millisecond, end)
		case late:
			s.answer("504", "UT")
			serve(start, end+500*time.Millisecond)
		case mirrored:
			serve(start, end)
			serve(start, end)
		case denied:
			s.proxy(name(callee), span.KindServer, name(callee)+":80/*", call, id, start+100*time.Microsecond, start+time.Millisecond)
			s.answer([]string{"403", "401", "404", "429", "304", "302", "500"}[s.rng.IntN(7)], "-")
		default:
			serve(start, end)
		}
	}
}

// recordHeaders puts what sidecars with --record-headers record on the spans around an application.
func (s *simulation) recordHeaders(server, client int, given, sent []string, requestID string) {
	for _, one := range []struct {
		span    int
		prefix  string
		headers []string
	}{{server, "bookinfo.sent.", given}, {client, "bookinfo.received.", sent}} {
		tags := &s.spans[one.span].Tags
		*tags = append(*tags, span.Tag{Key: one.prefix + "x-request-id", Value: requestID})
		for _, h := range one.headers {
			*tags = append(*tags, span.Tag{Key: one.prefix + h, Value: "1"})
		}
	}
}

// duplicated is the id of the application's first call.
func duplicated(spans []span.Span, application string) span.ID {
	return spans[slices.IndexFunc(spans, func(s span.Span) bool { return s.Service == application && s.Kind == span.KindClient })].ID
}

func consumer(app int) string { return "worker-of-" + name(app) }

func kinds() []doctor.Kind {
	return []doctor.Kind{
		doctor.NothingForwarded, doctor.ContextLost, doctor.RequestIDDropped, doctor.PartlyForwarded, doctor.WrongParent,
		doctor.HiddenSpans, doctor.MixedWidth, doctor.Leak, doctor.NewTrace, doctor.TraceStops, doctor.NoSidecar,
		doctor.StaleB3, doctor.DuplicateID, doctor.Cycle, doctor.HalfContext, doctor.WrongFamily, doctor.MessagingLost,
	}
}

func generate(rng *rand.Rand, failure doctor.Kind) (spans []span.Span, m mesh, culprit int) {
	m = newMesh(rng)
	var able []int
	for app, callees := range m.calls {
		switch {
		case len(callees) == 0:
		case failure == doctor.StaleB3 && app > 0: // the header comes from outside
		case (failure == doctor.PartlyForwarded || failure == doctor.DuplicateID) && len(callees) < 2:
		default:
			able = append(able, app)
		}
	}
	if len(able) == 0 {
		return generate(rng, failure)
	}
	culprit = able[rng.IntN(len(able))]
	s := &simulation{
		rng: rng, mesh: m, failure: failure, culprit: culprit, epoch: time.Unix(1_700_000_000, 0), skewed: -1,
		w3c: rng.IntN(2) == 0, sdk: map[int]bool{}, forwardsB3: map[int]bool{},
	}
	switch failure {
	case doctor.StaleB3, doctor.HalfContext, doctor.WrongFamily:
		s.w3c = false // of B3 alone
	}
	s.narrow = failure != doctor.MixedWidth && !s.w3c && rng.IntN(4) == 0
	for app := range m.calls {
		s.sdk[app] = rng.IntN(5) == 0
		s.forwardsB3[app] = rng.IntN(2) == 0
	}
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
			switch kind {
			case doctor.NoSidecar:
				return f.Kind == kind && f.Caller == at // what lacks a sidecar is whom it called
			case doctor.MessagingLost:
				return f.Kind == kind && f.Application == consumer(culprit)
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
