package wire

import (
	"bytes"
	"io"
)

// bufferSize is what a connection costs while it waits: most heads fit, and a larger one grows the buffer for as
// long as it is read.
const bufferSize = 4 << 10

// Reader reads messages from one side of a connection. It is not safe for concurrent use.
//
// A read that ends in a timeout loses nothing: the same call can be made again.
type Reader struct {
	src  io.Reader
	buf  []byte
	r, w int // buf[r:w] is what was read and not yet used
}

// NewReader returns a Reader of src.
func NewReader(src io.Reader) *Reader { return &Reader{src: src, buf: make([]byte, bufferSize)} }

// Buffered returns the bytes that were read from the source and not yet used. They stay valid until the next read.
func (r *Reader) Buffered() []byte { return r.buf[r.r:r.w] }

// Fill makes one read of the source into the free space of the buffer, growing it up to MaxHead.
func (r *Reader) Fill() error {
	if r.r > 0 && (r.r == r.w || r.w == len(r.buf)) {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if r.w == len(r.buf) {
		if len(r.buf) >= MaxHead+bufferSize {
			return io.ErrShortBuffer
		}
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// Read takes what is buffered first and then reads the source directly, so that a large body is copied once.
func (r *Reader) Read(p []byte) (int, error) {
	if r.r < r.w {
		n := copy(p, r.buf[r.r:r.w])
		r.r += n
		return n, nil
	}
	return r.src.Read(p)
}

// Peek waits until n bytes are buffered and returns them without using them. It is for telling HTTP/2 from HTTP/1.
func (r *Reader) Peek(n int) ([]byte, error) {
	for r.w-r.r < n {
		if err := r.Fill(); err != nil {
			return r.Buffered(), err
		}
	}
	return r.buf[r.r : r.r+n], nil
}

// shrink gives back the memory that an unusually large head needed.
func (r *Reader) shrink() {
	if len(r.buf) > 2*bufferSize && r.w-r.r <= bufferSize {
		small := make([]byte, bufferSize)
		r.w = copy(small, r.buf[r.r:r.w])
		r.r, r.buf = 0, small
	}
}

// head waits for a whole section of lines ended by an empty one, and returns it without that empty line. Every line
// must end in CR LF: RFC 9112 section 2.2 lets a recipient take a bare LF, and that leniency is what smuggling needs.
// max bounds the section in bytes. The result is valid until the next read.
func (r *Reader) head(max int) ([]byte, error) {
	scanned, line := 0, 0 // offsets from r.r: of the first byte not looked at, of the current line's start
	for {
		data := r.buf[r.r:r.w]
		for {
			i := bytes.IndexByte(data[scanned:], '\n')
			if i < 0 {
				scanned = len(data)
				break
			}
			end := scanned + i
			if end == line || data[end-1] != '\r' {
				return nil, bad("a line ends in a bare line feed")
			}
			if end-1 == line {
				if end+1 > max {
					return nil, &ProtocolError{HeadTooLarge, "the head is too large"}
				}
				r.r += end + 1
				return data[:line], nil
			}
			scanned, line = end+1, end+1
		}
		if len(data) > max {
			return nil, &ProtocolError{HeadTooLarge, "the head is too large"}
		}
		if err := r.Fill(); err != nil {
			return nil, err
		}
	}
}
