package console

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/crypto/bcrypt"

	"example.com/bookinfo/services/console/query"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/store"
)

type traceID = span.TraceID

// handler is every route of the main listener.
func (c *Console) handler() (http.Handler, error) {
	guard, err := newGuard(c.cfg.AuthFile)
	if err != nil {
		return nil, err
	}
	pages, err := c.pages()
	if err != nil {
		return nil, err
	}
	r := chi.NewRouter()
	r.Use(http.NewCrossOriginProtection().Handler)

	r.Post("/api/v2/spans", c.taking(c.receiver.ZipkinV2))
	r.Post("/api/v1/spans", c.taking(c.receiver.ZipkinV1))
	r.Get("/livez", c.livez)
	r.Get("/readyz", c.readyz)
	r.Get("/health", c.zipkinHealth)

	r.Group(func(r chi.Router) {
		r.Use(guard.handler)
		r.Get("/metrics", promhttp.HandlerFor(c.registry, promhttp.HandlerOpts{}).ServeHTTP)
		p := c.parts()
		(&query.API{Backend: p.Backend, Admin: p.Admin, Now: p.Now, Import: p.Import, Examine: p.Examine, Note: p.Note}).Routes(r)
		r.Handle("/api/*", http.HandlerFunc(query.NoRoute))
		r.Handle("/*", pages)
	})
	return c.direct(r, map[string]http.HandlerFunc{"/api/v2/spans": c.receiver.ZipkinV2}), nil
}

// direct serves posts of spans without looking for their route: proxies send many small ones. Everything else about
// them is as the routes of others have it.
func (c *Console) direct(others http.Handler, posts map[string]http.HandlerFunc) http.Handler {
	guarded := map[string]http.Handler{}
	for path, h := range posts {
		guarded[path] = http.NewCrossOriginProtection().Handler(c.taking(h))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := guarded[r.URL.Path]; h != nil && r.Method == http.MethodPost {
			h.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// otlpHandler is every route of the listener for OTLP over HTTP.
func (c *Console) otlpHandler() http.Handler {
	r := chi.NewRouter()
	r.Use(http.NewCrossOriginProtection().Handler)
	r.Post("/v1/traces", c.taking(c.receiver.OTLPHTTP))
	r.Get("/livez", c.livez)
	r.Get("/readyz", c.readyz)
	return c.direct(r, map[string]http.HandlerFunc{"/v1/traces": c.receiver.OTLPHTTP})
}

func (c *Console) pages() (http.Handler, error) {
	if c.cfg.Pages == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "this console was started without pages", http.StatusNotFound)
		}), nil
	}
	p := c.parts()
	if !c.takes() {
		return c.cfg.Pages(p)
	}
	if c.URL != "" {
		p.Zipkin = c.URL + "api/v2/spans"
	}
	if c.OTLPHTTP != "" {
		p.OTLPHTTP = strings.SplitAfter(c.URL, "://")[0] + dialable(c.OTLPHTTP) + "/v1/traces"
		if c.URL == "" {
			p.OTLPHTTP = "http://" + dialable(c.OTLPHTTP) + "/v1/traces"
		}
	}
	if c.OTLPGRPC != "" {
		p.OTLPGRPC = dialable(c.OTLPGRPC)
	}
	return c.cfg.Pages(p)
}

// parts is what pages and APIs have in common.
func (c *Console) parts() Parts {
	p := Parts{Backend: c.Backend(), Admin: c.Admin(), Import: c.receiver.Import, Examine: c.clinic.Examine, Log: c.cfg.Log, Now: c.cfg.Now}
	if c.cfg.Backend != nil {
		p.Note = c.cfg.Backend.Note()
		if c.forwards == nil {
			p.Import = nil
		}
	}
	return p
}

