package sidecar

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/stats"
	"example.com/bookinfo/services/sidecar/trace"
	"example.com/bookinfo/services/sidecar/upstream"
	"example.com/bookinfo/services/sidecar/wire"
)

// exchange is one request on its way through the proxy, and the answer on its way back. Its memory is used again for
// the next request of the connection.
type exchange struct {
	l      *listener
	client client
	http2  bool // the client speaks HTTP/2, and so does the endpoint then
	peer   netip.AddrPort

	req     wire.Request // Fields become what goes upstream
	path    string       // the target in origin form
	body    body
	upgrade bool
	// unroutable requests meet no route: CONNECT, which would make an open proxy, OPTIONS *, and one without a scheme.
	unroutable bool
	start      time.Time
	arrived    time.Time // when the request had come completely

	force   *inForce
	table   *route.Table
	routing route.Request
	choice  route.Choice

	resp     wire.Response // Fields become what the client gets
	status   int           // that the client got; 0 if none
	started  bool          // an answer was begun
	close    bool          // the connection ends after the answer
	broken   bool          // the connection is not fit for another request
	received int64         // bytes of the request's body
	sent     int64         // bytes of the answer's body

	flags     string // %RESPONSE_FLAGS%, in the order in which they came up, as Envoy joins them
	details   string // %RESPONSE_CODE_DETAILS%
	transport string // %UPSTREAM_TRANSPORT_FAILURE_REASON%
	attempts  int    // %UPSTREAM_REQUEST_ATTEMPT_COUNT%

	cluster  *upstream.Cluster // of the choice
	host     *upstream.Host    // of the last try; nil if none was to be had
	avoid    []*upstream.Host  // tried before
	cookie   string            // to be set for consistent hashing; empty if none is
	retries  int               // counted in at cluster
	admitted bool              // host counts a request of ours
	attempt  attempt

	endpoint   *route.Endpoint // last asked; nil if none was
	local      string          // own address of the last connection, for the log
	caller     *stats.Workload // the one that asks, if its sidecar said so
	connected  bool            // the last try had a connection
	h2Received atomic.Int64    // received, counted where net/http reads the body

	saved    []byte // what was read of the request's body, for another try
	unsaved  bool   // more was read than is saved
	mirrored bool
	unread   bool // the client may still be sending a body that nobody will read
	trailers header.Fields
	tracing  *tracing
}

// reset makes x ready for the next request of its connection.
func (x *exchange) reset() {
	x.req, x.resp = wire.Request{Fields: x.req.Fields[:0]}, wire.Response{Fields: x.resp.Fields[:0]}
	x.path, x.body, x.upgrade, x.unroutable = "", nil, false, false
	x.force, x.table, x.choice = nil, nil, route.Choice{}
	x.status, x.started, x.close, x.broken, x.received, x.sent = 0, false, false, false, 0, 0
	x.flags, x.details, x.transport, x.attempts = "", "", "", 0
	x.cluster, x.host, x.avoid, x.cookie = nil, nil, x.avoid[:0], ""
	x.admitted, x.connected, x.endpoint, x.local, x.caller = false, false, nil, "", nil
	x.saved, x.unsaved, x.unread, x.trailers = x.saved[:0], false, false, nil
	if x.mirrored { // a copy under way still reads the old one
		x.mirrored, x.tracing = false, new(tracing)
	}
}

// flag adds a response flag.
func (x *exchange) flag(name string) {
	switch {
	case x.flags == "":
		x.flags = name
	case !strings.Contains(x.flags, name):
		x.flags += "," + name
	}
}

// fail says that the answer did not reach the client whole.
func (x *exchange) fail() {
	x.broken = true
	x.flag("DC")
	x.details = "downstream_remote_disconnect"
}

// serve takes a request whose head was read from its arrival to the log line. The order is Envoy's: connection
// manager, route, filters (access rules, CORS, fault), router.
func (x *exchange) serve(ctx context.Context) {
	defer x.finish()
	x.force = x.l.force.Load()
	x.table = x.force.table
	if !x.acceptable() {
		return
	}
	dropHopByHop(&x.req.Fields, x.upgrade)
	x.traceRequest()
	x.identify()
	x.choose()
	if !x.allowed() || x.preflight() || !x.fault(ctx) {
		return
	}
	switch r := x.choice.Route; {
	case r == nil:
		x.flag("NR")
		x.details = "route_not_found"
		x.answerLocally(404, "")
	case r.Redirect != nil:
		x.details = "direct_response"
		x.answerLocally(r.Redirect.RedirectStatus(), "", header.Field{Name: "location", Value: r.Location(&x.routing)})
	case r.Direct != nil:
		x.details = "direct_response"
		x.answerLocally(r.Direct.Status, r.Direct.Body)
	case x.choice.Cluster == nil:
		x.flag("NC")
		x.details = "cluster_not_found"
		x.answerLocally(503, "")
	default:
		x.forward(ctx)
	}
}

