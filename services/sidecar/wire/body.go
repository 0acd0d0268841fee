package wire

import (
	"errors"
	"io"

	"example.com/bookinfo/services/sidecar/header"
)

// Body reads the body of the message whose head was read last. Like its Reader it can be read again after a timeout.
type Body struct {
	r          *Reader
	left       int64 // bytes left of the body or of the chunk
	length     int64 // as in Request.Length
	inChunk    bool  // a chunk was begun, so that its CR LF must be read before the next size
	inTrailers bool  // the last chunk's line was read
	done       bool
	trailers   header.Fields
}

// Body returns a reader of a body of the given length: a number of bytes, Chunked or UntilClose.
func (r *Reader) Body(length int64) Body {
	return Body{r: r, left: max(length, 0), length: length, done: length == 0}
}

// Done tells whether the whole body, trailers included, was read.
func (b *Body) Done() bool { return b.done }

// Trailers returns the fields behind a chunked body, once Done.
func (b *Body) Trailers() header.Fields { return b.trailers }

// Ready returns the rest of the body if all of it was read from the connection already, and ok. It takes those bytes;
// they stay valid until the next read.
func (b *Body) Ready() (rest []byte, ok bool) {
	if b.done {
		return nil, true
	}
	if b.length < 0 || int64(b.r.w-b.r.r) < b.left {
		return nil, false
	}
	rest = b.r.buf[b.r.r : b.r.r+int(b.left)]
	b.r.r += int(b.left)
	b.left, b.done = 0, true
	return rest, true
}

// Read reads data of the body without its framing. It answers io.EOF at the end, io.ErrUnexpectedEOF when the
// connection ended before, a *ProtocolError when the framing is malformed.
func (b *Body) Read(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	if b.length == Chunked && b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, cut(err)
		}
		if b.done {
			return 0, io.EOF
		}
	}
	if b.length != UntilClose && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	if b.length == UntilClose {
		b.done = errors.Is(err, io.EOF)
		return n, err
	}
	b.left -= int64(n)
	if b.left == 0 && b.length != Chunked {
		b.done = true
		return n, nil
	}
	if n > 0 {
		return n, nil
	}
	return n, cut(err)
}

// nextChunk reads the line that begins a chunk, or the last one and the trailers behind it.
func (b *Body) nextChunk() error {
	for !b.inTrailers {
		data := b.r.Buffered()
		if b.inChunk {
			switch {
			case len(data) >= 1 && data[0] != '\r', len(data) >= 2 && data[1] != '\n':
				return bad("a chunk is longer than it says")
			case len(data) >= 2:
				b.r.r += 2
				b.inChunk = false
				continue
			}
		} else {
			size, n, err := parseChunkLine(data)
			if err != nil {
				return err
			}
			b.r.r += n
			if n > 0 && size > 0 {
				b.left, b.inChunk = size, true
				return nil
			}
			if b.inTrailers = n > 0; b.inTrailers {
				continue
			}
		}
		if err := b.r.Fill(); err != nil {
			return err
		}
	}
	return b.readTrailers()
}

func (b *Body) readTrailers() error {
	raw, err := b.r.head(MaxHead)
	if err != nil {
		return err
	}
	text, err := lowerNames(raw, 0)
	if err != nil {
		return err
	}
	if b.trailers, err = appendFields(nil, text); err != nil {
		return err
	}
	b.done = true
	return nil
}

// maxChunkLine bounds a chunk's size line with its extensions, which are read and not passed on.
const maxChunkLine = 1 << 10

// parseChunkLine reads "SIZE[;EXTENSION] CR LF" at the start of data and returns the size and how long the line is;
// 0 when it is not whole yet. Only hexadecimal digits make a size: a sign, "0x" or a blank is where parsers differ.
func parseChunkLine(data []byte) (size int64, n int, err error) {
	i := 0
	for ; i < len(data) && hexDigit(data[i]) >= 0; i++ {
		if i == 15 {
			return 0, 0, bad("the size of a chunk is too large")
		}
		size = size<<4 | int64(hexDigit(data[i]))
	}
	if i == len(data) {
		return 0, 0, nil
	}
	if i == 0 || data[i] != ';' && data[i] != '\r' {
		return 0, 0, bad("the size of a chunk is not a hexadecimal number")
	}
	for ; i < len(data); i++ {
		switch c := data[i]; {
		case i > maxChunkLine:
			return 0, 0, bad("a chunk extension is too long")
		case c == '\r' && i+1 == len(data):
			return 0, 0, nil
		case c == '\r' && data[i+1] == '\n':
			return size, i + 2, nil
		case c < ' ' && c != '\t' || c == 0x7f:
			return 0, 0, bad("a chunk extension holds the byte %#02x", c)
		}
	}
	return 0, 0, nil
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// cut turns the end of the connection within a body into io.ErrUnexpectedEOF.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
