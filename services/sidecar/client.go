package sidecar

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/wire"
)

// Timeouts of the downstream side.
const (
	idleTimeout    = time.Hour        // between two requests, as Envoy's common_http_protocol_options.idle_timeout
	headTimeout    = 10 * time.Second // for a request head, once begun
	streamTimeout  = 5 * time.Minute  // without a byte of a body that was promised, as Envoy's stream_idle_timeout
	delayedClose   = time.Second      // how long an answer to an unreadable request may take to be read
	deadlineChange = 5 * time.Second  // how much a deadline may lag behind, so that not every write moves a timer
)

// client is what an exchange needs of the side that asked. HTTP/1.1 and HTTP/2 connections provide it.
type client interface {
	// response begins the answer; length is as in wire.Response. It may be kept back until flush or end.
	response(status int, fields header.Fields, length int64)
	data(p []byte) error
	flush() error
	end(trailers header.Fields) error

	// watch begins to look whether the client leaves while an answer is late, and calls gone if it does. unwatch
	// ends that and tells whether the client left.
	watch(gone func())
	unwatch() (left bool)

	// interrupt makes a body read of another goroutine return with a timeout; resume ends that state.
	interrupt()
	resume()
}

// body is a message body that is read once, in pieces.
type body interface {
	io.Reader
	Done() bool
	Trailers() header.Fields
	// Ready returns the rest without waiting if all of it is there.
	Ready() (rest []byte, ok bool)
}

// waiting is what a downstream connection is read for, which decides on the deadline.
type waiting int

const (
	forRequest waiting = iota // the first byte of a request
	forHead                   // the rest of its head
	forBody                   // its body
	forLeaving                // nothing that may come: whether the client leaves
)

// http1 is a downstream HTTP/1.1 connection. It is used by the goroutine that serves it, apart from its body, which
// another one may read while the answer is awaited, and the watch.
type http1 struct {
	nc net.Conn
	r  *wire.Reader
	w  *wire.Writer

	waiting   waiting
	readUntil time.Time   // the read deadline in force, zero if it must be set anew
	inHead    bool        // the deadline of a head is in force
	writeBy   time.Time   // the write deadline in force
	stop      atomic.Bool // reads of the body end at once

	watching chan struct{} // closed when the watch ended; nil without one
	left     bool          // what the watch found; read after watching is closed
}

func newHTTP1(nc net.Conn) *http1 {
	c := &http1{nc: nc}
	c.r = wire.NewReader(readFunc(c.read))
	c.w = wire.NewWriter(writeFunc(c.write))
	return c
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

type writeFunc func(p []byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

// await says what the next reads are for.
func (c *http1) await(w waiting) { c.waiting = w }

// readWithin sets the read deadline, unless the one in force is about the same: moving it costs more than it brings.
func (c *http1) readWithin(d time.Duration) {
	until := time.Now().Add(d)
	if off := until.Sub(c.readUntil); off < 0 || off > deadlineChange {
		c.readUntil = until
		c.nc.SetReadDeadline(until)
	}
}

// read reads the connection under the deadline of what it is read for.
func (c *http1) read(p []byte) (int, error) {
	switch c.waiting {
	case forRequest:
		c.readWithin(idleTimeout)
		n, err := c.nc.Read(p)
		if n > 0 {
			c.await(forHead)
		}
		return n, err
	case forHead: // one deadline for all of it, however it dribbles in
		if !c.inHead {
			c.inHead = true
			c.readWithin(headTimeout)
		}
	case forBody:
		c.readWithin(streamTimeout)
		// Looked at after the deadline was moved, or an interruption in between would be lost and the read stall.
		if c.stop.Load() {
			return 0, os.ErrDeadlineExceeded
		}
	}
	return c.nc.Read(p)
}

func (c *http1) write(p []byte) (int, error) {
	if now := time.Now(); now.Add(streamTimeout - deadlineChange).After(c.writeBy) {
		c.writeBy = now.Add(streamTimeout)
		c.nc.SetWriteDeadline(c.writeBy)
	}
	return c.nc.Write(p)
}

func (c *http1) response(status int, fields header.Fields, length int64) {
	c.w.Response(status, fields, length == wire.Chunked)
}

func (c *http1) data(p []byte) error              { return c.w.Data(p) }
func (c *http1) flush() error                     { return c.w.Flush() }
func (c *http1) end(trailers header.Fields) error { return c.w.End(trailers) }

// watch reads ahead of the current request. What comes is the next request's beginning and stays in the reader; when
// that is full there is no more watching, since a client that sends so much is there.
func (c *http1) watch(gone func()) {
	c.await(forLeaving)
	c.readUntil = time.Time{}
	c.nc.SetReadDeadline(time.Time{})
	c.watching = make(chan struct{})
	go func() {
		defer close(c.watching)
		for {
			err := c.r.Fill()
			switch {
			case err == nil:
				continue
			case errors.Is(err, io.ErrShortBuffer), errors.Is(err, os.ErrDeadlineExceeded):
			default:
				c.left = true
				gone()
			}
			return
		}
	}()
}

// unwatch ends the watch before anything else may read the connection. The deadline that ends it is forgotten here, so
// that the next read sets its own.
func (c *http1) unwatch() bool {
	if c.watching != nil {
		c.nc.SetReadDeadline(time.Unix(1, 0))
		<-c.watching
		c.watching = nil
		c.readUntil = time.Time{}
		c.await(forBody)
	}
	return c.left
}

func (c *http1) interrupt() {
	c.stop.Store(true)
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

func (c *http1) resume() {
	c.stop.Store(false)
	c.readUntil = time.Time{}
	c.await(forBody)
}

// closeLater closes a connection whose client may still be sending: closing with unread data would reset the
// connection and take the answer with it. Envoy's delayed_close_timeout.
func (c *http1) closeLater() {
	c.nc.SetReadDeadline(time.Now().Add(delayedClose))
	_, _ = io.Copy(io.Discard, c.nc) // ends by the deadline or by the client
	c.nc.Close()
}
