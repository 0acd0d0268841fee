package sidecar

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/upstream"
	"example.com/bookinfo/services/sidecar/wire"
)

// h2Side serves HTTP/2 in cleartext, which gRPC speaks, and asks endpoints in the same protocol. Here net/http does
// the work: HTTP/2 has no two readings of a message, and its frames keep no order of fields that anybody relies on.
type h2Side struct {
	server    *http.Server
	accept    chan net.Conn
	transport *http.Transport
	done      chan struct{}
	once      sync.Once
}

type h2Listener struct{}

func newH2Side(s *Sidecar) *h2Side {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	outward := new(http.Protocols)
	outward.SetUnencryptedHTTP2(true)
	outward.SetHTTP2(true)
	h := &h2Side{accept: make(chan net.Conn), done: make(chan struct{})}
	h.transport = &http.Transport{
		Protocols: outward, DialContext: s.config.Dial, DisableCompression: true,
		IdleConnTimeout: upstream.IdleTimeout, MaxResponseHeaderBytes: wire.MaxHead,
	}
	h.server = &http.Server{
		Protocols: protocols, IdleTimeout: idleTimeout, ReadHeaderTimeout: headTimeout, MaxHeaderBytes: wire.MaxHead,
		HTTP2:   &http.HTTP2Config{MaxConcurrentStreams: 100},
		Handler: http.HandlerFunc(serveHTTP2),
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, h2Listener{}, nc.(*h2Conn).l)
		},
	}
	go func() {
		defer close(h.done)
		_ = h.server.Serve(h) // ends with the listener
	}()
	return h
}

// Accept, Close and Addr make a listener of the connections that turned out to be HTTP/2.
func (h *h2Side) Accept() (net.Conn, error) {
	if nc, ok := <-h.accept; ok {
		return nc, nil
	}
	return nil, net.ErrClosed
}

// Close ends Accept.
func (h *h2Side) Close() error {
	h.once.Do(func() { close(h.accept) })
	return nil
}

// Addr is asked by http.Server for its own log only.
func (h *h2Side) Addr() net.Addr { return &net.TCPAddr{} }

// shutdown tells clients to go and waits for streams in flight, for as long as a sidecar waits at its end.
func (h *h2Side) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if h.server.Shutdown(ctx) != nil {
		h.server.Close()
	}
}

func (h *h2Side) close() {
	h.server.Close()
	<-h.done
	h.transport.CloseIdleConnections()
}

// serve hands a connection over and returns when it is closed. start are the bytes that were read already.
func (h *h2Side) serve(l *listener, nc net.Conn, start []byte) {
	c := &h2Conn{Conn: nc, l: l, start: bytes.NewReader(bytes.Clone(start)), closed: make(chan struct{})}
	defer func() { _ = recover() }() // a send on the closed channel: the sidecar ends
	h.accept <- c
	<-c.closed
}

type h2Conn struct {
	net.Conn
	l      *listener
	start  *bytes.Reader
	once   sync.Once
	closed chan struct{}
}

func (c *h2Conn) Read(p []byte) (int, error) {
	if c.start.Len() > 0 {
		return c.start.Read(p)
	}
	return c.Conn.Read(p)
}

func (c *h2Conn) Close() error {
	defer c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// serveHTTP2 makes an exchange of a request.
func serveHTTP2(w http.ResponseWriter, r *http.Request) {
	l := r.Context().Value(h2Listener{}).(*listener)
	c := &h2Client{w: w, r: r}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	x := &exchange{
		l: l, client: c, http2: true, tracing: new(tracing), start: time.Now(),
		peer: netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()),
		body: &h2Body{r: r.Body, done: r.ContentLength == 0, trailer: &r.Trailer},
		req: wire.Request{
			Method: r.Method, Target: r.RequestURI, Host: r.Host, HasOne: r.Host != "", Minor: 1,
			Fields: fieldsOf(r.Header), Length: max(r.ContentLength, wire.Chunked),
		},
	}
	x.arrived = x.start
	x.serve(r.Context())
	if x.broken {
		panic(http.ErrAbortHandler) // resets the stream, which is how HTTP/2 says that an answer is not whole
	}
}

// fieldsOf puts a map of fields in an order, that of the names.
func fieldsOf(h http.Header) header.Fields {
	fields := make(header.Fields, 0, len(h)+8)
	for name, values := range h {
		for _, v := range values {
			fields.Add(strings.ToLower(name), v)
		}
	}
	slices.SortStableFunc(fields, func(a, b header.Field) int { return strings.Compare(a.Name, b.Name) })
	return fields
}

func setHeader(h http.Header, fields header.Fields, prefix string) {
	for _, f := range fields {
		switch f.Name {
		case "transfer-encoding", "connection":
		default:
			name := prefix + http.CanonicalHeaderKey(f.Name)
			h[name] = append(h[name], f.Value)
		}
	}
}

// h2Client is the client side of an exchange over HTTP/2.
type h2Client struct {
	w    http.ResponseWriter
	r    *http.Request
	stop func() bool
}

func (c *h2Client) response(status int, fields header.Fields, _ int64) {
	setHeader(c.w.Header(), fields, "")
	c.w.WriteHeader(status)
}

func (c *h2Client) data(p []byte) error {
	_, err := c.w.Write(p)
	return err
}