// acceptable answers requests that no route shall see.
func (x *exchange) acceptable() bool {
	refuse := func(details string) bool {
		x.close, x.unread = true, true
		x.details = details
		x.answerBare(400)
		return false
	}
	malformed := func(reason string) bool {
		x.refuse(&wire.ProtocolError{Kind: wire.BadMessage, Reason: reason})
		return false
	}
	target := x.req.Target
	for _, scheme := range [...]string{"http://", "https://"} { // absolute form (RFC 9112 section 3.2.2): its host counts
		if len(target) >= len(scheme) && strings.EqualFold(target[:len(scheme)], scheme) {
			rest := target[len(scheme):]
			i := strings.IndexAny(rest, "/?")
			if i < 0 {
				i = len(rest)
			}
			x.req.Host, x.req.HasOne = rest[:i], true
			if target = rest[i:]; target == "" || target[0] == '?' {
				target = "/" + target
			}
			break
		}
	}
	x.upgrade = !x.http2 && asksUpgrade(x.req.Fields)
	if connection, ok := x.req.Fields.Lookup("connection"); ok && !x.upgrade {
		host, ok := nominated(connection)
		if !ok {
			return malformed("the Connection field names fields that it may not")
		}
		x.req.HasOne = x.req.HasOne && !host
	}
	switch {
	case !x.req.HasOne:
		return refuse("missing_host_header")
	case !validHost(x.req.Host):
		return malformed("the authority holds a character that none may hold")
	case x.req.Method == http.MethodConnect:
		x.path, x.close, x.unroutable = target, true, true
		return true
	case target == "*" && x.req.Method == http.MethodOptions:
		x.path, x.unroutable = target, true
		return true
	case target[0] != '/':
		return malformed("the target is neither a path nor a URL")
	}
	var ok bool
	if x.path, ok = normalizePath(target); !ok {
		return refuse("path_normalization_failed")
	}
	return true
}

// answerBare answers before there is any route: without body, and without a gRPC status.
func (x *exchange) answerBare(status int) {
	x.resp = wire.Response{Status: status, Minor: 1, Fields: x.resp.Fields[:0]}
	x.finishHead()
	x.started = true
	x.client.response(status, x.resp.Fields, 0)
	if x.client.end(nil) != nil {
		x.fail()
	}
}

func validHost(host string) bool {
	for i := 0; i < len(host); i++ {
		if c := host[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`/?#@\"<>^`+"`{|}", c) >= 0 {
			return false
		}
	}
	return true
}

// choose asks the route table in force.
func (x *exchange) choose() {
	x.routing = route.Request{
		Method: x.req.Method, Scheme: "http", Authority: x.req.Host, Path: x.path, Headers: x.req.Fields,
		Port: x.l.port, Source: x.peer.Addr(),
	}
	if x.l.direction == trace.Inbound && x.table.Authorization != nil {
		x.routing.Principal = principalOf(x.req.Fields.Get(clientCert))
	}
	// Without a scheme there is no route (envoy source/common/router/config_impl.cc, forwarded_proto_header).
	if proto, ok := x.req.Fields.Lookup("x-forwarded-proto"); ok && proto == "" {
		x.unroutable = true
	}
	if !x.unroutable {
		x.choice = x.table.Choose(&x.routing, x.l.sidecar.dice)
	}
	x.cluster = x.force.clusters[x.choice.Cluster]
	x.traceRoute()
}

func (x *exchange) allowed() bool {
	ok, policy := x.table.Authorization.Allows(&x.routing)
	if !ok {
		x.details = "rbac_access_denied_matched_policy[" + policy + "]"
		x.answerLocally(403, "RBAC: access denied")
	}
	return ok
}

func (x *exchange) preflight() bool {
	if x.choice.Route == nil || x.choice.Route.CORS == nil {
		return false
	}
	fields, ok := x.choice.Route.CORS.Preflight(&x.routing)
	if ok {
		x.details = "cors_response"
		x.answerLocally(200, "", fields...)
	}
	return ok
}

// fault does what the fault filter does before the router sees the request. The wait is not part of the route's
// timeout.
func (x *exchange) fault(ctx context.Context) bool {
	if x.choice.Delay > 0 {
		x.flag("DI")
		if !x.wait(ctx, x.choice.Delay) {
			return false
		}
		x.arrived = time.Now()
	}
	if x.choice.Abort > 0 {
		x.flag("FI")
		x.details = "fault_filter_abort"
		x.answerLocally(x.choice.Abort, "fault filter abort")
		return false
	}
	return true
}

// wait lets time pass while it watches for the client to leave; then the exchange is over.
func (x *exchange) wait(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := x.body.Done()
	if watched {
		x.client.watch(cancel)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if watched && x.client.unwatch() || ctx.Err() != nil {
		x.fail()
		return false
	}
	return true
}
