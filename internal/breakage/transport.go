package breakage

import (
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"example.com/bookinfo/propagation"
)

// Breaker holds what one service does wrong now. It may be changed while requests run: each sees the old or the new.
type Breaker struct {
	change atomic.Pointer[Change]
	calls  atomic.Uint64
	random func([]byte)

	mu    sync.Mutex
	first http.Header // what Reuse captured
}

// NewBreaker returns a Breaker that breaks nothing yet. random fills a slice with random bytes, for new ids.
func NewBreaker(random func([]byte)) *Breaker { return &Breaker{random: random} }

// Change is what is broken now.
func (b *Breaker) Change() Change {
	if c := b.change.Load(); c != nil {
		return *c
	}
	return Change{}
}

// Set breaks as c says, and no longer as before.
func (b *Breaker) Set(c Change) {
	b.mu.Lock()
	b.first = nil
	b.mu.Unlock()
	b.change.Store(&c)
}

// Mend breaks nothing any more.
func (b *Breaker) Mend() { b.Set(Change{}) }

// Transport returns base with the breakage before it. It belongs directly above the connection, below what forwards.
func (b *Breaker) Transport(base http.RoundTripper) http.RoundTripper { return transport{b, base} }

type transport struct {
	breaker *Breaker
	base    http.RoundTripper
}

// CloseIdleConnections lets a client close what base keeps.
func (t transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := t.breaker.change.Load()
	if c == nil || len(c.Strings()) == 0 {
		return t.base.RoundTrip(r)
	}
	broken := r.Clone(r.Context())
	t.breaker.apply(c, broken.Header)
	return t.base.RoundTrip(broken)
}

// apply makes the mistakes in the order in which an application would: which context, which ids, how it is written.
func (b *Breaker) apply(c *Change, h http.Header) {
	if c.Reuse {
		b.reuse(h)
	}
	if c.Async && b.calls.Add(1)%2 == 0 {
		for _, header := range propagation.Table() {
			h.Del(header.Name)
		}
	}
	if c.NewTrace {
		b.newIDs(h, true)
	}
	if c.HiddenSDK {
		b.newIDs(h, false)
	}
	if c.StaleB3 {
		// What a client sent long ago: nobody made this span in the trace at hand.
		if trace := h.Get("x-b3-traceid"); trace != "" {
			h.Set("b3", trace+"-"+b.id(8)+"-1")
		}
	}
	if c.SampledOff {
		sampledOff(h)
	}
	for _, name := range c.Drop {
		h.Del(name)
	}
	for _, name := range c.Empty {
		h[http.CanonicalHeaderKey(name)] = []string{""}
	}
	for _, name := range c.Duplicate {
		if v := h.Get(name); v != "" {
			h[http.CanonicalHeaderKey(name)] = []string{v, v}
		}
	}
	for _, name := range c.Join {
		if v := h.Get(name); v != "" {
			h.Set(name, v+","+v)
		}
	}
	for _, name := range c.Case {
		if v := h.Get(name); v != "" {
			h.Del(name)
			h[strings.ToUpper(name)] = []string{v} // not canonical, so that it is written as it stands
		}
	}
}

// reuse replaces the trace headers by those of the first request since the breakage began.
func (b *Breaker) reuse(h http.Header) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first == nil {
		b.first = http.Header{}
		for _, header := range propagation.Table() {
			if v := h.Values(header.Name); len(v) > 0 {
				b.first[http.CanonicalHeaderKey(header.Name)] = append([]string(nil), v...)
			}
		}
		return
	}
	for _, header := range propagation.Table() {
		h.Del(header.Name)
	}
	for name, v := range b.first {
		h[name] = append([]string(nil), v...)
	}
}

// newIDs gives each context in h a new span id, as an SDK's own span has, and with root a new trace too.
func (b *Breaker) newIDs(h http.Header, root bool) {
	trace, id := b.id(16), b.id(8)
	if h.Get("x-b3-traceid") != "" {
		if root {
			h.Set("x-b3-traceid", trace)
			h.Del("x-b3-parentspanid")
		} else {
			h.Set("x-b3-parentspanid", h.Get("x-b3-spanid"))
		}
		h.Set("x-b3-spanid", id)
	}
	if parts := strings.Split(h.Get("traceparent"), "-"); len(parts) == 4 {
		if root {
			parts[1] = trace
			h.Del("tracestate")
		}
		parts[2] = id
		h.Set("traceparent", strings.Join(parts, "-"))
	}
	if parts := strings.Split(h.Get("b3"), "-"); len(parts) >= 2 {
		if root {
			parts[0] = trace
		}
		parts[1] = id
		h.Set("b3", strings.Join(parts[:min(len(parts), 3)], "-"))
	}
}

func (b *Breaker) id(bytes int) string {
	raw := make([]byte, bytes)
	b.random(raw)
	raw[0] |= 1 // all zeros is no id
	return hex.EncodeToString(raw)
}

func sampledOff(h http.Header) {
	if h.Get("x-b3-traceid") != "" {
		h.Set("x-b3-sampled", "0")
	}
	if v := h.Get("traceparent"); len(v) == 55 {
		h.Set("traceparent", v[:53]+"00")
	}
	if parts := strings.Split(h.Get("b3"), "-"); len(parts) >= 3 {
		parts[2] = "0"
		h.Set("b3", strings.Join(parts, "-"))
	}
}
