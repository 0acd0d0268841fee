package sidecar

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bookinfo/services/sidecar/trace"
	"example.com/bookinfo/services/sidecar/wire"
)

// listener accepts connections at one address.
type listener struct {
	sidecar   *Sidecar
	config    *Listener
	direction trace.Direction
	profile   trace.Profile
	port      int
	propagate bool
	ln        net.Listener

	force  atomic.Pointer[inForce]
	change sync.Mutex // held while force is replaced

	mu     sync.Mutex
	conns  map[net.Conn]*atomic.Bool // whether an exchange is under way
	closed bool
}

func (s *Sidecar) listen(ctx context.Context, c *Listener) (*listener, error) {
	l := &listener{
		sidecar: s, config: c, direction: c.Direction, profile: s.config.Tracing.Profile, port: c.Port,
		propagate: !s.config.NoDecoratorPropagation, conns: map[net.Conn]*atomic.Bool{},
	}
	if err := l.put(c.Table); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, listenError(c, err)
	}
	l.ln = ln
	return l, nil
}

// serve accepts connections until the listener is closed.
func (l *listener) serve(ctx context.Context) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		nc, err := l.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely: others end meanwhile
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
				continue
			}
		}
		busy := new(atomic.Bool)
		if !l.add(nc, busy) {
			nc.Close()
			continue
		}
		conns.Go(func() {
			defer l.remove(nc)
			l.connection(ctx, nc, busy)
		})
	}
}

func (l *listener) add(nc net.Conn, busy *atomic.Bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[nc] = busy
	}
	return !l.closed
}

func (l *listener) remove(nc net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, nc)
}

// closeConns closes the connections without an exchange under way, or all.
func (l *listener) closeConns(all bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for nc, busy := range l.conns {
		if all || !busy.Load() {
			nc.Close()
		}
	}
}

// connection serves one connection, HTTP/2 if it begins with that protocol's preface and else HTTP/1.1. A panic is a
// defect of this program; it costs one connection and not the whole mesh of a demo.
func (l *listener) connection(ctx context.Context, nc net.Conn, busy *atomic.Bool) {
	c := newHTTP1(nc)
	c.await(forRequest)
	if start, err := c.r.Peek(3); err == nil && string(start) == "PRI" {
		busy.Store(true)
		l.sidecar.h2.serve(l, nc, c.r.Buffered())
		return
	}
	x := &exchange{l: l, client: c, peer: peerOf(nc), tracing: new(tracing)}
	for ctx.Err() == nil {
		if !l.next(ctx, c, x, busy) {
			break
		}
	}
	if x.unread && !x.broken {
		c.closeLater()
		return
	}
	nc.Close()
}

// next reads and serves one request. It tells whether the connection is fit for another.
func (l *listener) next(ctx context.Context, c *http1, x *exchange, busy *atomic.Bool) bool {
	x.reset()
	if len(c.r.Buffered()) == 0 {
		c.await(forRequest)
	} else {
		c.await(forHead)
	}
	err := c.r.ReadRequest(&x.req)
	c.inHead = false
	busy.Store(true)
	defer busy.Store(false)
	x.start = time.Now()
	x.arrived = x.start
	if err != nil {
		return x.unreadable(c, err)
	}
	c.await(forBody)
	x.close = x.req.Close || ctx.Err() != nil
	body := c.r.Body(x.req.Length)
	x.body = &body
	if expect, ok := x.req.Fields.Lookup("expect"); ok && hasToken(expect, "100-continue") {
		// Envoy answers this itself, before any filter, and does not pass it on.
		x.req.Fields.Del("expect")
		c.w.Raw("HTTP/1.1 100 Continue\r\n\r\n")
		if c.flush() != nil {
			return false
		}
	}
	x.serve(ctx)
	if !body.Done() {
		x.unread, x.close = true, true
	}
	return !x.close && !x.broken
}

// unreadable answers what is not a request, if there is anybody to answer.
func (x *exchange) unreadable(c *http1, err error) bool {
	var malformed *wire.ProtocolError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &malformed):
		x.body = noBody{}
		x.refuse(malformed)
		x.finish()
	case errors.As(err, &timeout) && timeout.Timeout() && len(c.r.Buffered()) > 0:
		x.body = noBody{}
		x.close, x.unread = true, true
		x.details = "request_header_timeout"
		x.answerLocally(408, "request header timeout")
		x.finish()
	}
	return false
}

func peerOf(nc net.Conn) netip.AddrPort {
	addr, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}
