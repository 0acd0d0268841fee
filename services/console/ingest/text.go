package ingest

import (
	"errors"
	"io"
	"slices"
	"sync"
	"unsafe"
)

// text is the body of a post, whose memory is used again: at full ingest bodies are nearly all garbage there is, and
// near the memory limit the collector would run for them several times a second. What is decoded from it is valid
// until it is given back.
type text struct{ buf []byte }

// body is what the text holds, without a copy.
func (t *text) body() string { return unsafe.String(unsafe.SliceData(t.buf), len(t.buf)) }

// fill reads everything; length is what is expected, -1 when that is not known.
func (t *text) fill(r io.Reader, length int64) error {
	b := t.buf[:0]
	if length > 0 {
		b = slices.Grow(b, int(length)+1) // one more, so that the end is met without growing
	}
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, 4096)
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		t.buf = b
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// texts are those that wait to be used again. A sync.Pool would be emptied by the collector.
type texts struct {
	mu   sync.Mutex
	idle []*text
}

const (
	keepTexts = 8
	keepText  = 2 << 20 // bytes
)

func (p *texts) get() *text {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return &text{}
	}
	t := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return t
}

func (p *texts) put(t *text) {
	if t == nil || cap(t.buf) > keepText {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) < keepTexts {
		p.idle = append(p.idle, t)
	}
}
