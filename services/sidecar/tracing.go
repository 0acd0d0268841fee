package sidecar

import (
	"fmt"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/trace"
	"example.com/bookinfo/services/sidecar/upstream"
)

// tracing is the part of an exchange that makes spans.
type tracing struct {
	exchange trace.Exchange
	request  trace.Request
	try      trace.Try
	begun    bool
}

// traceRequest lets the request in: who the client is, its request id, what it may not send.
func (x *exchange) traceRequest() {
	t := x.tracing
	t.begun = true
	t.request = trace.Request{
		Method: x.req.Method, Path: x.path, Host: x.req.Host, Protocol: x.protocol(),
		Header: &x.req.Fields, Peer: x.peer.Addr(),
	}
	t.exchange.Receive(x.force.tracer, &t.request)
}

// traceRoute begins the span, once the route that names it is known.
func (x *exchange) traceRoute() {
	var op trace.Operation
	if r := x.choice.Route; r != nil {
		op = trace.Operation{Name: r.Operation, Propagate: x.l.propagate}
	}
	x.tracing.exchange.Start(op)
}

// beginTry counts a request to host in and writes the trace context for it.
func (x *exchange) beginTry(host *upstream.Host) {
	x.host = host
	x.tracing.request.Path, x.tracing.request.Host = x.path, x.req.Host // a rewrite may have changed them
	x.tracing.exchange.StartTry(&x.tracing.try, x.attempts, x.force.names[x.choice.Cluster], &x.req.Fields)
}

// endTry counts it out and ends its span. again tells that there is to be another one: Envoy then resets the request
// that was answered, unless its answer ended with its head (UpstreamRequest::resetStream in router/upstream_request.cc).
func (x *exchange) endTry(out outcome, again bool) {
	if x.host == nil {
		return
	}
	cut := again && out.answered && x.resp.Length != 0
	r := trace.TryResult{Reset: out.reset, Canceled: cut || out.timeout != noTimeout || out.departed}
	if out.answered {
		r.Status, r.Header, r.Trailer = x.resp.Status, x.resp.Fields, x.trailers
	}
	if out.timeout != routeTimeout { // that one is the exchange's, not the try's
		r.Flags = out.flag
	}
	if x.admitted {
		r.Address = x.host.Endpoint.Address
	}
	if !x.connected {
		r.Protocol = "-"
	}
	x.tracing.try.Finish(&r)
	x.cluster.Done(x.host, r.Status)
	if x.admitted {
		x.cluster.End()
	}
	x.avoid = append(x.avoid, x.host)
	x.host, x.admitted, x.connected = nil, false, false
}

// traceResponse changes the head of an answer.
func (x *exchange) traceResponse() {
	if x.tracing.begun {
		x.tracing.exchange.Respond(&x.resp.Fields)
	}
}

// finish closes the books on an exchange: its span, its log line, its numbers.
func (x *exchange) finish() {
	if x.tracing.begun {
		r := trace.Result{
			Status: x.status, Flags: x.flags, RequestBytes: x.received, ResponseBytes: x.sent,
			Header: x.resp.Fields, Trailer: x.trailers,
		}
		if x.cluster != nil {
			r.Cluster = x.force.names[x.choice.Cluster]
		}
		x.tracing.exchange.Finish(&r)
		x.tracing.begun = false
	}
	x.record()
}

// pickHost chooses a host for the next try; nil if the cluster has none.
func (x *exchange) pickHost() *upstream.Host {
	var hash uint64
	var hashed bool
	if len(x.choice.Route.Hash) > 0 {
		var missing *route.HashPolicy
		if hash, hashed, missing = x.choice.Route.HashOf(&x.routing, x.peer.Addr()); missing != nil {
			x.setCookie(missing)
			hash, hashed, _ = x.choice.Route.HashOf(&x.routing, x.peer.Addr())
		}
	}
	avoid := x.avoid
	if p := x.choice.Route.Retry; p == nil || p.AvoidPrevious <= 0 {
		avoid = nil
	}
	return x.cluster.Pick(x.l.sidecar.dice, hash, hashed, avoid)
}

// setCookie gives the client the cookie that keeps it at one endpoint from now on, and routes as if it had come with it.
// All requests of a connection get the same (envoy source/common/router/router.h, addDownstreamSetCookie).
func (x *exchange) setCookie(policy *route.HashPolicy) {
	value := fmt.Sprintf("%016x", route.HashString(x.peer.String()+x.l.ln.Addr().String()))
	x.routing.Headers = append(x.routing.Headers[:len(x.routing.Headers):len(x.routing.Headers)],
		header.Field{Name: "cookie", Value: policy.Cookie + "=" + value})
	x.cookie = policy.Cookie + `="` + value + `"`
	if seconds := int64(policy.CookieTTL.Seconds()); seconds > 0 {
		x.cookie += fmt.Sprintf("; Max-Age=%d", seconds)
	}
	if policy.CookiePath != "" {
		x.cookie += "; Path=" + policy.CookiePath
	}
	x.cookie += "; HttpOnly"
}
