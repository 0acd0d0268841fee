package sidecar

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"example.com/bookinfo/services/sidecar/upstream"
	"example.com/bookinfo/services/sidecar/wire"
)

// late is how long an answer may take before anybody looks whether the client is still there. Looking costs a
// goroutine and moves deadlines; most answers come sooner.
const late = 20 * time.Millisecond

// defaultConnectTimeout is Istio's.
const defaultConnectTimeout = 10 * time.Second

// try asks one endpoint. With an answer, its head is in x.resp.
func (x *exchange) try(ctx context.Context) (answer, outcome) {
	host := x.pickHost()
	if host == nil {
		return nil, outcome{flag: "UH"}
	}
	x.beginTry(host)
	if out, ok := x.admit(ctx); !ok {
		return nil, out
	}
	x.admitted, x.endpoint = true, host.Endpoint
	target := upstream.TargetOf(x.choice.Cluster, host.Endpoint)
	if x.http2 {
		return x.tryHTTP2(ctx, target)
	}
	return x.tryHTTP1(ctx, target)
}

// admit passes the cluster's circuit breakers, waiting for a connection if the limits allow that.
func (x *exchange) admit(ctx context.Context) (out outcome, ok bool) {
	admission, turn := x.cluster.Begin()
	switch admission {
	case upstream.Admitted:
		return out, true
	case upstream.Refused:
		return outcome{reset: "overflow", flag: "UO"}, false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if limit := x.deadline(); !limit.IsZero() {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, limit)
		defer stop()
	}
	watched := x.body.Done()
	if watched {
		x.client.watch(cancel)
	}
	select {
	case <-turn:
	case <-ctx.Done():
		x.cluster.Leave(turn)
	}
	left := watched && x.client.unwatch()
	switch {
	case ctx.Err() == nil && !left:
		return out, true
	case ctx.Err() == nil: // it left after its turn had come
		x.cluster.End()
		return outcome{departed: true}, false
	case ctx.Err() == context.DeadlineExceeded && !left:
		return outcome{timeout: routeTimeout, flag: "UT"}, false
	}
	return outcome{departed: true}, false
}

// tryHTTP1 sends the request over a kept connection or a new one. A kept one that the endpoint closed at that very
// moment refuses the request without having read it; it is then sent once more over a new one, which the client and
// the books do not see.
func (x *exchange) tryHTTP1(ctx context.Context, target upstream.Target) (answer, outcome) {
	if conn := x.l.sidecar.pools.Idle(target, x.choice.Cluster.Limits.IdleTimeout); conn != nil {
		t := &x.attempt
		t.begin(x, conn)
		out := t.exchange()
		if !t.raced || !x.bodyIsSaved() {
			return t.result(out)
		}
		t.discard()
	}
	conn, out := x.connect(ctx, target)
	if conn == nil {
		return nil, out
	}
	t := &x.attempt
	t.begin(x, conn)
	return t.result(t.exchange())
}

// result ends a try that brought no answer.
func (t *attempt) result(out outcome) (answer, outcome) {
	if out.answered {
		return t, out
	}
	t.discard()
	return nil, out
}

// connect makes a connection, watching the client meanwhile if that takes long.
func (x *exchange) connect(ctx context.Context, target upstream.Target) (*upstream.Conn, outcome) {
	timeout := x.choice.Cluster.ConnectTimeout
	if timeout <= 0 {
		timeout = defaultConnectTimeout
	}
	if limit := x.deadline(); !limit.IsZero() {
		timeout = min(timeout, max(time.Until(limit), time.Millisecond))
	}
	type dialed struct {
		conn *upstream.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan dialed, 1)
	go func() {
		conn, err := x.l.sidecar.pools.Dial(ctx, target, timeout)
		result <- dialed{conn, err}
	}()
	timer := time.NewTimer(late)
	defer timer.Stop()
	var d dialed
	select {
	case d = <-result:
	case <-timer.C:
		watched := x.body.Done()
		if watched {
			x.client.watch(cancel)
		}
		d = <-result
		if watched && x.client.unwatch() {
			if d.conn != nil {
				d.conn.Close()
			}
			return nil, outcome{departed: true}
		}
	}
	if d.err == nil {
		return d.conn, outcome{}
	}
	if limit := x.deadline(); !limit.IsZero() && !time.Now().Before(limit) {
		return nil, outcome{timeout: routeTimeout, flag: "UT"}
	}
	if upstream.ConnectTimeout(d.err) {
		return nil, outcome{reset: "connection timeout", flag: "UF"}
	}
	return nil, outcome{reset: "remote connection failure", transport: upstream.TransportFailure(d.err), flag: "UF"}
}

