package store

import (
	"context"
	"sync"
	"time"

	"example.com/bookinfo/services/console/span"
)

// watchEvery is how often a watcher hears of changed traces.
const watchEvery = 100 * time.Millisecond

// maxChanged bounds the traces that a slow watcher hears of at once.
const maxChanged = 10_000

type watcher struct {
	mu      sync.Mutex
	changed map[span.TraceID]struct{}
}

// Subscribe calls f after each change to a trace, at most every 100 ms a trace, until ctx ends. It returns at once;
// calls of f come one after the other.
func (s *Store) Subscribe(ctx context.Context, f func(span.TraceID)) {
	w := &watcher{changed: map[span.TraceID]struct{}{}}
	s.watchMu.Lock()
	s.watchers[w] = struct{}{}
	s.watchMu.Unlock()
	go func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		defer func() {
			s.watchMu.Lock()
			delete(s.watchers, w)
			s.watchMu.Unlock()
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			w.mu.Lock()
			var changed map[span.TraceID]struct{}
			if len(w.changed) > 0 {
				changed, w.changed = w.changed, map[span.TraceID]struct{}{}
			}
			w.mu.Unlock()
			for id := range changed {
				f(id)
			}
		}
	}()
}

func (s *Store) notify(spans []span.Span) {
	s.watchMu.Lock()
	defer s.watchMu.Unlock()
	for w := range s.watchers {
		w.mu.Lock()
		for i := range spans {
			if i > 0 && spans[i].TraceID == spans[i-1].TraceID {
				continue
			}
			if len(w.changed) < maxChanged {
				w.changed[spans[i].TraceID] = struct{}{}
			}
		}
		w.mu.Unlock()
	}
}
