package sidecar

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// tunnelIdle ends an upgraded connection on which nothing moves in either direction.
const tunnelIdle = time.Hour

// tunnel passes bytes both ways once an endpoint accepted an upgrade, until both sides have ended. One side's end is
// passed on as an end of that direction only: the other may still have much to say.
func (t *attempt) tunnel() outcome {
	x := t.x
	c := x.client.(*http1)
	if t.watching {
		c.unwatch()
		t.watching = false
	}
	x.close, x.broken = true, true // no further request on this connection
	if c.end(nil) != nil {
		t.conn.Close()
		return outcome{departed: true}
	}
	c.await(forLeaving) // the deadlines are the tunnel's own
	var moved atomic.Int64
	moved.Store(time.Now().UnixNano())
	var down, up atomic.Int64
	var both sync.WaitGroup
	both.Go(func() { pipe(t.conn.Conn, c.r, c.nc, &moved, &up) })
	both.Go(func() { pipe(c.nc, t.conn.R, t.conn.Conn, &moved, &down) })
	both.Wait()
	x.received, x.sent = up.Load(), down.Load()
	t.conn.Close()
	return outcome{}
}

// pipe copies from src to dst, read being what takes src's buffered bytes first.
func pipe(dst net.Conn, read io.Reader, src net.Conn, moved, count *atomic.Int64) {
	buf := relayBuffers.Get().(*[]byte)
	defer relayBuffers.Put(buf)
	for {
		src.SetReadDeadline(time.Now().Add(tunnelIdle))
		n, err := read.Read(*buf)
		if n > 0 {
			moved.Store(time.Now().UnixNano())
			count.Add(int64(n))
			dst.SetWriteDeadline(time.Now().Add(streamTimeout))
			if _, werr := dst.Write((*buf)[:n]); werr != nil {
				dst.Close()
				src.Close()
				return
			}
		}
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Since(time.Unix(0, moved.Load())) < tunnelIdle {
			continue // the other direction is in use
		}
		if err != io.EOF {
			dst.Close()
			src.Close()
			return
		}
		if half, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // the other half may be gone
		} else {
			dst.Close()
		}
		return
	}
}
