// Package remote answers the console's questions from an existing Jaeger or Zipkin, whatever holds the spans behind
// it.
//
// Both engines find traces and give them whole; neither counts requests by minute, nor by version or server. What the
// console shows of applications is therefore computed here, from a sample: the newest traces of each service in the
// time asked for. The traces that were fetched go into a small store of the console's own kind, which then answers as
// it does for a console that holds its spans itself: all filters mean the same.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/expr"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/store"
)

const (
	// maxServices and tracesEach bound a sample: the newest traces of so many services.
	maxServices = 50
	tracesEach  = 50
	// keepSample is how long a sample answers for; a page asks it a dozen times.
	keepSample  = 10 * time.Second
	keptSamples = 8
	sampleBytes = 64 << 20
	maxSpans    = 200_000 // of one answer
	// farthest is how far an open beginning reaches back: engines search by day, and each day costs.
	farthest = 7 * 24 * time.Hour
)

// engine is what Jaeger and Zipkin have in common.
type engine interface {
	services(ctx context.Context) ([]string, error)
	names(ctx context.Context, service string) ([]string, error)
	trace(ctx context.Context, id span.TraceID) ([]span.Span, error)
	// find gives traces that meet the filter, newest first, and may give others too.
	find(ctx context.Context, f filter) (found, error)
	// anyService reports whether find takes a filter without a service.
	anyService() bool
}

// filter is what an engine can look for by itself. Both bounds of the window are set.
type filter struct {
	backend.Window
	service, name string
	min, max      time.Duration
	tags          []expr.Condition // on one span, all of them
	failed        bool
	limit         int // traces
}

type found struct {
	spans  []span.Span
	traces int
}

// Backend is an existing engine. Create it by New.
type Backend struct {
	engine engine
	client *client
	name   string
	now    func() time.Time

	flight  singleflight.Group
	mu      sync.Mutex
	samples map[backend.Window]sample
	recent  *recent
}

type sample struct {
	at    time.Time
	store *store.Store
}

var _ backend.Backend = (*Backend)(nil)

// Options name an engine.
type Options struct {
	// Kind is "jaeger" or "zipkin", URL the address below which its API is; a name and a password in it are sent.
	Kind string
	URL  *url.URL
	// Header is sent with every question: a token, for example.
	Header http.Header
	Now    func() time.Time
}

// Parse reads "jaeger=URL" or "zipkin=URL".
func Parse(text string) (Options, error) {
	kind, address, ok := strings.Cut(text, "=")
	if !ok || kind != "jaeger" && kind != "zipkin" {
		return Options{}, fmt.Errorf("%q: want jaeger=URL or zipkin=URL", text)
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return Options{}, fmt.Errorf("%q: want an address such as http://%s:%s", address, kind, map[string]string{"jaeger": "16686", "zipkin": "9411"}[kind])
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return Options{Kind: kind, URL: u}, nil
}

// New returns the engine that o names; it asks it nothing yet.
func New(o Options) *Backend {
	b := &Backend{now: o.Now, samples: map[backend.Window]sample{}, recent: newRecent(o.Now)}
	switch o.Kind {
	case "jaeger":
		b.name = "Jaeger"
		b.client = newClient(b.name, o.URL, o.Header)
		b.engine = jaeger{b.client}
	default:
		b.name = "Zipkin"
		b.client = newClient(b.name, o.URL, o.Header)
		b.engine = zipkin{b.client}
	}
	return b
}

// Note says where the answers come from and which of them are computed from a sample, for people who read them.
func (b *Backend) Note() string {
	return fmt.Sprintf("Read from %s at %s. Numbers, servers and topology are computed from a sample: the newest %d traces of each service (%d services at most) in the time chosen.",
		b.name, b.client.base.Redacted(), tracesEach, maxServices)
}

// Check asks the engine for its services, and so tells whether it answers.
func (b *Backend) Check(ctx context.Context) error {
	_, err := b.engine.services(ctx)
	if errors.Is(err, errNotFound) {
		err = b.client.failed(errors.New("it answered 404 to the question for its services; is that the address of its query API?"))
	}
	return err
}

func (b *Backend) services(ctx context.Context) ([]string, error) {
	list, err := b.engine.services(ctx)
	if err != nil {
		return nil, b.plain(err)
	}
	slices.Sort(list)
	return list, nil
}

// plain keeps the engine's 404 from being taken for a trace that is not there.
func (b *Backend) plain(err error) error {
	if errors.Is(err, errNotFound) {
		return b.client.failed(err)
	}
	return err
}

// bounded closes a window's open sides.
func (b *Backend) bounded(w backend.Window) backend.Window {
	if w.To.IsZero() {
		w.To = b.now().Add(time.Minute) // clocks differ
	}
	if w.From.IsZero() {
		w.From = w.To.Add(-farthest)
	}
	return w
}

// received marks spans as received when they ended: when the engine took them in it does not tell.
func received(spans []span.Span) []span.Span {
	for i := range spans {
		spans[i].Received = spans[i].End()
	}
	return spans
}

// sampled gives a store with the sample of a window, rounded to minutes.
func (b *Backend) sampled(ctx context.Context, w backend.Window) (*store.Store, error) {
	if !w.From.IsZero() {
		w.From = w.From.Truncate(time.Minute)
	}
	if !w.To.IsZero() {
		w.To = w.To.Add(time.Minute - 1).Truncate(time.Minute)
	}
	b.mu.Lock()
	have, ok := b.samples[w]
	b.mu.Unlock()
	if ok && b.now().Sub(have.at) < keepSample {
		return have.store, nil
	}
	// Whoever waits for the same sample gets it too, also when the first one leaves.
	key := fmt.Sprint(w.From.UnixNano(), w.To.UnixNano(), w.From.IsZero(), w.To.IsZero())
	made, err, _ := b.flight.Do(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*requestTimeout)
		defer cancel()
		s := store.New(store.Options{MaxBytes: sampleBytes, Now: b.now})
		services, err := b.services(ctx)
		if err != nil {
			return nil, err
		}
		f := filter{Window: b.bounded(w), limit: tracesEach}
		if _, err := b.fetch(ctx, s, []filter{f}, services[:min(len(services), maxServices)]); err != nil {
			return nil, err
		}
		b.keep(w, s)
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return made.(*store.Store), nil
}

func (b *Backend) keep(w backend.Window, s *store.Store) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for old, have := range b.samples {
		if b.now().Sub(have.at) >= keepSample {
			delete(b.samples, old)
		}
	}
	if len(b.samples) >= keptSamples {
		clear(b.samples)
	}
	b.samples[w] = sample{b.now(), s}
}

