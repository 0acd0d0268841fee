package trace

import (
	"net/netip"
	"time"

	"example.com/bookinfo/services/sidecar/header"
)

// Request is the head of a request as the proxy holds it. Receive, Start and the tries change Header; the proxy may
// change Path, Host and Header between them, for a rewrite.
type Request struct {
	Method   string
	Path     string // the request target, query included
	Host     string // not among Header
	Protocol string // "HTTP/1.1"
	Header   *header.Fields
	Peer     netip.Addr // address of the direct peer
}

// Operation is the decorator of a route: it names the span. The zero value is a route without one, or no route.
type Operation struct {
	Name      string
	Propagate bool // the name is sent to the next proxy
}

// Cluster is an upstream cluster as spans name it.
type Cluster struct {
	name, statName, spanName string
}

// NewCluster takes a name such as "outbound|9080|v1|reviews.default.svc.cluster.local". Istio's alt_stat_name, which
// tags and span names show, ends in a semicolon.
func NewCluster(name string) *Cluster {
	return &Cluster{name: name, statName: name + ";", spanName: "router " + name + "; egress"}
}

// Name returns the name as given.
func (c *Cluster) Name() string { return c.name }

// Exchange is one request and its response. It is used for one at a time and can be used again; it must not be copied.
type Exchange struct {
	t         *Tracer
	r         *Request
	span      Span
	alive     bool // span is there; else no tracing, or Envoy's NullSpan
	single    bool // the context came in the header b3 and leaves in it
	forced    bool // x-envoy-force-trace survived: the response tells the request id
	operation Operation
	received  []Tag // what Config.RecordHeaders asks for
	sent      []Tag
}

// Receive begins an exchange: it decides whether the client is trusted, removes what it may not send, and sees to
// x-request-id, x-forwarded-for and x-forwarded-proto.
func (x *Exchange) Receive(t *Tracer, r *Request) {
	x.t, x.r = t, r
	r.Peer = r.Peer.Unmap() // a listener of both families gives IPv4 peers as mapped IPv6 addresses
	x.alive, x.single, x.operation = false, false, Operation{}
	x.received, x.sent = x.received[:0], x.sent[:0]
	x.span = Span{Start: t.now(), Tags: x.span.Tags[:0]}
	x.received = t.record(x.received, "bookinfo.received.", *r.Header)

	edge := t.sanitize(r)
	t.identify(r.Header, edge)
	x.forced = r.Header.Has(forceTrace)
}

// Start decides on tracing, reads the context that came, begins the span and names it after the route's operation.
// The decision is packed into x-request-id.
func (x *Exchange) Start(op Operation) {
	t, h := x.t, x.r.Header
	if !t.config.Tracing {
		return
	}
	why := t.decide(h)
	t.counters.count(why)
	x.start(why != notTraceable)
	x.name(op)
}

func (c *Counters) count(why reason) {
	switch why {
	case sampled:
		c.RandomSampling.Add(1)
	case serviceForced:
		c.ServiceForced.Add(1)
	case clientForced:
		c.ClientEnabled.Add(1)
	default:
		c.NotTraceable.Add(1)
	}
}

// start makes the span, unless a context came that cannot be read.
func (x *Exchange) start(traced bool) {
	t, s := x.t, &x.span
	var c context
	came, outcome := t.extract(*x.r.Header, &c)
	if outcome == unreadable {
		return
	}
	x.alive = true
	x.single = t.config.Profile == Envoy140 && t.config.Format != W3C && x.r.Header.Has(b3Single)
	s.Kind = Client
	if t.config.Direction == Inbound || t.config.SpawnUpstreamSpan {
		s.Kind = Server
	}
	shared := t.config.SharedSpanContext && s.Kind == Server && t.config.Format != W3C
	s.Shared = shared
	s.sampled = t.sample(came, outcome, traced)
	if outcome == absent {
		x.root()
		return
	}
	s.TraceHigh, s.TraceLow, s.State = c.traceHigh, c.traceLow, c.state
	s.RemoteParent = true
	if shared {
		s.ID, s.Parent, s.HasParent = c.id, c.parent, c.hasParent
		return
	}
	s.ID, s.Parent, s.HasParent = t.newID(), c.id, true
}

// sample weighs the flag that came against the proxy's own decision.
func (t *Tracer) sample(came flag, outcome outcome, traced bool) bool {
	switch {
	case came == open:
		return traced
	case t.config.Format == W3C && outcome == found && t.config.Profile == Envoy140:
		// envoy#45830: a sampled parent does not overrule the proxy's own "not traced".
		return came == accepted && traced
	}
	return came == accepted
}

