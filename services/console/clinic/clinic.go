// Package clinic brings the doctor to the traces of a backend: it gathers the fragments of a request, remembers what
// whole traces look like, and keeps what was found of each trace, so that a list of traces can show and filter it.
package clinic

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
)

// Clinic examines traces. Create it by New.
type Clinic struct {
	// AtOnce is how many traces one search examines; the others have their turn later. Set it before the first use.
	AtOnce int

	backend backend.Backend
	now     func() time.Time
	settle  time.Duration
	memory  *memory

	mu      sync.Mutex
	records map[span.TraceID]record
	waiting map[span.TraceID]time.Time // when a trace changed last
	large   map[span.TraceID]diagnosis
}

// diagnosis is what was found of a large trace, which takes long to examine again for each look at it.
type diagnosis struct {
	spans    int
	findings []doctor.Finding
}

// record is what was found of a trace when it had so many spans.
type record struct {
	spans int
	kinds []string
}

const (
	maxRecords   = 50_000
	maxWaiting   = 50_000
	maxFragments = 24              // traces that one request may have fallen into
	lookBehind   = 2 * time.Minute // how long before a fragment the request that caused it may have begun
	atOnce       = 40              // AtOnce of a backend that answers from its own memory
	busy         = 10_000          // waiting traces from which on searches leave them to Run
	perTick      = 200             // traces that one tick of Run examines
	largeSpans   = 1000            // from how many spans on a diagnosis is kept
	maxLarge     = 32              // diagnoses kept
)

// New returns a Clinic over b. settle is how long after a trace's last span it counts as whole; 0 is doctor.Settle.
func New(b backend.Backend, now func() time.Time, settle time.Duration) *Clinic {
	if settle == 0 {
		settle = doctor.Settle
	}
	return &Clinic{
		AtOnce: atOnce, backend: b, now: now, settle: settle, memory: newMemory(),
		records: map[span.TraceID]record{}, waiting: map[span.TraceID]time.Time{},
		large: map[span.TraceID]diagnosis{},
	}
}

// Run examines each trace some time after it changed, until ctx ends. subscribe tells of changes; with nil, only those
// that a search left over are examined. tick says when to look; time.Tick fits.
func (c *Clinic) Run(ctx context.Context, subscribe func(context.Context, func(span.TraceID)), tick <-chan time.Time) {
	if subscribe != nil {
		subscribe(ctx, func(id span.TraceID) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.waiting) < maxWaiting {
				c.waiting[id] = c.now()
			}
		})
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			c.examineSettled(ctx)
		}
	}
}

func (c *Clinic) examineSettled(ctx context.Context) {
	now := c.now()
	var settled []span.TraceID
	c.mu.Lock()
	for id, changed := range c.waiting {
		if now.Sub(changed) >= c.settle {
			// One that is left out is examined when a search shows it.
			if len(settled) < perTick {
				settled = append(settled, id)
			}
			delete(c.waiting, id)
		}
	}
	c.mu.Unlock()
	for _, id := range settled {
		if ctx.Err() != nil {
			return
		}
		spans, err := c.backend.Trace(ctx, id)
		if err != nil {
			continue // evicted meanwhile
		}
		c.record(ctx, id, spans)
	}
}

