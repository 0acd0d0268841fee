package ingest

import "fmt"

// Wire types of protocol buffers.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wireGroup  = 3 // of proto2; a reader skips what stands between it and wireEnd
	wireEnd    = 4
	wire32     = 5
)

// wire reads a protocol buffers message from a string, of which the text it returns is part.
type wire struct {
	s   string
	i   int
	end int
	err *Malformed
}

func (w *wire) fail(at int, format string, args ...any) {
	if w.err == nil {
		w.err = &Malformed{Offset: at, Reason: fmt.Sprintf(format, args...)}
	}
	w.i = w.end
}

func (w *wire) varint() (v uint64) {
	if w.i < w.end && w.s[w.i] < 0x80 {
		w.i++
		return uint64(w.s[w.i-1])
	}
	start := w.i
	for shift := 0; shift < 64; shift += 7 {
		if w.i >= w.end {
			w.fail(start, "a number ends with its message")
			return 0
		}
		c := w.s[w.i]
		w.i++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if shift == 63 && c > 1 {
				break
			}
			return v
		}
	}
	w.fail(start, "a number of more than 64 bits")
	return 0
}

// field reads the next field's tag; false at the end of the message.
func (w *wire) field() (number int, typ byte, ok bool) {
	if w.i >= w.end {
		return 0, 0, false
	}
	at := w.i
	tag := w.varint()
	if w.err != nil {
		return 0, 0, false
	}
	if tag>>3 == 0 || tag>>3 > 1<<29-1 {
		w.fail(at, "field number %d is invalid", tag>>3)
		return 0, 0, false
	}
	return int(tag >> 3), byte(tag & 7), true
}

// want fails unless the field has the wire type that its number asks for.
func (w *wire) want(field string, have, want byte) bool {
	if have != want {
		w.fail(w.i, "%s: wire type %d, want %d", field, have, want)
		return false
	}
	return true
}

// span reads a length and returns the bounds of what follows.
func (w *wire) bounds() (from, to int) {
	at := w.i
	n := w.varint()
	if n > uint64(w.end-w.i) {
		w.fail(at, "a length of %d in a message with %d bytes left", n, w.end-w.i)
		return w.i, w.i
	}
	from, to = w.i, w.i+int(n)
	w.i = to
	return from, to
}

func (w *wire) bytes() string {
	from, to := w.bounds()
	return w.s[from:to]
}

func (w *wire) text() string { return validUTF8(w.bytes()) }

// message enters a nested message; leave must be called with what it returned.
func (w *wire) message() (outer int) {
	from, to := w.bounds()
	if w.err != nil {
		return w.end
	}
	outer, w.end, w.i = w.end, to, from
	return outer
}

func (w *wire) leave(outer int) {
	if w.err == nil {
		w.i = w.end
	}
	w.end = outer
	if w.err != nil {
		w.i = outer
	}
}

func (w *wire) fixed64() (v uint64) {
	if w.end-w.i < 8 {
		w.fail(w.i, "a 64-bit number ends with its message")
		return 0
	}
	for k := range 8 {
		v |= uint64(w.s[w.i+k]) << (8 * k)
	}
	w.i += 8
	return v
}

func (w *wire) skip(typ byte) {
	switch typ {
	case wireVarint:
		w.varint()
	case wire64:
		w.fixed64()
	case wireBytes:
		w.bounds()
	case wire32:
		if w.end-w.i < 4 {
			w.fail(w.i, "a 32-bit number ends with its message")
			return
		}
		w.i += 4
	case wireGroup:
		for open := 1; open > 0 && w.err == nil; {
			_, typ, ok := w.field()
			switch {
			case !ok:
				w.fail(w.i, "a group ends with its message")
			case typ == wireGroup:
				open++
			case typ == wireEnd:
				open--
			default:
				w.skip(typ)
			}
		}
	default:
		w.fail(w.i, "wire type %d is not used", typ)
	}
}