// fetch puts what the filters find of each service into s, and tells whether there may be more.
func (b *Backend) fetch(ctx context.Context, s *store.Store, filters []filter, services []string) (more bool, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	var mu sync.Mutex
	for _, service := range services {
		for _, f := range filters {
			f.service = service
			group.Go(func() error {
				got, err := b.engine.find(ctx, f)
				if err != nil {
					return b.plain(err)
				}
				s.Append(got.spans)
				b.recent.keep(got.spans)
				mu.Lock()
				defer mu.Unlock()
				more = more || got.traces >= f.limit
				return nil
			})
		}
	}
	return more, group.Wait()
}

// Applications implements backend.Backend, from the sample.
func (b *Backend) Applications(ctx context.Context, w backend.Window) ([]backend.Application, error) {
	s, err := b.sampled(ctx, w)
	if err != nil {
		return nil, err
	}
	return s.Applications(ctx, w)
}

// Series implements backend.Backend, from the sample.
func (b *Backend) Series(ctx context.Context, app, version string, w backend.Window, step time.Duration) ([]backend.Point, error) {
	s, err := b.sampled(ctx, w)
	if err != nil {
		return nil, err
	}
	return s.Series(ctx, app, version, w, step)
}

// Servers implements backend.Backend, from the sample.
func (b *Backend) Servers(ctx context.Context, app string, w backend.Window) ([]backend.Server, error) {
	s, err := b.sampled(ctx, w)
	if err != nil {
		return nil, err
	}
	return s.Servers(ctx, app, w)
}

// Topology implements backend.Backend, from the sample.
func (b *Backend) Topology(ctx context.Context, app string, w backend.Window) (backend.Topology, error) {
	s, err := b.sampled(ctx, w)
	if err != nil {
		return backend.Topology{}, err
	}
	return s.Topology(ctx, app, w)
}

// TagKeys implements backend.Backend, from a sample of the last hour.
func (b *Backend) TagKeys(ctx context.Context, prefix string, limit int) ([]string, error) {
	s, err := b.sampled(ctx, backend.Window{From: b.now().Add(-time.Hour)})
	if err != nil {
		return nil, err
	}
	return s.TagKeys(ctx, prefix, limit)
}

// TagValues implements backend.Backend, from a sample of the last hour.
func (b *Backend) TagValues(ctx context.Context, key, prefix string, limit int) ([]string, error) {
	s, err := b.sampled(ctx, backend.Window{From: b.now().Add(-time.Hour)})
	if err != nil {
		return nil, err
	}
	return s.TagValues(ctx, key, prefix, limit)
}

// Names implements backend.Backend.
func (b *Backend) Names(ctx context.Context, app string) ([]string, error) {
	services := []string{app}
	if app == "" {
		var err error
		if services, err = b.services(ctx); err != nil {
			return nil, err
		}
		services = services[:min(len(services), maxServices)]
	}
	var all []string
	for _, service := range services {
		names, err := b.engine.names(ctx, service)
		if err != nil {
			return nil, b.plain(err)
		}
		all = append(all, names...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
