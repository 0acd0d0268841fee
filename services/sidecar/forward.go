package sidecar

import (
	"context"
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
	"example.com/bookinfo/services/sidecar/wire"
)

// outcome is how one try to get an answer from an endpoint ended.
type outcome struct {
	answered  bool          // x.resp holds the head; relay sends it on
	departed  bool          // the client left
	local     *localFailure // the request itself failed while it was read
	reset     string        // else: Envoy's reset reason, for example "connection termination"
	transport string        // what the operating system said of a connection that could not be made
	timeout   timeoutKind   // or which timeout ran out
	flag      string
}

type timeoutKind int

const (
	noTimeout timeoutKind = iota
	perTryTimeout
	routeTimeout
	idleStream
)

// localFailure is a request body that cannot be forwarded.
type localFailure struct{ err *wire.ProtocolError }

// answer is an upstream's answer whose head was read.
type answer interface {
	// relay sends the body to the client and ends the try. It returns the outcome of that.
	relay(x *exchange) outcome
	// discard ends the try without an answer to the client.
	discard()
}

// forward is Envoy's router: it tries endpoints of the chosen cluster until there is an answer to send on.
func (x *exchange) forward(ctx context.Context) {
	x.prepareUpstream()
	policy := x.choice.Route.Retry
	defer func() {
		for ; x.retries > 0; x.retries-- {
			x.cluster.EndRetry()
		}
	}()
	for {
		x.attempts++
		if x.l.direction != trace.Inbound {
			x.req.Fields.Set("x-envoy-attempt-count", strconv.Itoa(x.attempts))
		}
		ans, out := x.try(ctx)
		again, exhausted := x.shouldRetry(policy, out)
		if exhausted {
			x.flag("URX")
		}
		if !again {
			x.conclude(ans, out)
			return
		}
		x.endTry(out, true)
		if ans != nil {
			ans.discard()
		}
		if !x.backOff(ctx, policy) {
			return
		}
	}
}

// prepareUpstream changes the request as its route says, in the order in which Envoy's router does.
func (x *exchange) prepareUpstream() {
	r := x.choice.Route
	limit := r.Timeout
	if p := r.Retry; p != nil && p.PerTryTimeout > 0 && (limit == 0 || p.PerTryTimeout < limit) {
		limit = p.PerTryTimeout
	}
	if limit > 0 {
		x.req.Fields.Set("x-envoy-expected-rq-timeout-ms", strconv.FormatInt(limit.Milliseconds(), 10))
	}
	if x.l.direction != trace.Inbound && x.l.profile == trace.Envoy140 {
		x.req.Fields.Set("x-envoy-attempt-count", "1")
	}
	d := x.choice.Destination
	d.RequestHeaders.Apply(&x.req.Fields)
	r.RequestHeaders.Apply(&x.req.Fields)
	host := d.Host
	if r.Rewrite != nil && r.Rewrite.Host != "" {
		host = r.Rewrite.Host
	}
	// A set "host" replaces the authority, which is not among the fields.
	if h, ok := x.req.Fields.Lookup("host"); ok {
		host = h
		x.req.Fields.Del("host")
	}
	if host != "" && host != x.req.Host {
		x.req.Fields.Set("x-envoy-original-host", x.req.Host)
		x.req.Host = host
	}
	if path := r.RewrittenPath(x.path); path != x.path {
		x.req.Fields.Set("x-envoy-original-path", x.path)
		x.path = path
	}
}

// conclude turns the last try's outcome into the answer.
func (x *exchange) conclude(ans answer, out outcome) {
	if out.answered {
		out = x.sendOn(ans)
		x.endTry(out, false)
		return
	}
	x.endTry(out, false)
	switch {
	case out.departed:
		x.fail()
	case out.local != nil:
		x.close = true
		x.unread = true
		x.refuse(out.local.err)
	case out.timeout == perTryTimeout, out.timeout == routeTimeout:
		x.flag("UT")
		x.details = "response_timeout"
		if out.timeout == perTryTimeout {
			x.details = "upstream_per_try_timeout"
		}
		x.answerLocally(504, "upstream request timeout")
	case out.timeout == idleStream:
		x.flag("SI")
		x.details = "stream_idle_timeout"
		x.answerLocally(408, "stream timeout")
	case out.flag == "UH":
		x.flag("UH")
		x.details = "no_healthy_upstream"
		x.answerLocally(503, "no healthy upstream")
	default:
		x.answerReset(out)
	}
}

// answerReset is the answer to a try that ended before an answer began (envoy source/common/router/router.cc,
// onUpstreamAbort).
func (x *exchange) answerReset(out outcome) {
	x.flag(out.flag)
	x.transport = strings.ReplaceAll(out.transport, " ", "_")
	x.details = "upstream_reset_before_response_started{" + strings.ReplaceAll(out.reset, " ", "_")
	if out.transport != "" {
		x.details += "|" + x.transport
	}
	x.details += "}"
	text := "upstream connect error or disconnect/reset before headers. "
	if x.attempts > 1 {
		text += "retried and the latest "
	}
	text += "reset reason: " + out.reset
	if out.transport != "" && x.l.profile == trace.Envoy136 {
		text += ", transport failure reason: " + out.transport
	}
	status := 503
	if out.flag == "UPE" {
		status = 502
	}
	if out.flag == "UO" {
		x.answerLocally(status, text, header.Field{Name: "x-envoy-overloaded", Value: "true"})
		return
	}
	x.answerLocally(status, text)
}

// sendOn passes an upstream's answer to the client.
func (x *exchange) sendOn(ans answer) outcome {
	p := &x.resp
	x.details = "via_upstream"
	upgraded := p.Status == 101 && x.upgrade
	dropAnswerHopByHop(&p.Fields, upgraded)
	switch {
	case x.requestOver() && !upgraded:
		p.Fields.Set("x-envoy-upstream-service-time", strconv.FormatInt(time.Since(x.arrived).Milliseconds(), 10))
	case !upgraded && !x.http2: // the rest of the request may never be read
		x.close = true
	}
	if x.cookie != "" {
		p.Fields.Add("set-cookie", x.cookie)
	}
	r := x.choice.Route
	x.choice.Destination.ResponseHeaders.Apply(&p.Fields)
	r.ResponseHeaders.Apply(&p.Fields)
	if r.CORS != nil {
		r.CORS.Respond(x.routing.Headers.Get("origin"), &p.Fields)
	}
	x.finishHead()
	x.started = true
	x.client.response(p.Status, p.Fields, p.Length)
	out := ans.relay(x)
	switch {
	case out.departed:
		x.fail()
	case out.timeout == idleStream:
		x.broken = true
		x.flag("SI")
		x.details = "stream_idle_timeout"
	case out.timeout != noTimeout:
		x.broken = true
		x.flag("UT")
		x.details = "upstream_max_stream_duration_reached"
		if out.timeout == routeTimeout {
			x.details = "response_timeout"
		}
	case out.reset != "":
		x.broken = true
		x.flag(out.flag)
		x.details = "upstream_reset_after_response_started{" + strings.ReplaceAll(out.reset, " ", "_") + "}"
	}
	out.answered = true
	return out
}
