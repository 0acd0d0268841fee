package sidecar

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/upstream"
)

// relaySize is the piece in which bodies that are not in a buffer already are copied: a body of any size needs this
// much memory and no more.
const relaySize = 32 << 10

var relayBuffers = sync.Pool{New: func() any { b := make([]byte, relaySize); return &b }}

// maxSaved bounds how much of a request's body is kept for another try. Of a longer one there is only one try.
const maxSaved = 64 << 10

// sender sends a request's body to an endpoint while the answer is awaited, since an endpoint may answer before the
// body is over, or because of its beginning.
type sender struct {
	done  chan struct{}
	err   error       // that ended the reading of the client's body, if it did not end well; read after done
	over  atomic.Bool // the whole body has come; set before its end is sent
	ended atomic.Bool
}

// send starts sending. What a former try sent already is sent from memory first.
func (x *exchange) send(conn *upstream.Conn) *sender {
	s := &sender{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		defer s.ended.Store(true)
		s.err = x.copyBody(conn, &s.over)
	}()
	return s
}

// copyBody returns an error of the client's side only: one of the endpoint's shows when its answer is read.
func (x *exchange) copyBody(conn *upstream.Conn, over *atomic.Bool) error {
	over.Store(x.body.Done())
	if len(x.saved) > 0 && (conn.W.Data(x.saved) != nil || conn.W.Flush() != nil) {
		return nil
	}
	buf := relayBuffers.Get().(*[]byte)
	defer relayBuffers.Put(buf)
	for {
		n, err := x.body.Read(*buf)
		over.Store(x.body.Done())
		if n > 0 {
			x.save((*buf)[:n])
			if conn.W.Data((*buf)[:n]) != nil || conn.W.Flush() != nil {
				return nil
			}
		}
		switch {
		case errors.Is(err, io.EOF), err == nil && x.body.Done():
			_ = conn.W.End(trailersOf(x.body.Trailers())) // shows at the flush
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case err != nil:
			return err
		}
	}
}

// save keeps a piece of the body for another try.
func (x *exchange) save(p []byte) {
	x.received += int64(len(p))
	if x.unsaved || len(x.saved)+len(p) > maxSaved {
		x.unsaved = true
		return
	}
	x.saved = append(x.saved, p...)
}

// bodyIsSaved tells whether the request can be sent again.
func (x *exchange) bodyIsSaved() bool { return !x.unsaved }

// stop ends the sending, if it goes on, before the request is tried again or the exchange ends. It returns whether
// the body was sent whole.
func (s *sender) stop(x *exchange, conn *upstream.Conn) bool {
	if s == nil {
		return true
	}
	if !s.ended.Load() {
		x.client.interrupt()
		conn.Close()
		<-s.done
		x.client.resume()
	}
	<-s.done
	return s.err == nil && x.body.Done()
}

// requestOver tells whether the whole request has come.
func (x *exchange) requestOver() bool {
	return x.http2 || x.attempt.sender == nil || x.attempt.sender.over.Load()
}

// noBody is the body of a request without one.
type noBody struct{}

func (noBody) Read([]byte) (int, error) { return 0, io.EOF }
func (noBody) Done() bool               { return true }
func (noBody) Trailers() header.Fields  { return nil }
func (noBody) Ready() ([]byte, bool)    { return nil, true }
