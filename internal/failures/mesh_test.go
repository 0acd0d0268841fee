// Package failures holds tests of the doctor against the failures that people hit: applications which mistreat
// headers behind proxies that do as Envoy does. Nothing here plants a span's shape. An application changes the headers
// that it sends, the sidecar's own code (services/sidecar/trace, which the recordings of a real Envoy hold in place)
// makes the spans of it, and the doctor has to tell from these alone. docs/doctor.md has the table.
package failures_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// app is one application: whom it calls for every request, and how.
type app struct {
	number   int
	callees  []int
	parallel bool
	sdk      bool // makes and exports spans of its own, in order
	async    bool // makes its last call after it answered, with the right context
	retries  bool // the first try of its first call fails
	aborted  bool // its sidecar answers 503 to its first call without sending it
	mirrored bool // its sidecar mirrors its first call to a shadow that has no sidecar
}

func (a *app) name() string { return fmt.Sprintf("a%d.shop", a.number) }

// world plays requests through gateway, sidecars and applications.
type world struct {
	rng      *rand.Rand
	format   trace.Format
	profile  trace.Profile
	sampling float64
	grpc     bool
	headers  bool // sidecars record headers
	apps     []*app
	failure  string
	culprit  *app
	now      time.Duration // since the epoch, by a true clock
	skew     map[string]time.Duration
	spans    []span.Span
	proxies  map[string]*trace.Tracer
	earlier  header.Fields   // what the culprit kept of an earlier request
	client   header.Fields   // what the client sends
	planted  bool            // whether the failure had its occasion
	trusted  bool            // the gateway keeps the client's x-request-id
	parents  map[*app]string // the span id that came to each application's sidecar
}

func epoch() time.Time { return time.Unix(1_760_000_000, 0) }

// newWorld is a random mesh in which every application but the first has one caller.
func newWorld(rng *rand.Rand) *world {
	w := &world{rng: rng, sampling: 100, skew: map[string]time.Duration{}, proxies: map[string]*trace.Tracer{}, parents: map[*app]string{}}
	w.format = []trace.Format{trace.B3, trace.B3W3C, trace.W3C}[rng.IntN(3)]
	w.profile = []trace.Profile{trace.Envoy136, trace.Envoy140}[rng.IntN(2)]
	w.headers = rng.IntN(3) == 0
	for i := range 3 + rng.IntN(7) {
		w.apps = append(w.apps, &app{number: i, parallel: rng.IntN(3) == 0})
		if i > 0 {
			caller := w.apps[rng.IntN(i)]
			caller.callees = append(caller.callees, i)
		}
	}
	return w
}

// Report takes a span as its proxy sends it, node and all.
type reporter struct {
	w       *world
	service string
	ip      string
	pod     string
}

func (r reporter) Report(s *trace.Span) {
	out := span.Span{
		TraceID: span.TraceID{Hi: s.TraceHigh, Lo: s.TraceLow}, ID: span.ID(s.ID), Service: r.service, Name: s.Name,
		Kind: span.KindServer, Version: "v1", IP: r.ip, Host: r.pod, Start: s.Start, Duration: s.Duration, Shared: s.Shared,
	}
	if s.Kind == trace.Client {
		out.Kind = span.KindClient
	}
	if s.HasParent {
		out.ParentID = span.ID(s.Parent)
	}
	if s.Failed {
		out.Status = span.StatusError
	}
	for _, t := range s.Tags {
		out.Tags = append(out.Tags, span.Tag(t))
	}
	if _, failed := out.Tags.Get("error"); failed {
		out.Status = span.StatusError
	}
	r.w.spans = append(r.w.spans, out)
}

// tracer is the listener of a pod in one direction. Each pod has a clock.
func (w *world) tracer(service string, direction trace.Direction) *trace.Tracer {
	key := service + "/" + string(direction)
	if t := w.proxies[key]; t != nil {
		return t
	}
	c := trace.Defaults(direction)
	c.Format, c.Profile, c.Sampling, c.RecordHeaders = w.format, w.profile, w.sampling, w.headers
	c.PreserveExternalRequestID = w.trusted
	workload, namespace, _ := strings.Cut(service, ".")
	kind := "sidecar"
	if direction == trace.Gateway {
		kind = "router"
	}
	ip, pod := address(workload), workload+"-7d9f"
	t, err := trace.New(c, trace.Node{
		ID: kind + "~" + ip + "~" + pod + "." + namespace + "~" + namespace + ".svc.cluster.local", Service: service,
		Address: netip.MustParseAddr(ip), CanonicalService: workload, CanonicalRevision: "v1", MeshID: "cluster.local", Namespace: namespace,
		ClusterID: "Kubernetes",
	}, reporter{w, service, ip, pod}, trace.Options{Random: w.rng.Uint64, Now: func() time.Time { return epoch().Add(w.now + w.skew[service]) }})
	if err != nil {
		panic(err)
	}
	w.proxies[key] = t
	return t
}

