package web

import (
	"context"
	"sync"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/span"
)

// heldTraces remembers the last few traces that were read, so that a look at one span of a trace with 50,000 does not
// read all of them again. What it holds is never older than fresh.
type heldTraces struct {
	backend backend.Backend
	now     func() time.Time

	mu   sync.Mutex
	last []heldTrace
}

type heldTrace struct {
	id    span.TraceID
	at    time.Time
	spans []span.Span
}

const (
	fresh   = time.Second
	heldMax = 4
)

func newHeldTraces(b backend.Backend, now func() time.Time) *heldTraces {
	return &heldTraces{backend: b, now: now}
}

// spans gives the spans of a trace as they are now.
func (h *heldTraces) spans(ctx context.Context, id span.TraceID) ([]span.Span, error) {
	spans, err := h.backend.Trace(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(spans) == 0 {
		return nil, span.ErrNotFound
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := h.last[:0:0]
	for _, t := range h.last {
		if t.id != id && len(kept) < heldMax-1 {
			kept = append(kept, t)
		}
	}
	h.last = append([]heldTrace{{id, h.now(), spans}}, kept...)
	return spans, nil
}

// recent gives what was read within the last second, else reads.
func (h *heldTraces) recent(ctx context.Context, id span.TraceID) ([]span.Span, error) {
	h.mu.Lock()
	for _, t := range h.last {
		if t.id == id && h.now().Sub(t.at) < fresh {
			h.mu.Unlock()
			return t.spans, nil
		}
	}
	h.mu.Unlock()
	return h.spans(ctx, id)
}