// deadline is when the route's timeout runs out; zero without one.
func (x *exchange) deadline() time.Time {
	if x.choice.Route.Timeout <= 0 {
		return time.Time{}
	}
	return x.arrived.Add(x.choice.Route.Timeout)
}

// attempt is one try over HTTP/1.1. The exchange's goroutine reads the answer; a sender may write a long body
// meanwhile, and once the answer is late a watch reads the client's connection.
type attempt struct {
	x        *exchange
	conn     *upstream.Conn
	sender   *sender
	body     wire.Body
	watching bool
	left     atomic.Bool // the client left; set by the watch

	perTry time.Time // when this try's own timeout runs out; zero without one
	since  time.Time // when something was last heard
	sent   bool      // a body in pieces was sent whole
	raced  bool      // the endpoint had closed the kept connection before it saw the request
}

func (t *attempt) begin(x *exchange, conn *upstream.Conn) {
	t.x, t.conn, t.sender, t.watching, t.sent, t.raced = x, conn, nil, false, false, false
	t.body = conn.R.Body(wire.UntilClose)
	t.left.Store(false)
	t.since, t.perTry = time.Now(), time.Time{}
	if p := x.choice.Route.Retry; p != nil && p.PerTryTimeout > 0 {
		t.perTry = t.since.Add(p.PerTryTimeout)
	}
}

// exchange sends the request and reads the head of the answer.
func (t *attempt) exchange() outcome {
	x := t.x
	x.connected = true
	if x.l.sidecar.config.AccessLog != nil {
		x.local = t.conn.LocalAddr().String()
	}
	t.conn.W.Request(&x.req, x.path)
	var sendErr error
	if rest, ok := x.body.Ready(); ok {
		x.save(rest)
		_ = t.conn.W.Data(x.saved) // shows at the flush
		sendErr = t.conn.W.End(trailersOf(x.body.Trailers()))
		x.mirror()
	} else if sendErr = t.conn.W.Flush(); sendErr == nil {
		t.sender = x.send(t.conn)
	}
	if sendErr != nil && t.conn.Reused {
		t.raced = true
		return outcome{reset: "connection termination", flag: "UC"}
	}
	t.conn.SetReadDeadline(t.since.Add(late))
	for {
		err := t.conn.R.ReadResponse(&x.resp, x.req.Method)
		if err == nil && x.resp.Status < 200 && x.resp.Status != http.StatusSwitchingProtocols {
			continue // 100 and its like were answered by the proxy itself or are not asked for
		}
		if err == nil {
			if x.resp.Status == http.StatusSwitchingProtocols && !x.upgrade {
				return outcome{reset: "protocol error", flag: "UPE"}
			}
			t.body = t.conn.R.Body(x.resp.Length)
			return outcome{answered: true}
		}
		if out, over := t.ended(err); over {
			return out
		}
	}
}

// ended decides on a read of the endpoint that failed: over is false if it failed only because it is time to look
// around.
func (t *attempt) ended(err error) (out outcome, over bool) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return t.lookAround()
	}
	if t.left.Load() {
		return outcome{departed: true}, true
	}
	if wire.IsProtocol(err) {
		return outcome{reset: "protocol error", flag: "UPE"}, true
	}
	t.raced = t.conn.Unread(err)
	return outcome{reset: "connection termination", flag: "UC"}, true
}

