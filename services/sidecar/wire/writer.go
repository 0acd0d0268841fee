package wire

import (
	"io"

	"example.com/bookinfo/services/sidecar/header"
)

// writeSize is how much a Writer gathers before it writes: a head and a small body leave in one piece.
const writeSize = 16 << 10

// Writer writes messages to one side of a connection, each as Request or Response, any number of Data, and End.
// What is written leaves with Flush, with End, or when writeSize bytes have gathered. An error is sticky: every later
// call returns it.
type Writer struct {
	dst     io.Writer
	buf     []byte
	chunked bool
	err     error
	written int64 // bytes of body since the head, without framing
}

// NewWriter returns a Writer to dst.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// Request begins a request with an origin-form target; see AppendRequest.
func (w *Writer) Request(q *Request, target string) {
	w.buf = AppendRequest(w.buf, q, target)
	w.chunked, w.written = q.Length == Chunked, 0
}

// Response begins a response. chunked says how Data is framed; fields say so to the reader, and are the caller's.
func (w *Writer) Response(status int, fields header.Fields, chunked bool) {
	w.buf = AppendResponse(w.buf, status, fields)
	w.chunked, w.written = chunked, 0
}

// Raw writes bytes that are no part of a message, such as an interim response.
func (w *Writer) Raw(s string) { w.buf = append(w.buf, s...) }

// Data writes a piece of the body.
func (w *Writer) Data(p []byte) error {
	if len(p) == 0 || w.err != nil {
		return w.err
	}
	w.written += int64(len(p))
	if w.chunked {
		w.buf = AppendChunkSize(w.buf, len(p))
		w.buf = append(w.buf, p...)
		w.buf = append(w.buf, '\r', '\n')
	} else if len(w.buf)+len(p) > writeSize {
		if w.Flush() == nil {
			_, w.err = w.dst.Write(p)
		}
		return w.err
	} else {
		w.buf = append(w.buf, p...)
	}
	if len(w.buf) >= writeSize {
		return w.Flush()
	}
	return nil
}

// End ends the message, with trailers if its body is chunked, and flushes.
func (w *Writer) End(trailers header.Fields) error {
	if w.chunked {
		w.buf = AppendLastChunk(w.buf, trailers)
	}
	return w.Flush()
}

// Flush writes what has gathered.
func (w *Writer) Flush() error {
	if len(w.buf) > 0 && w.err == nil {
		_, w.err = w.dst.Write(w.buf)
	}
	if cap(w.buf) > 2*writeSize { // a large head or chunk; an idle connection need not keep it
		w.buf = nil
	}
	w.buf = w.buf[:0]
	return w.err
}

// Written returns the bytes of body since the last head, without framing.
func (w *Writer) Written() int64 { return w.written }
