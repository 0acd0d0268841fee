package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/expr"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/store"
)

// Trace implements backend.Backend. Whether 16 digits find a trace of 128 bits is the engine's affair.
func (b *Backend) Trace(ctx context.Context, id span.TraceID) ([]span.Span, error) {
	if spans := b.recent.get(id); spans != nil {
		return spans, nil
	}
	spans, err := b.engine.trace(ctx, id)
	if err != nil {
		return nil, err
	}
	byStart(spans)
	return spans, nil
}

func byStart(spans []span.Span) {
	slices.SortStableFunc(spans, func(a, b span.Span) int { return a.Start.Compare(b.Start) })
}

// mostTraces is the most that one question asks an engine for.
const mostTraces = 1000

// Search implements backend.Backend. The engine is asked for the newest traces that meet what it can filter by; the
// other filters and the order are applied to those.
func (b *Backend) Search(ctx context.Context, q backend.Query) (backend.Result, error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	if q.Finding != "" {
		return backend.Result{}, fmt.Errorf("searching by finding: %w", backend.ErrUnsupported)
	}
	base := filter{Window: b.bounded(q.Window), name: q.Name, limit: min(max(q.Limit, 100)+1, mostTraces)}
	if strings.TrimSpace(q.Tags) != "" {
		e, err := expr.Parse(q.Tags)
		if err != nil {
			return backend.Result{}, err
		}
		for _, clause := range e.Must() {
			if len(clause) == 1 {
				base.tags = append(base.tags, clause[0])
			}
		}
	}
	s := store.New(store.Options{MaxBytes: sampleBytes, Now: b.now})
	more := false
	var err error
	if id := strings.ToLower(strings.TrimSpace(q.ID)); id != "" {
		err = b.fetchID(ctx, s, id, base, q.Application)
	} else {
		more, err = b.fetchQuery(ctx, s, q, base)
	}
	if err != nil {
		return backend.Result{}, err
	}
	result, err := s.Search(ctx, q)
	result.More = result.More || more
	return result, err
}

// fetchQuery asks for what a query without an id may match.
func (b *Backend) fetchQuery(ctx context.Context, s *store.Store, q backend.Query, base filter) (more bool, err error) {
	filters := []filter{base}
	switch ofSpans := q.Application != "" || q.Version != "" || q.Name != "" || q.IP != "" || strings.TrimSpace(q.Tags) != ""; {
	case ofSpans:
		// Durations are those of the spans that match, to the engine too.
		filters[0].min, filters[0].max = q.MinDuration, q.MaxDuration
	case q.MinDuration > 0:
		// The duration is the whole trace's. Mostly one span has it, and the engine finds that one.
		long := base
		long.min = q.MinDuration
		filters = append(filters, long)
	}
	if q.Status == "error" {
		failed := filters[len(filters)-1]
		failed.failed = true
		filters = append(filters, failed)
	}
	services, err := b.servicesFor(ctx, q)
	if err != nil {
		return false, err
	}
	return b.fetch(ctx, s, filters, services)
}

// servicesFor lists the services to ask for, "" for any.
func (b *Backend) servicesFor(ctx context.Context, q backend.Query) ([]string, error) {
	for _, service := range []string{q.Application, q.EdgeTo, q.EdgeFrom} {
		if service != "" {
			return []string{service}, nil
		}
	}
	if b.engine.anyService() {
		return []string{""}, nil
	}
	services, err := b.services(ctx)
	return services[:min(len(services), maxServices)], err
}

// requestIDTag is where Envoy puts x-request-id.
const requestIDTag = "guid:x-request-id"

// fetchID asks for a trace by its id, or for those of an x-request-id.
func (b *Backend) fetchID(ctx context.Context, s *store.Store, id string, base filter, application string) error {
	hex := strings.Trim(id, "0123456789abcdef") == ""
	switch {
	case hex && (len(id) == 16 || len(id) == 32):
		trace, err := span.ParseTraceID(id)
		if err != nil {
			return err
		}
		spans, err := b.Trace(ctx, trace)
		if errors.Is(err, span.ErrNotFound) {
			return nil
		}
		s.Append(spans)
		return err
	case hex && len(id) < 16:
		return fmt.Errorf("%s finds traces by whole ids only, of 16 or 32 digits: %w", b.name, backend.ErrUnsupported)
	}
	base.tags = append(base.tags, expr.Condition{Key: requestIDTag, Value: id, Equal: true})
	services, err := b.servicesFor(ctx, backend.Query{Application: application})
	if err != nil {
		return err
	}
	_, err = b.fetch(ctx, s, []filter{base}, services)
	return err
}

// recent holds the traces of the last answers for a moment: whoever lists traces looks into some of them next.
type recent struct {
	now func() time.Time

	mu     sync.Mutex
	traces map[span.TraceID]recentTrace
	spans  int
}

type recentTrace struct {
	at    time.Time
	spans []span.Span
}

const (
	keepRecent = 2 * time.Second
	maxRecent  = 20_000 // spans
)

func newRecent(now func() time.Time) *recent {
	return &recent{now: now, traces: map[span.TraceID]recentTrace{}}
}

// keep takes whole traces.
func (r *recent) keep(spans []span.Span) {
	traces := map[span.TraceID][]span.Span{}
	for _, s := range spans {
		traces[s.TraceID] = append(traces[s.TraceID], s)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, t := range r.traces {
		if r.now().Sub(t.at) >= keepRecent {
			r.spans -= len(t.spans)
			delete(r.traces, id)
		}
	}
	for id, spans := range traces {
		if r.spans+len(spans) > maxRecent {
			break
		}
		byStart(spans)
		r.spans += len(spans) - len(r.traces[id].spans)
		r.traces[id] = recentTrace{r.now(), spans}
	}
}

// get returns a copy: the caller owns it.
func (r *recent) get(id span.TraceID) []span.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.traces[id]
	if !ok || r.now().Sub(t.at) >= keepRecent {
		return nil
	}
	return slices.Clone(t.spans)
}
