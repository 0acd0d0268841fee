package web

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

// heldTraces remembers the last traces that pages read, and what was made of them, so that the script of a page, or a
// look at one span of a trace with 50,000, does not read, tie and examine all of them again.
type heldTraces struct {
	backend backend.Backend
	now     func() time.Time

	mu   sync.Mutex
	last []*reading
}

// reading is a trace as it was read at one time. Its spans are not changed.
type reading struct {
	id    span.TraceID
	at    time.Time
	spans []span.Span

	mu        sync.Mutex // of all below but the findings
	gathered  bool
	all       []span.Span // with those of other traces that carry the x-request-id of this one
	others    []backend.Summary
	requestID string
	shape     treeShape
	tied      *tree.Tree

	examining sync.Mutex // apart from mu, so that a trace is examined while it is tied
	examined  bool
	findings  []doctor.Finding
}

// treeShape is what decides which nodes a tree has.
type treeShape struct {
	options  tree.Options
	together bool
}

const (
	// fresh is how long the parts of a page answer from its reading. A page that refreshes reads again.
	fresh   = 10 * time.Second
	heldMax = 2
)

func newHeldTraces(b backend.Backend, now func() time.Time) *heldTraces {
	return &heldTraces{backend: b, now: now}
}

// read gives a trace as it is now.
func (h *heldTraces) read(ctx context.Context, id span.TraceID) (*reading, error) {
	spans, err := h.backend.Trace(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(spans) == 0 {
		return nil, span.ErrNotFound
	}
	r := &reading{id: id, at: h.now(), spans: spans}
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := []*reading{r}
	for _, t := range h.last {
		if t.id != id && len(kept) < heldMax {
			kept = append(kept, t)
		}
	}
	h.last = kept
	return r, nil
}

// recent gives what a page read a moment ago, else reads.
func (h *heldTraces) recent(ctx context.Context, id span.TraceID) (*reading, error) {
	h.mu.Lock()
	at := slices.IndexFunc(h.last, func(t *reading) bool { return t.id == id && h.now().Sub(t.at) < fresh })
	var have *reading
	if at >= 0 {
		have = h.last[at]
	}
	h.mu.Unlock()
	if have != nil {
		return have, nil
	}
	return h.read(ctx, id)
}

// request gives the spans of the trace and of other traces that carry its x-request-id, those traces, and the id.
func (c *console) request(ctx context.Context, r *reading) ([]span.Span, []backend.Summary, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gathered {
		r.all, r.others, r.requestID = c.withFragments(ctx, r.id, r.spans)
		r.gathered = ctx.Err() == nil
	}
	return r.all, r.others, r.requestID
}

// findings names what is wrong with the request.
func (c *console) findings(ctx context.Context, r *reading) []doctor.Finding {
	if c.Examine == nil {
		return nil
	}
	all, _, _ := c.request(ctx, r)
	r.examining.Lock()
	defer r.examining.Unlock()
	if !r.examined {
		r.findings = c.Examine(ctx, all)
		r.examined = ctx.Err() == nil
	}
	return r.findings
}

// tree ties the spans as the view asks for. Nobody may change what it returns.
func (c *console) tree(ctx context.Context, r *reading, v traceView) *tree.Tree {
	want := treeShape{v.options(r.spans[0].TraceID), v.Together}
	shown := r.spans
	if v.Together {
		shown, _, _ = c.request(ctx, r)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tied == nil || r.shape != want {
		r.tied, r.shape = tree.Build(shown, want.options), want
	}
	return r.tied
}
