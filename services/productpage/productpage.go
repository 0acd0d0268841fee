// Package productpage is the front of Bookinfo: the page that asks details and reviews, a login that routing by user
// needs, and the same data as JSON.
package productpage

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/propagation"
)

// Deps is what the service works with beside its settings.
type Deps struct {
	Log      *slog.Logger
	Registry prometheus.Registerer
	// Trace makes outgoing requests carry what the trace of the incoming one needs.
	Trace func(base http.RoundTripper) http.RoundTripper
	// Dial opens connections to the backends; nil means an ordinary one.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock of the sessions; nil means the real one.
	Now func() time.Time
}

type service struct {
	log       *slog.Logger
	sessions  sessions
	details   *backend
	reviews   *backend
	ratings   *backend
	flood     int
	traceURL  string
	assets    assets
	templates templates
	pages     pages
}

// New returns the service. Its handler is the one in the binary, in the demo and in tests.
func New(cfg Config, deps Deps) (http.Handler, error) {
	parsed, err := parseTemplates()
	if err != nil {
		return nil, err
	}
	files, err := loadAssets()
	if err != nil {
		return nil, err
	}
	if deps.Dial == nil {
		// No probes of TCP's own: these connections end by inactivity long before the first would be sent, and setting
		// them up costs four calls of the kernel for each.
		deps.Dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	key := cfg.SessionKey
	if len(key) == 0 {
		key = make([]byte, sessionKeyBytes)
		_, _ = rand.Read(key) // never fails
	}
	s := &service{
		log:       deps.Log,
		sessions:  sessions{key: key, now: deps.Now},
		flood:     cfg.FloodFactor,
		traceURL:  cfg.TraceURL,
		assets:    files,
		templates: parsed,
	}
	s.connect(cfg, deps)
	return s.routes(), nil
}

func (s *service) connect(cfg Config, deps Deps) {
	base := transport(deps.Dial, cfg.PoolConnections, cfg.Proxy)
	client := &http.Client{
		Transport:     propagation.IdentityTransport{Base: deps.Trace(base)},
		CheckRedirect: followRedirects,
	}
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "request_result_total",
		Help: "Results of requests to the services behind the page.",
	}, []string{"destination_app", "response_code"})
	deps.Registry.MustRegister(results)

	ask := func(name, address string, tries int) *backend {
		return &backend{
			name: name, base: "http://" + address, tries: tries, client: client, results: results,
			sorry: "Sorry, product " + name + " are currently unavailable for this book.",
		}
	}
	s.details = ask("details", cfg.Details, 1)
	s.reviews = ask("reviews", cfg.Reviews, 2)
	s.ratings = ask("ratings", cfg.Ratings, 1)
}

// routes is the whole of the service; /livez, /readyz and /metrics come with every service of the suite.
func (s *service) routes() http.Handler {
	adapt := server.Adapt(s.fail)
	r := chi.NewRouter()
	r.Use(s.traceHeaders, decodedPath)
	r.NotFound(adapt(s.notFound))
	r.MethodNotAllowed(adapt(s.wrongMethod(r)))

	get := func(path string, handle server.HandlerFunc) {
		r.Get(path, adapt(handle))
		r.Head(path, adapt(handle))
		r.Options(path, adapt(s.options(r)))
	}
	get("/", s.index)
	get("/index.html", s.index)
	get("/productpage", s.page)
	get("/health", s.health)
	get("/logout", s.logout)
	r.Post("/login", adapt(s.login))
	r.Options("/login", adapt(s.options(r)))

	get("/api/v1/products", s.apiProducts)
	get("/api/v1/products/{id}", s.api(s.details))
	get("/api/v1/products/{id}/reviews", s.api(s.reviews))
	get("/api/v1/products/{id}/ratings", s.api(s.ratings))

	get("/static/*", s.static)
	r.HandleFunc("/static/", adapt(s.notFound)) // a file has a name
	return r
}

// decodedPath has routes match the decoded path, as WSGI servers do: an encoded slash separates segments.
func decodedPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawPath != "" {
			chi.RouteContext(r.Context()).RoutePath = r.URL.Path
		}
		next.ServeHTTP(w, r)
	})
}

func (s *service) notFound(http.ResponseWriter, *http.Request) error {
	return server.Errorf(http.StatusNotFound, "There is nothing at this address.")
}

// wrongMethod answers 405 with the methods that the path has, or 404 if it has none.
func (s *service) wrongMethod(r chi.Routes) server.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) error {
		methods := allowed(r, req.URL.Path)
		if methods == "" {
			return s.notFound(w, req)
		}
		w.Header().Set("Allow", methods)
		return server.Errorf(http.StatusMethodNotAllowed, "This address does not take %s.", req.Method)
	}
}

func (s *service) options(r chi.Routes) server.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) error {
		w.Header().Set("Allow", allowed(r, req.URL.Path))
		w.Header().Set("Content-Type", contentHTML)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
}

func allowed(r chi.Routes, path string) string {
	var methods []string
	for _, method := range []string{http.MethodOptions, http.MethodGet, http.MethodHead, http.MethodPost} {
		if r.Match(chi.NewRouteContext(), method, path) {
			methods = append(methods, method)
		}
	}
	return strings.Join(methods, ", ")
}