func (c *Console) livez(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") }

func (c *Console) readyz(w http.ResponseWriter, _ *http.Request) {
	if c.draining.Load() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// zipkinHealth answers as Zipkin's server does, for what waits for one.
func (c *Console) zipkinHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintln(w, `{"status":"UP"}`)
}

// guard asks for a name and a password (RFC 7617). A nil guard lets everybody pass.
type guard struct {
	hashes map[string][]byte

	mu    sync.Mutex
	known map[[sha256.Size]byte]struct{} // credentials that bcrypt took, which is slow by design
}

func newGuard(file string) (*guard, error) {
	if file == "" {
		return nil, nil
	}
	bad := func(format string, args ...any) error { return &ConfigError{"auth-file", fmt.Sprintf(format, args...)} }
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, bad("%v", err)
	}
	g := &guard{hashes: map[string][]byte{}, known: map[[sha256.Size]byte]struct{}{}}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, bad("%s, line %d: want name:bcrypt", file, i+1)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, bad("%s, line %d: the password of %q is no bcrypt hash; htpasswd -B makes one", file, i+1, name)
		}
		g.hashes[name] = []byte(hash)
	}
	if len(g.hashes) == 0 {
		return nil, bad("%s names nobody", file)
	}
	return g, nil
}

func (g *guard) handler(next http.Handler) http.Handler {
	if g == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, ok := r.BasicAuth(); ok && g.knows(name, password) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="console", charset="UTF-8"`)
		http.Error(w, "name and password are needed", http.StatusUnauthorized)
	})
}

// knownKept bounds the credentials that are remembered.
const knownKept = 1000

func (g *guard) knows(name, password string) bool {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%d:%s:%s", len(name), name, password)))
	g.mu.Lock()
	_, ok := g.known[sum]
	g.mu.Unlock()
	if ok {
		return true
	}
	hash, exists := g.hashes[name]
	if !exists {
		// An unknown name takes as long as a wrong password.
		for _, hash = range g.hashes {
			break
		}
	}
	err := bcrypt.CompareHashAndPassword(hash, []byte(password))
	if err != nil || !exists {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= knownKept {
		clear(g.known)
	}
	g.known[sum] = struct{}{}
	return true
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// gauges reads the store's and the journal's figures when they are asked for.
type gauges struct{ c *Console }

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("bookinfo_console_"+name, help, nil, nil)
}

// Describe sends nothing: the set of figures depends on whether there is a journal.
func (g gauges) Describe(chan<- *prometheus.Desc) {}

func (g gauges) Collect(ch chan<- prometheus.Metric) {
	send := func(t prometheus.ValueType, name, help string, v int64) {
		ch <- prometheus.MustNewConstMetric(gauge(name, help), t, float64(v))
	}
	s, u := g.c.store.Stats(), g.c.account.Usage()
	if g.c.cfg.Backend == nil {
		g.held(send, s)
	}
	send(prometheus.GaugeValue, "quota_spans", "Daily quota in spans, 0 for none.", u.QuotaSpans)
	send(prometheus.GaugeValue, "quota_bytes", "Daily quota in bytes, 0 for none.", u.QuotaBytes)
	send(prometheus.GaugeValue, "quota_used_spans", "Spans taken in today.", u.Spans)
	send(prometheus.GaugeValue, "quota_used_bytes", "Bytes taken in today.", u.Bytes)
	if j := g.c.journal; j != nil {
		lost, err := j.Broken()
		send(prometheus.GaugeValue, "journal_bytes", "Size of the journal.", j.Bytes())
		send(prometheus.GaugeValue, "journal_broken", "1 while the journal cannot be written.", int64(b2i(err != nil)))
		send(prometheus.CounterValue, "journal_posts_missing_total", "Posts that are in memory alone because the journal could not be written.", lost)
	}
}

func (g gauges) held(send func(t prometheus.ValueType, name, help string, v int64), s store.Stats) {
	send(prometheus.GaugeValue, "spans", "Spans held.", s.Spans)
	send(prometheus.GaugeValue, "traces", "Traces held.", s.Traces)
	send(prometheus.GaugeValue, "store_bytes", "Memory that the store holds, by its own count.", s.Bytes)
	send(prometheus.GaugeValue, "store_max_bytes", "Memory that the store may hold.", s.MaxBytes)
	send(prometheus.CounterValue, "spans_evicted_total", "Spans evicted to stay within the memory limit.", s.Evicted)
	send(prometheus.CounterValue, "spans_duplicate_total", "Spans that came again and were not stored again.", s.Duplicates)
}