func address(workload string) string {
	var n int
	fmt.Sscanf(workload, "a%d", &n)
	return fmt.Sprintf("10.0.%d.%d", n/250+1, n%250+1)
}

// hop is one request at one proxy.
type hop struct {
	service   string
	direction trace.Direction
	peer      string
	host      string
	tries     int  // how many are made; all but the last fail
	abort     bool // the proxy answers by itself
	mirror    bool
}

func (w *world) pass(h hop, fields header.Fields, upstream func(header.Fields) int) int {
	w.tick()
	workload, namespace, _ := strings.Cut(h.host, ".")
	clusterName := "outbound|9080||" + workload + "." + namespace + ".svc.cluster.local"
	if h.direction == trace.Inbound {
		clusterName = "inbound|9080||"
	}
	cluster := trace.NewCluster(clusterName)
	request := trace.Request{Method: "GET", Path: "/", Host: workload + ":9080", Protocol: "HTTP/1.1", Header: &fields, Peer: netip.MustParseAddr(h.peer)}
	if w.grpc {
		request.Method, request.Path, request.Protocol = "POST", "/shop.Items/Get", "HTTP/2"
		fields.Set("content-type", "application/grpc")
	}
	var x trace.Exchange
	x.Receive(w.tracer(h.service, h.direction), &request)
	x.Start(trace.Operation{Name: workload + "." + namespace + ".svc.cluster.local:9080/*", Propagate: true})
	status, flags := 503, "FI"
	if !h.abort {
		if h.mirror {
			var m trace.Try
			copied := fields.Clone()
			x.StartMirror(&m, trace.NewCluster("outbound|9080||shadow.shop.svc.cluster.local"), &copied)
			m.Finish(&trace.TryResult{Status: 200, Address: "10.0.9.9:9080"})
		}
		for n := 1; n <= max(1, h.tries); n++ {
			var try trace.Try
			sent := fields.Clone()
			x.StartTry(&try, n, cluster, &sent)
			w.tick()
			status, flags = 503, ""
			if n == max(1, h.tries) {
				status = upstream(sent)
			} else if n%2 == 1 {
				upstream(sent) // it was served, and its answer was lost
			}
			w.tick()
			try.Finish(&trace.TryResult{Status: status, Address: address(workload) + ":9080"})
		}
	}
	var answer header.Fields
	answer.Add("content-type", "application/json")
	x.Respond(&answer)
	w.tick()
	x.Finish(&trace.Result{Status: status, Flags: flags, Cluster: cluster, Header: answer})
	return status
}

func (w *world) tick() { w.now += time.Duration(100+w.rng.IntN(900)) * time.Microsecond }

const gateway = "istio-ingressgateway.istio-system"

// request is one request of the client.
func (w *world) request(tries int) {
	h := w.client.Clone()
	h.Add("user-agent", "curl/8")
	w.pass(hop{service: gateway, direction: trace.Gateway, peer: "203.0.113.7", host: w.apps[0].name(), tries: tries}, h, func(h header.Fields) int {
		return w.serve(w.apps[0], h, address("istio"))
	})
}

func (w *world) serve(a *app, h header.Fields, peer string) int {
	if w.fails(a, "sidecar missing") && w.occasion() {
		return w.application(a, h)
	}
	if parts := strings.Split(h.Get("traceparent"), "-"); len(parts) == 4 {
		w.parents[a] = parts[2]
	}
	return w.pass(hop{service: a.name(), direction: trace.Inbound, peer: peer, host: a.name()}, h, func(h header.Fields) int {
		return w.application(a, h)
	})
}

func (w *world) fails(a *app, failure string) bool { return w.failure == failure && w.culprit == a }

func (w *world) occasion() bool { w.planted = true; return true }

// traceHeaders are those that an application forwards which does it right.
func traceHeaders() []string {
	return []string{"x-request-id", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "b3", "traceparent", "tracestate", "baggage"}
}