// lookAround is called when nothing came from the endpoint until the deadline: the first time, that is when the answer
// is late, it begins to watch the client. It sets the next deadline.
func (t *attempt) lookAround() (out outcome, over bool) {
	x, now := t.x, time.Now()
	sending := t.sender != nil && !t.sender.ended.Load()
	limit := x.deadline()
	switch {
	case t.left.Load():
		return outcome{departed: true}, true
	case t.sender != nil && !sending && t.sender.err != nil:
		return bodyFailure(t.sender.err), true
	case t.sender != nil && !sending && !t.sent:
		t.sent = true
		x.arrived, t.since = now, now // the route's timeout counts from the end of the request
		limit = x.deadline()
	}
	switch {
	case !t.perTry.IsZero() && !now.Before(t.perTry):
		return outcome{timeout: perTryTimeout, flag: "UT"}, true
	case !limit.IsZero() && !sending && !now.Before(limit):
		return outcome{timeout: routeTimeout, flag: "UT"}, true
	case now.Sub(t.since) >= streamTimeout && !sending:
		return outcome{timeout: idleStream, flag: "SI"}, true
	}
	if !t.watching && !sending {
		t.watching = true
		x.client.watch(func() {
			t.left.Store(true)
			t.conn.SetReadDeadline(time.Unix(1, 0))
		})
	}
	next := t.since.Add(streamTimeout)
	if sending {
		next = now.Add(5 * late) // the sender says nothing when it ends
	}
	for _, d := range [...]time.Time{t.perTry, limit} {
		if !d.IsZero() && d.After(now) && d.Before(next) {
			next = d
		}
	}
	t.conn.SetReadDeadline(next)
	// The watch may have found something before that deadline was set, and its own would be lost.
	return outcome{departed: true}, t.left.Load()
}

// bodyFailure sorts an error of the client's body: what cannot be parsed is answered, the rest means that it left.
func bodyFailure(err error) outcome {
	if malformed := (*wire.ProtocolError)(nil); errors.As(err, &malformed) {
		return outcome{local: &localFailure{malformed}}
	}
	return outcome{departed: true}
}

// relay sends the answer's body to the client.
func (t *attempt) relay(x *exchange) (out outcome) {
	if x.resp.Status == http.StatusSwitchingProtocols {
		return t.tunnel()
	}
	defer func() { t.finish(out) }()
	if rest, ok := t.body.Ready(); ok { // most answers came whole, and leave in one piece with their head
		x.sent = int64(len(rest))
		if x.client.data(rest) != nil || x.client.end(nil) != nil {
			return outcome{departed: true}
		}
		return outcome{}
	}
	buf := relayBuffers.Get().(*[]byte)
	defer relayBuffers.Put(buf)
	for !t.body.Done() {
		if len(t.conn.R.Buffered()) == 0 && x.client.flush() != nil {
			return outcome{departed: true}
		}
		n, err := t.body.Read(*buf)
		if n > 0 {
			x.sent += int64(n)
			t.since = time.Now()
			if x.client.data((*buf)[:n]) != nil {
				return outcome{departed: true}
			}
		}
		if err == nil || errors.Is(err, io.EOF) {
			continue
		}
		if out, over := t.ended(err); over {
			_ = x.client.flush() // what came is passed on, as far as it goes
			if out.flag == "UC" {
				out = outcome{reset: "protocol error", flag: "UPE"} // a body cut short
			}
			return out
		}
	}
	x.trailers = trailersOf(t.body.Trailers())
	if x.client.end(x.trailers) != nil {
		return outcome{departed: true}
	}
	return outcome{}
}

// finish gives the connections free, or ends what cannot be used again.
func (t *attempt) finish(out outcome) {
	x := t.x
	if t.watching && x.client.unwatch() {
		x.broken = true
	}
	t.watching = false
	if !t.sender.stop(x, t.conn) { // answered before the request was over
		x.close, x.unread = true, true
		t.conn.Close()
		return
	}
	x.mirror()
	if x.resp.Close || !t.body.Done() || out.departed || out.reset != "" || out.timeout != noTimeout {
		t.conn.Close()
		return
	}
	if limit := x.choice.Cluster.Limits.MaxRequestsPerConnection; limit > 0 && t.conn.Served+1 >= limit {
		t.conn.Close()
		return
	}
	t.conn.Release()
}

// discard ends a try without an answer to the client.
func (t *attempt) discard() {
	if t.watching {
		t.x.client.unwatch()
		t.watching = false
	}
	t.sender.stop(t.x, t.conn)
	if _, ok := t.body.Ready(); ok && !t.x.resp.Close {
		t.conn.Release()
		return
	}
	t.conn.Close()
}
