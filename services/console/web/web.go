// Package web is the console's pages: applications, traces and settings, rendered on the server, readable without
// scripts, with small ES modules on top. Nothing on them comes from another host.
package web

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
)

//go:embed assets templates
var files embed.FS

// Config is what the pages need. Backend is required; what is nil or empty leaves out what depends on it.
type Config struct {
	Backend backend.Backend
	// Admin is nil when the spans belong to another engine; there is no System Configuration and no live view then.
	Admin backend.Admin
	// Now is the clock, default time.Now; Location is the zone of the times shown, default time.Local.
	Now      func() time.Time
	Location *time.Location
	Log      *slog.Logger
	// Examine names what is wrong with the request that spans belong to.
	Examine func(ctx context.Context, spans []span.Span) []doctor.Finding
	// Decide tells what a sidecar does with the headers of a request.
	Decide func(Probe) (Verdict, error)
	// Import takes in a file of spans (OTLP, Zipkin or Jaeger JSON) and tells whose traces they are.
	Import func(ctx context.Context, file io.Reader) ([]span.TraceID, error)
	// Endpoints are the addresses at which spans are taken in, as "Zipkin": "http://127.0.0.1:9411/api/v2/spans".
	Endpoints []Link
	// Links are further entries of the navigation, such as the demo's start page.
	Links []Link
	// Note says on every page what to know about its numbers; "" is none.
	Note string
	// Lessons are shown inside the console.
	Lessons []Lesson
	// Wait is how long a trace page without any span yet holds the request back for the first one, default 800 ms.
	Wait time.Duration
}

// Link is a named address.
type Link struct{ Name, URL string }

// Lesson is a text to learn from beside the live pages.
type Lesson struct {
	Slug, Title string
	Body        template.HTML
	// Done reports whether the store shows that what the lesson asks for happened; nil when it cannot tell.
	Done func(context.Context) (bool, error)
}

// Probe is a request as a sidecar receives it.
type Probe struct {
	Direction string // "inbound", "outbound" or "gateway"
	Format    string // "b3", "b3+w3c" or "w3c"
	Profile   string // Envoy's line, "1.36" or "1.40"
	Sampling  float64
	Headers   [][2]string
}

// Verdict is what the sidecar does with a Probe.
type Verdict struct {
	Sent    [][2]string // the trace headers that leave
	Sampled bool
}

type console struct {
	Config
	pages  map[string]*template.Template
	assets map[string]asset
	held   *heldTraces
	// stopping is closed when the server shuts down, so that live streams do not hold it up.
	stopping chan struct{}
	watch    sync.Once
}

// New builds the pages. It fails only when its own templates are broken.
func New(c Config) (http.Handler, error) {
	if c.Backend == nil {
		return nil, errors.New("web: no backend")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Location == nil {
		c.Location = time.Local
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Wait == 0 {
		c.Wait = 800 * time.Millisecond
	}
	w := &console{Config: c, held: newHeldTraces(c.Backend, c.Now), stopping: make(chan struct{})}
	var err error
	if w.assets, err = readAssets(files); err != nil {
		return nil, err
	}
	if w.pages, err = w.parse(files); err != nil {
		return nil, err
	}
	return w.routes(), nil
}

// routes is every address of the pages.
func (c *console) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(closed, middleware.Compress(5))
	r.Use(http.NewCrossOriginProtection().Handler)

	r.Get("/", c.page(c.applications))
	r.Get("/applications", c.page(c.applications))
	r.Get("/applications/{application}", c.page(c.overview))
	r.Get("/applications/{application}/traces", c.page(c.applicationTraces))
	r.Get("/applications/{application}/servers", c.page(c.servers))
	r.Get("/topology", c.page(c.topology))
	r.Get("/traces", c.page(c.explorer))
	r.Post("/traces", c.page(c.upload))
	r.Get("/traces/{id}", c.page(c.trace))
	r.Get("/traces/{id}/nodes.json", c.page(c.nodes))
	r.Get("/traces/{id}/matches.json", c.page(c.matches))
	r.Get("/traces/{id}/spans/{span}", c.page(c.span))
	r.Get("/traces/{id}/export/{format}", c.page(c.export))
	r.Get("/compare", c.page(c.compare))
	r.Get("/complete", c.page(c.complete))
	r.Get("/live", c.page(c.live))

	r.Get("/settings/applications", c.page(c.applicationSettings))
	r.Get("/settings/applications/{application}", c.page(c.applicationSettings))
	r.Post("/settings/applications/{application}", c.page(c.saveApplication))
	r.Get("/settings/cluster", c.page(c.cluster))
	r.Post("/settings/cluster", c.page(c.saveCluster))
	r.Post("/appearance", c.page(c.appearance))

	r.Get("/help/no-data", c.page(c.noData))
	r.Get("/help/trace-id", c.page(c.traceID))
	r.Get("/help/shortcuts", c.page(c.shortcuts))
	r.Get("/lessons", c.page(c.lessons))
	r.Get("/lessons/{slug}", c.page(c.lesson))

	r.Get("/assets/{hash}/{name}", c.asset)
	r.Get("/favicon.ico", c.favicon)
	r.NotFound(c.page(func(http.ResponseWriter, *http.Request) error { return notFound("no such page") }))
	r.MethodNotAllowed(c.page(func(http.ResponseWriter, *http.Request) error {
		return &statusError{http.StatusMethodNotAllowed, "this address does not take that method"}
	}))
	return r
}

// policy lets a page load what this console serves and nothing else, and lets nobody frame it (W3C CSP Level 3).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func closed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// statusError is an error with the status that it is answered with.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func notFound(text string) error   { return &statusError{http.StatusNotFound, text} }
func badRequest(text string) error { return &statusError{http.StatusBadRequest, text} }

// page adapts a handler that returns an error: the one place where an error becomes a status.
func (c *console) page(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		var known *statusError
		status, text := http.StatusInternalServerError, "the console could not answer; its log says more"
		switch {
		case r.Context().Err() != nil:
			return
		case errors.As(err, &known):
			status, text = known.status, known.text
		case errors.Is(err, span.ErrNotFound):
			status, text = http.StatusNotFound, "no span of this trace is held"
		case errors.Is(err, backend.ErrUnsupported):
			status, text = http.StatusNotImplemented, "the engine behind this console cannot answer this question"
		case errors.Is(err, backend.ErrUnavailable):
			status, text = http.StatusBadGateway, err.Error()
		default:
			if bad := badExpression(err); bad != "" {
				status, text = http.StatusBadRequest, bad
				break
			}
			c.Log.Error("page failed", "path", r.URL.Path, "err", err)
		}
		c.fail(w, r, status, text)
	}
}

func (c *console) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	body := struct {
		Status int
		Name   string
		Text   string
	}{status, http.StatusText(status), text}
	if err := c.render(w, r, status, "error", view{Title: http.StatusText(status), Body: body}); err != nil {
		http.Error(w, text, status)
	}
}