func forwarded(came header.Fields) (out header.Fields) {
	out.Add("user-agent", "app/1")
	for _, name := range traceHeaders() {
		if v := came.Joined(name); v != "" {
			out.Add(name, v)
		}
	}
	return out
}

// application is what the pod's container does with a request.
func (w *world) application(a *app, came header.Fields) int {
	w.tick()
	start := w.now
	end := start
	status := 200
	base := forwarded(came)
	var own *ownSpan
	if w.culprit == a {
		base, own = w.mistreat(a, came, base)
	} else if a.sdk {
		own = w.begin(a, came)
		own.inject(w, &base)
	}
	for n, c := range a.callees {
		if a.parallel {
			w.now = start + time.Duration(n)*50*time.Microsecond
		}
		out := base.Clone()
		if w.culprit == a {
			w.mistreatCall(n, &out)
		}
		if a.async && n == len(a.callees)-1 {
			late := w.now
			w.now += time.Duration(100+w.rng.IntN(2000)) * time.Millisecond // its answer leaves below, before this
			w.call(a, n, c, out)
			w.now = late
			continue
		}
		if s := w.call(a, n, c, out); s >= 500 {
			status = 200 // it copes, as productpage does without reviews
		}
		end = max(end, w.now)
	}
	w.now = max(w.now, end)
	w.tick()
	if own != nil {
		own.finish(w)
	}
	return status
}

func (w *world) call(a *app, n, callee int, out header.Fields) int {
	c := w.apps[callee]
	h := hop{service: a.name(), direction: trace.Outbound, peer: "127.0.0.1", host: c.name()}
	if n == 0 {
		h.abort, h.mirror = a.aborted, a.mirrored
		if a.retries {
			h.tries = 2
		}
	}
	if w.fails(a, "sidecar missing") {
		return w.serve(c, out, address(a.name()))
	}
	return w.pass(h, out, func(h header.Fields) int { return w.serve(c, h, address(a.name())) })
}

func (w *world) id() span.ID { return span.ID(w.rng.Uint64() | 1) }

// ownSpan is a span that an application's SDK makes.
type ownSpan struct {
	span   span.Span
	begun  time.Duration
	hidden bool
}

// begin starts a SERVER span of the application's own below the context that came.
func (w *world) begin(a *app, came header.Fields) *ownSpan {
	o := &ownSpan{begun: w.now, span: span.Span{
		ID: w.id(), Kind: span.KindServer, Service: a.name(), Name: "GET /", IP: address(a.name()), Host: strings.TrimSuffix(a.name(), ".shop") + "-7d9f",
		Tags: span.Tags{{Key: "telemetry.sdk.language", Value: "java"}, {Key: "http.request.method", Value: "GET"}},
	}}
	traceID, parent := came.Get("x-b3-traceid"), came.Get("x-b3-spanid")
	if parts := strings.Split(came.Get("traceparent"), "-"); len(parts) == 4 && w.format != trace.B3 {
		traceID, parent = parts[1], parts[2]
	}
	o.span.TraceID, _ = span.ParseTraceID(traceID)
	o.span.ParentID, _ = span.ParseID(parent)
	return o
}

// inject writes the span's context in the mesh's format, as a composite propagator does.
func (o *ownSpan) inject(w *world, out *header.Fields) {
	if w.format != trace.W3C {
		out.Set("x-b3-traceid", o.span.TraceID.String())
		out.Set("x-b3-spanid", o.span.ID.String())
		out.Set("x-b3-sampled", "1")
		out.Del("x-b3-parentspanid")
	}
	if w.format != trace.B3 {
		out.Set("traceparent", "00-"+o.span.TraceID.String()+"-"+o.span.ID.String()+"-01")
	}
}

func (o *ownSpan) finish(w *world) {
	if o.hidden {
		return
	}
	o.span.Start, o.span.Duration = epoch().Add(o.begun+w.skew[o.span.Service]), w.now-o.begun
	w.spans = append(w.spans, o.span)
}

// knowledge is what whole traces of this mesh taught.
func (w *world) knowledge() doctor.Knowledge {
	byName := map[string]*app{}
	for _, a := range w.apps {
		byName[a.name()] = a
	}
	return doctor.Knowledge{
		Callees: func(server *span.Span) (names []string) {
			if a := byName[server.Service]; a != nil && !a.async && !a.aborted {
				for _, c := range a.callees {
					names = append(names, w.apps[c].name())
				}
			}
			return names
		},
		Serves: func(application string) bool { return byName[application] != nil },
	}
}