// root draws the ids of a new trace. In Zipkin's tracer the first span's id is the right half of the trace id.
func (x *Exchange) root() {
	t, s := x.t, &x.span
	s.TraceLow = t.newID()
	if t.config.Format == W3C {
		s.TraceHigh, s.ID = t.newID(), t.newID()
		return
	}
	s.ID = s.TraceLow
	if t.config.TraceID128Bit {
		s.TraceHigh = t.newID()
	}
}

// newID never returns 0, which W3C forbids and B3 reads as a short id.
func (t *Tracer) newID() uint64 {
	for {
		if id := t.random(); id != 0 {
			return id
		}
	}
}

// name gives the span its name, and passes the name of the route's decorator on or takes the caller's (Envoy:
// ActiveStream::traceRequest in conn_manager_impl.cc).
func (x *Exchange) name(op Operation) {
	t, h := x.t, x.r.Header
	inbound := t.config.Direction == Inbound
	switch {
	case op.Name != "":
		x.span.Name = op.Name
	case t.config.Format != W3C:
		x.span.Name = x.r.Host
	case inbound:
		x.span.Name = "ingress"
	default:
		x.span.Name = "egress " + x.r.Host
	}
	x.operation = op
	if !inbound {
		if op.Name != "" && op.Propagate {
			h.Set(decorator, op.Name)
		}
		return
	}
	if caller, ok := h.Lookup(decorator); ok {
		if caller != "" {
			x.span.Name = caller
			x.operation = Operation{}
		}
		h.Del(decorator)
	}
}

// Sampled tells whether the exchange will be reported.
func (x *Exchange) Sampled() bool { return x.alive && x.span.sampled }

// RequestID returns the x-request-id in force, or "".
func (x *Exchange) RequestID() string { return x.r.Header.Get(requestID) }

// Try is one try of a request at an upstream, or its mirror. It can be used again after Finish.
type Try struct {
	x       *Exchange
	span    Span
	alive   bool // span is there
	mirror  bool
	cluster *Cluster
	sent    []Tag
}

// StartTry begins the n-th try, counted from 1, and writes the trace context into h, which may be the request's own
// header. At a proxy that spawns upstream spans every try has a span of its own.
func (x *Exchange) StartTry(try *Try, n int, cluster *Cluster, h *header.Fields) {
	try.begin(x, cluster)
	if x.t.config.SpawnUpstreamSpan && x.alive {
		try.spawn(cluster.spanName)
		if n > 1 {
			try.span.tag("retry.count", decimal(int64(n-1)))
		}
	}
	try.inject(h)
}

// StartMirror begins the copy of a request for a mirror cluster. It always has a span of its own, as any call that
// Envoy makes by itself.
func (x *Exchange) StartMirror(try *Try, cluster *Cluster, h *header.Fields) {
	try.begin(x, cluster)
	try.mirror = true
	if x.alive {
		try.spawn(cluster.name)
	}
	try.inject(h)
}

func (try *Try) begin(x *Exchange, cluster *Cluster) {
	try.x, try.cluster, try.alive, try.mirror = x, cluster, false, false
	try.span = Span{Tags: try.span.Tags[:0]}
	try.sent = try.sent[:0]
}

func (try *Try) spawn(name string) {
	x, s, own := try.x, &try.span, &try.x.span
	try.alive = true
	s.TraceHigh, s.TraceLow, s.State, s.sampled = own.TraceHigh, own.TraceLow, own.State, own.sampled
	s.ID, s.Parent, s.HasParent = x.t.newID(), own.ID, true
	s.Kind, s.Name, s.Start = Client, name, x.t.now()
}

func (try *Try) inject(h *header.Fields) {
	x := try.x
	if x.alive && !x.t.config.NoContextPropagation {
		if try.alive {
			x.t.inject(&try.span, h, x.single)
		} else {
			x.t.inject(&x.span, h, x.single)
		}
	}
	if try.alive {
		try.sent = x.t.record(try.sent, "bookinfo.sent.", *h)
	} else {
		x.sent = x.t.record(x.sent[:0], "bookinfo.sent.", *h)
	}
}

// Respond changes the head of a response, the proxy's own answers included, before it goes down: the decorator's
// operation and the request id (Envoy: ActiveStream::encodeHeaders, mutateResponseHeaders).
func (x *Exchange) Respond(h *header.Fields) {
	if x.t.config.AlwaysSetRequestIDInResponse || x.forced {
		if id := x.RequestID(); id != "" {
			h.Set(requestID, id)
		}
	}
	if !x.t.config.Tracing {
		return
	}
	if x.t.config.Direction == Inbound {
		if x.operation.Name != "" && x.operation.Propagate {
			h.Set(decorator, x.operation.Name)
		}
		return
	}
	if callee, ok := h.Lookup(decorator); ok {
		if callee != "" {
			x.span.Name = callee
		}
		h.Del(decorator)
	}
}

// elapsed is never negative, whatever the clock does.
func elapsed(from, to time.Time) time.Duration { return max(to.Sub(from), 0) }
