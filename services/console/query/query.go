// Package query answers HTTP questions about spans: the console's own API (docs/api.md), Zipkin's API v2 and
// Jaeger's, so that the tools people have can ask.
package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/expr"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/span"
)

// API answers from a Backend. Admin is nil where the spans belong to another system; what only the console knows
// (usage, push log, settings) answers 501 then.
type API struct {
	Backend backend.Backend
	Admin   backend.Admin
	Now     func() time.Time
	// Examine says what is wrong with the request that spans belong to; nil says nothing.
	Examine func(context.Context, []span.Span) []doctor.Finding
	// Note stands in answers with numbers that are computed from a sample; "" is none.
	Note string
	// Import takes in a file of spans and tells whose traces they are; nil takes none.
	Import func(context.Context, io.Reader) ([]span.TraceID, error)
}

// Routes adds every route to r.
func (a *API) Routes(r chi.Router) {
	r.Get("/api/bookinfo/v1/openapi.yaml", a.openAPI)
	r.Get("/api/bookinfo/v1/applications", handle(a.applications))
	r.Get("/api/bookinfo/v1/applications/{application}/metrics", handle(a.metrics))
	r.Get("/api/bookinfo/v1/applications/{application}/servers", handle(a.servers))
	r.Get("/api/bookinfo/v1/applications/{application}/names", handle(a.names))
	r.Get("/api/bookinfo/v1/topology", handle(a.topology))
	r.Get("/api/bookinfo/v1/traces", handle(a.traces))
	r.Get("/api/bookinfo/v1/traces/{id}", handle(a.trace))
	r.Post("/api/bookinfo/v1/import", handle(a.load))
	r.Get("/api/bookinfo/v1/tags", handle(a.tagKeys))
	r.Get("/api/bookinfo/v1/tags/{key}/values", handle(a.tagValues))
	r.Get("/api/bookinfo/v1/usage", handle(a.usage))
	r.Get("/api/bookinfo/v1/pushes", handle(a.pushes))
	r.Get("/api/bookinfo/v1/settings", handle(a.settings))
	r.Patch("/api/bookinfo/v1/settings", handle(a.updateSettings))

	a.zipkinRoutes(r, "/api/v2")
	// Zipkin's own server has its API below the path of its UI too, and the UI asks there.
	a.zipkinRoutes(r, "/zipkin/api/v2")
	r.Get("/zipkin/config.json", handle(a.zipkinConfig))

	r.Get("/api/services", handleJaeger(a.jaegerServices))
	r.Get("/api/services/{service}/operations", handleJaeger(a.jaegerOperations))
	r.Get("/api/operations", handleJaeger(a.jaegerOperationKinds))
	r.Get("/api/traces", handleJaeger(a.jaegerTraces))
	r.Get("/api/traces/{id}", handleJaeger(a.jaegerTrace))
	r.Get("/api/dependencies", handleJaeger(a.jaegerDependencies))
	r.Get("/api/v3/services", handle(a.jaeger3Services))
	r.Get("/api/v3/operations", handle(a.jaeger3Operations))
	r.Get("/api/v3/traces", handle(a.jaeger3Traces))
	r.Get("/api/v3/traces/{id}", handle(a.jaeger3Trace))
}

// NoRoute answers what is asked below /api and is no question: scripts read JSON there and no page.
func NoRoute(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusNotFound, map[string]any{"error": fmt.Sprintf("%s %s: not of this API; /api/bookinfo/v1/openapi.yaml describes it", r.Method, r.URL.Path), "status": http.StatusNotFound})
}

// badRequest is an error of the asker's: 400, with the parameter at fault in its text.
type badRequest struct{ text string }

func (e badRequest) Error() string { return e.text }

func badParameter(name, value, want string) error {
	return badRequest{fmt.Sprintf("%s=%q: want %s", name, value, want)}
}

// statusOf is the one place where an error becomes a status.
func statusOf(err error) int {
	var bad badRequest
	var expression *expr.Error
	var malformed *ingest.Malformed
	switch {
	case errors.As(err, &malformed):
		return http.StatusBadRequest
	case errors.As(err, &bad):
		return http.StatusBadRequest
	case errors.As(err, &expression):
		return http.StatusBadRequest
	case errors.Is(err, span.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, backend.ErrUnsupported):
		return http.StatusNotImplemented
	case errors.Is(err, backend.ErrUnavailable):
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}

// handle adapts a function that returns what to answer as JSON.
func handle(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := f(r)
		if err != nil {
			status := statusOf(err)
			writeJSON(w, status, map[string]any{"error": err.Error(), "status": status})
			return
		}
		writeJSON(w, http.StatusOK, answer)
	}
}

// writeJSON encodes first, so that a value which cannot be encoded still becomes a 500.
func writeJSON(w http.ResponseWriter, status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer could not be encoded","status":500}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) //nolint:errcheck // the asker left
}

// parameters reads a query string and keeps the first error.
type parameters struct {
	values url.Values
	now    time.Time
	err    error
}

func (a *API) parameters(r *http.Request) *parameters {
	p := &parameters{now: a.Now()}
	p.values, p.err = url.ParseQuery(r.URL.RawQuery)
	if p.err != nil {
		p.err = badRequest{"query string: " + p.err.Error()}
	}
	return p
}

func (p *parameters) fail(name, want string) {
	if p.err == nil {
		p.err = badParameter(name, p.values.Get(name), want)
	}
}

func (p *parameters) text(name string) string { return p.values.Get(name) }

// count reads a number from low to high; fallback when absent.
func (p *parameters) count(name string, fallback, low, high int) int {
	if p.text(name) == "" {
		return fallback
	}
	n, err := strconv.Atoi(p.text(name))
	if err != nil || n < low || n > high {
		p.fail(name, fmt.Sprintf("a number from %d to %d", low, high))
		return fallback
	}
	return n
}

// integer reads a number that is not negative; ok is false when it is absent.
func (p *parameters) integer(name string) (n int64, ok bool) {
	if p.text(name) == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(p.text(name), 10, 64)
	if err != nil || n < 0 {
		p.fail(name, "a number that is not negative")
		return 0, false
	}
	return n, true
}

func (p *parameters) duration(name string) time.Duration {
	if p.text(name) == "" {
		return 0
	}
	d, err := time.ParseDuration(p.text(name))
	if err != nil || d < 0 {
		p.fail(name, `a duration such as "150ms" or "2s"`)
		return 0
	}
	return d
}

// moment reads RFC 3339, milliseconds since the epoch, or a duration before now such as "-15m".
func (p *parameters) moment(name string) time.Time {
	text := p.text(name)
	if text == "" {
		return time.Time{}
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms)
	}
	if d, err := time.ParseDuration(text); err == nil && d <= 0 {
		return p.now.Add(d)
	}
	p.fail(name, `a time as RFC 3339, milliseconds since 1970, or before now as in "-15m"`)
	return time.Time{}
}

func (p *parameters) window() backend.Window {
	w := backend.Window{From: p.moment("from"), To: p.moment("to")}
	if p.err == nil && !w.From.IsZero() && !w.To.IsZero() && !w.From.Before(w.To) {
		p.fail("to", "a time after from")
	}
	return w
}

// choice reads one of a few words; the first is the default.
func (p *parameters) choice(name string, words ...string) string {
	text := p.text(name)
	if text == "" {
		return words[0]
	}
	for _, word := range words {
		if text == word {
			return word
		}
	}
	p.fail(name, strings.Join(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "" }), " or "))
	return words[0]
}
