// Package upstream keeps connections to the endpoints that a sidecar sends requests to.
package upstream

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"example.com/bookinfo/services/sidecar/wire"
)

// Conn is one HTTP/1.1 connection to an endpoint, used by one exchange at a time.
type Conn struct {
	net.Conn
	R      *wire.Reader
	W      *wire.Writer
	Reused bool // it carried an exchange before
	Served int  // exchanges that it carried

	pool      *Pool
	raw       syscall.RawConn
	peek      func(fd uintptr) bool
	open      bool // what the last peek saw
	idleSince time.Time
	writeBy   time.Time
}

// Write sends to the endpoint, which must take something within writeTimeout.
func (c *Conn) Write(p []byte) (int, error) {
	if now := time.Now(); now.Add(writeTimeout - writeTimeout/8).After(c.writeBy) {
		c.writeBy = now.Add(writeTimeout)
		c.SetWriteDeadline(c.writeBy)
	}
	return c.Conn.Write(p)
}

const writeTimeout = 5 * time.Minute

func newConn(c net.Conn, pool *Pool) *Conn {
	conn := &Conn{Conn: c, R: wire.NewReader(c), pool: pool}
	conn.W = wire.NewWriter(conn)
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			conn.raw = raw
			conn.peek = func(fd uintptr) bool {
				conn.open = quiet(fd)
				return true
			}
		}
	}
	return conn
}

// Alive tells whether the other side has neither closed an idle connection nor sent anything unasked.
func (c *Conn) Alive() bool {
	if len(c.R.Buffered()) > 0 {
		return false
	}
	if c.raw == nil {
		return true
	}
	return c.raw.Read(c.peek) == nil && c.open
}

// Unread tells whether err, of reading an answer over a kept connection, shows that the endpoint had closed it before
// it saw the request: its system answers data for a closed socket with a reset. An end without one means that the
// endpoint read the request and hung up.
func (c *Conn) Unread(err error) bool {
	switch {
	case !c.Reused || len(c.R.Buffered()) > 0:
		return false
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return true
	case !errors.Is(err, io.EOF) || c.raw == nil:
		return false
	}
	refused := false
	return c.raw.Control(func(fd uintptr) { refused = refusedData(fd) }) == nil && refused
}

// Release gives the connection back for the next exchange. The exchange must have read the whole answer.
func (c *Conn) Release() {
	if len(c.R.Buffered()) > 0 { // an answer to no question
		c.Close()
		return
	}
	c.Reused = true
	c.Served++
	c.pool.put(c)
}

// ConnectTimeout tells whether err, of Dial, says that an endpoint did not answer in time.
func ConnectTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) || isTimeout(err) }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// TransportFailure returns what Envoy's access log says of a connection that could not be made, for example
// "delayed connect error: Connection refused", or "" when the operating system gave no reason.
func TransportFailure(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	text := errno.Error()
	return "delayed connect error: " + strings.ToUpper(text[:1]) + text[1:]
}