// record examines a trace, learns from it if it is whole, and keeps the kinds found.
func (c *Clinic) record(ctx context.Context, id span.TraceID, spans []span.Span) []string {
	findings := c.Examine(ctx, spans)
	if len(findings) == 0 {
		c.memory.learn(spans)
	}
	kinds := []string{}
	for _, f := range findings {
		if !slices.Contains(kinds, string(f.Kind)) {
			kinds = append(kinds, string(f.Kind))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.records) >= maxRecords {
		for old := range c.records { // any one: what is asked for again is examined again
			delete(c.records, old)
			if len(c.records) < maxRecords*9/10 {
				break
			}
		}
	}
	c.records[id] = record{len(spans), kinds}
	return kinds
}

// Examine says what is wrong with the request that spans belong to. Fragments of it which are missing from spans are
// fetched. A trace that may still be arriving has no findings.
func (c *Clinic) Examine(ctx context.Context, spans []span.Span) []doctor.Finding {
	if len(spans) == 0 || c.arriving(spans) {
		return nil
	}
	if len(spans) < largeSpans {
		return doctor.Examine(c.gather(ctx, spans), c.memory.knowledge(), time.Time{})
	}
	id := spans[0].TraceID
	c.mu.Lock()
	have, ok := c.large[id]
	c.mu.Unlock()
	if ok && have.spans == len(spans) {
		return slices.Clone(have.findings)
	}
	have = diagnosis{len(spans), doctor.Examine(c.gather(ctx, spans), c.memory.knowledge(), time.Time{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	for old := range c.large {
		if len(c.large) < maxLarge {
			break
		}
		delete(c.large, old)
	}
	if ctx.Err() == nil {
		c.large[id] = have
	}
	return slices.Clone(have.findings)
}

func (c *Clinic) arriving(spans []span.Span) bool {
	now := c.now()
	return slices.ContainsFunc(spans, func(s span.Span) bool { return !s.Received.IsZero() && now.Sub(s.Received) < c.settle })
}

// gather adds the traces which are fragments of the same request, and their fragments.
func (c *Clinic) gather(ctx context.Context, spans []span.Span) []span.Span {
	known := map[span.TraceID]bool{}
	for i := range spans {
		known[spans[i].TraceID] = true
	}
	all, part := slices.Clip(spans), spans // clipped: an append must not write behind the caller's
	for len(part) > 0 && len(known) < maxFragments {
		var found []span.Span
		for _, id := range c.candidates(ctx, part) {
			if known[id] || len(known) >= maxFragments {
				continue
			}
			other, err := c.backend.Trace(ctx, id)
			if err != nil || !doctor.Related(part, other) && !doctor.Related(other, part) {
				continue
			}
			known[id] = true
			found = append(found, other...)
		}
		all = append(all, found...)
		part = found
	}
	return all
}

// candidates are traces that may belong to the request of spans.
func (c *Clinic) candidates(ctx context.Context, spans []span.Span) (ids []span.TraceID) {
	add := func(q backend.Query) {
		result, err := c.backend.Search(ctx, q)
		if err != nil {
			return // another engine may lack the question; the doctor then sees less
		}
		for _, t := range result.Traces {
			ids = append(ids, t.TraceID)
		}
	}
	asked := map[string]bool{}
	calls := map[string]bool{}
	for i := range spans {
		if s := &spans[i]; s.Kind == span.KindClient && s.ParentID != 0 {
			calls[s.Service] = true
		}
	}
	for i := range spans {
		s := &spans[i]
		if id := s.RequestID(); id != "" && !asked[id] && len(asked) < 8 {
			asked[id] = true
			add(backend.Query{ID: id, OrderBy: backend.ByTime, Limit: maxFragments})
		}
		switch {
		case s.Kind == span.KindServer && !calls[s.Service] && len(c.memory.knowledge().Callees(s)) > 0:
			// It calls others otherwise: their traces begin while it runs.
			add(backend.Query{Application: s.Service, Window: backend.Window{From: s.Start, To: s.End()}, OrderBy: backend.ByTime, Limit: maxFragments})
		case s.Kind == span.KindClient && s.ParentID == 0 && c.memory.knowledge().Serves(s.Service):
			// It serves others: the request that caused this call began before.
			add(backend.Query{Application: s.Service, MinDuration: s.Duration, Window: backend.Window{From: s.Start.Add(-lookBehind), To: s.Start.Add(1)}, OrderBy: backend.ByTime, Limit: maxFragments})
		}
	}
	return ids
}

// Backend is the clinic's backend with findings in its summaries, and with the filter by finding.
func (c *Clinic) Backend() backend.Backend { return examined{c.backend, c} }

type examined struct {
	backend.Backend
	clinic *Clinic
}

// Search fills in Findings. With q.Finding it looks at ten times as many traces and keeps those that have it.
func (e examined) Search(ctx context.Context, q backend.Query) (backend.Result, error) {
	finding, limit := q.Finding, q.Limit
	if limit <= 0 {
		limit = 100
	}
	q.Finding = ""
	if finding != "" {
		q.Limit = limit * 10
	}
	result, err := e.Backend.Search(ctx, q)
	if err != nil {
		return result, err
	}
	budget := e.clinic.atOnce()
	for i := range result.Traces {
		t := &result.Traces[i]
		t.Findings, err = e.clinic.kindsOf(ctx, t, &budget)
		if err != nil && !errors.Is(err, span.ErrNotFound) {
			return backend.Result{}, err
		}
	}
	if finding != "" {
		result.Traces = slices.DeleteFunc(result.Traces, func(t backend.Summary) bool { return !slices.Contains(t.Findings, finding) })
		if len(result.Traces) > limit {
			result.Traces, result.More = result.Traces[:limit], true
		}
	}
	return result, nil
}

// atOnce is how many traces a search examines: none while so many wait that examining them would hold up whoever asks.
func (c *Clinic) atOnce() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) > busy {
		return 0
	}
	return c.AtOnce
}

// kindsOf is what was found of a trace. One that has grown since, or that was never seen, is examined while the
// budget of this search lasts and otherwise by Run.
func (c *Clinic) kindsOf(ctx context.Context, t *backend.Summary, budget *int) ([]string, error) {
	c.mu.Lock()
	have, ok := c.records[t.TraceID]
	_, waiting := c.waiting[t.TraceID]
	c.mu.Unlock()
	if ok && have.spans == t.Spans {
		return have.kinds, nil
	}
	if waiting {
		return have.kinds, nil
	}
	if *budget == 0 {
		c.mu.Lock()
		if len(c.waiting) < maxWaiting {
			c.waiting[t.TraceID] = time.Time{}
		}
		c.mu.Unlock()
		return have.kinds, nil
	}
	*budget--
	spans, err := c.backend.Trace(ctx, t.TraceID)
	if err != nil {
		return nil, err
	}
	if c.arriving(spans) {
		return have.kinds, nil
	}
	return c.record(ctx, t.TraceID, spans), nil
}