func (c *h2Client) flush() error { return http.NewResponseController(c.w).Flush() }

func (c *h2Client) end(trailers header.Fields) error {
	setHeader(c.w.Header(), trailers, http.TrailerPrefix)
	return c.r.Context().Err()
}

func (c *h2Client) watch(gone func()) { c.stop = context.AfterFunc(c.r.Context(), gone) }

func (c *h2Client) unwatch() bool {
	if c.stop != nil {
		c.stop()
	}
	return c.r.Context().Err() != nil
}

func (c *h2Client) interrupt() { c.r.Body.Close() }
func (c *h2Client) resume()    {}

// h2Body is a body that net/http reads.
type h2Body struct {
	r       io.Reader
	done    bool
	trailer *http.Header
	onRead  func(n int)
}

func (b *h2Body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		b.done = true
	}
	if b.onRead != nil {
		b.onRead(n)
	}
	return n, err
}

func (b *h2Body) Done() bool              { return b.done }
func (b *h2Body) Trailers() header.Fields { return fieldsOf(*b.trailer) }
func (b *h2Body) Ready() ([]byte, bool)   { return nil, b.done }

// errTryTimeout and errRouteTimeout are the causes by which a try over HTTP/2 is cancelled.
var (
	errTryTimeout   = errors.New("per try timeout")
	errRouteTimeout = errors.New("route timeout")
)

// tryHTTP2 asks an endpoint over HTTP/2.
func (x *exchange) tryHTTP2(ctx context.Context, target upstream.Target) (answer, outcome) {
	cancel := func() {}
	if limit := x.deadline(); !limit.IsZero() {
		ctx, cancel = context.WithDeadlineCause(ctx, limit, errRouteTimeout)
	}
	if p := x.choice.Route.Retry; p != nil && p.PerTryTimeout > 0 {
		outer := cancel
		var inner context.CancelFunc
		ctx, inner = context.WithTimeoutCause(ctx, p.PerTryTimeout, errTryTimeout)
		cancel = func() { inner(); outer() }
	}
	path, scheme := x.path, "http://"
	if target.TLS {
		scheme = "https://"
	}
	r, err := http.NewRequestWithContext(ctx, x.req.Method, scheme+target.Addr+path, nil)
	if err != nil {
		cancel()
		return nil, outcome{reset: "protocol error", flag: "UPE"}
	}
	r.Host = x.req.Host
	setHeader(r.Header, x.req.Fields, "")
	if !x.body.Done() {
		body := x.body.(*h2Body)
		body.onRead = func(n int) { x.h2Received.Add(int64(n)) }
		x.unsaved = true // a stream is not kept: it is tried once
		r.Body, r.ContentLength, r.Trailer = io.NopCloser(body), x.req.Length, *body.trailer
	}
	x.connected = true
	resp, err := x.l.sidecar.h2.transport.RoundTrip(r)
	if err != nil {
		defer cancel()
		return nil, x.h2Failure(ctx, err)
	}
	x.resp = wire.Response{Status: resp.StatusCode, Minor: 1, Fields: append(x.resp.Fields[:0], fieldsOf(resp.Header)...), Length: resp.ContentLength}
	return &h2Answer{resp: resp, ctx: ctx, cancel: cancel}, outcome{answered: true}
}

// h2Failure sorts an error of net/http's transport.
func (x *exchange) h2Failure(ctx context.Context, err error) outcome {
	var op *net.OpError
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTryTimeout):
		return outcome{timeout: perTryTimeout, flag: "UT"}
	case errors.Is(cause, errRouteTimeout):
		return outcome{timeout: routeTimeout, flag: "UT"}
	case ctx.Err() != nil:
		return outcome{departed: true}
	case errors.As(err, &op) && op.Op == "dial" && upstream.ConnectTimeout(err):
		x.connected = false
		return outcome{reset: "connection timeout", flag: "UF"}
	case errors.As(err, &op) && op.Op == "dial":
		x.connected = false
		return outcome{reset: "remote connection failure", transport: upstream.TransportFailure(err), flag: "UF"}
	}
	return outcome{reset: "connection termination", flag: "UC"}
}

// h2Answer is an answer over HTTP/2.
type h2Answer struct {
	resp   *http.Response
	ctx    context.Context
	cancel context.CancelFunc
}

func (a *h2Answer) discard() {
	a.cancel()
	a.resp.Body.Close()
}

func (a *h2Answer) relay(x *exchange) outcome {
	defer a.discard()
	buf := relayBuffers.Get().(*[]byte)
	defer relayBuffers.Put(buf)
	for first := true; ; first = false {
		n, err := a.resp.Body.Read(*buf)
		if n > 0 {
			x.sent += int64(n)
			if x.client.data((*buf)[:n]) != nil {
				return outcome{departed: true}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			out := x.h2Failure(a.ctx, err)
			if out.flag == "UC" {
				out.flag, out.reset = "UPE", "protocol error"
			}
			return out
		}
		if (first || n > 0) && x.client.flush() != nil {
			return outcome{departed: true}
		}
	}
	x.trailers = fieldsOf(a.resp.Trailer)
	x.received = x.h2Received.Load()
	if x.client.end(x.trailers) != nil {
		return outcome{departed: true}
	}
	return outcome{}
}
