package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/bookinfo/internal/telemetry"
)

// Observer stands around the handler of a service: it logs and counts its requests, holds their bodies to the limit,
// and adds what every service has beside its own routes, /livez, /readyz and /metrics.
type Observer struct {
	Log      *slog.Logger
	Registry *prometheus.Registry
	// Draining, if not nil, says that the service was asked to stop.
	Draining *atomic.Bool
	// Trace, if not nil, is put around the service's routes, but not around /livez, /readyz and /metrics: it records
	// spans or captures headers.
	Trace func(http.Handler) http.Handler
}

// Handler returns next with everything that the Observer adds.
func (o Observer) Handler(next http.Handler) http.Handler {
	durations := newDurations(o.Registry)
	var routes http.Handler = observed{next: next, log: o.Log, durations: durations, draining: o.Draining}
	if o.Trace != nil {
		routes = o.Trace(routes)
	}
	metrics := metricsHandler(o.Registry)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/livez":
			o.probe(w, true)
		case "/readyz":
			o.probe(w, o.Draining == nil || !o.Draining.Load())
		case "/metrics", "/metrics/": // the original takes both
			metrics.ServeHTTP(w, r)
		default:
			routes.ServeHTTP(w, r)
		}
	})
}

func (o Observer) probe(w http.ResponseWriter, ok bool) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("draining\n"))
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

type observed struct {
	next      http.Handler
	log       *slog.Logger
	durations durations
	draining  *atomic.Bool
}

// record is what is known of one request and its answer. It is also the http.ResponseWriter that the service sees, so
// that a request costs one allocation for both.
type record struct {
	http.ResponseWriter
	header http.Header // of the request
	route  chi.Context
	status int
	bytes  int64
	err    error
}

type recordKey struct{}

func recordOf(ctx context.Context) *record {
	rec, _ := ctx.Value(recordKey{}).(*record)
	return rec
}

// requestContext carries the record and chi's route context in one allocation; chi finds its own by chi.RouteCtxKey
// and then does not make another.
type requestContext struct {
	context.Context
	rec *record
}

func (c *requestContext) Value(key any) any {
	switch key {
	case recordKey{}:
		return c.rec
	case chi.RouteCtxKey:
		return &c.rec.route
	}
	return c.Context.Value(key)
}

func (o observed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &record{ResponseWriter: w, header: r.Header}
	r = r.WithContext(&requestContext{r.Context(), rec})
	if o.draining != nil && o.draining.Load() {
		// The caller opens its next connection elsewhere, before this one is closed under it.
		w.Header().Set("Connection", "close")
	}
	defer func() {
		cut := o.recovered(r, rec, recover())
		if rec.status == 0 {
			rec.status = http.StatusOK
		}
		route := withoutRegexps(rec.route.RoutePattern())
		telemetry.NameByRoute(r.Context(), r.Method, route)
		took := time.Since(start)
		logRequest(o.log, r, rec, start, took)
		o.durations.observe(r.Method, route, rec.status, took)
		if cut {
			panic(http.ErrAbortHandler)
		}
	}()

	if err := limitBody(w, r); err != nil {
		refusal := asError(err)
		w.Header().Set("Connection", "close")
		http.Error(rec, refusal.Message, refusal.Status)
		linger(w, r)
		return
	}
	o.next.ServeHTTP(rec, r)
}

// limitBody holds the body of a request to MaxBodyBytes. One whose length was not told is read first, since only its
// end shows whether it is too long, and not every handler looks at a body.
func limitBody(w http.ResponseWriter, r *http.Request) error {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return nil
	case r.ContentLength > MaxBodyBytes:
		return &http.MaxBytesError{Limit: MaxBodyBytes}
	}
	limited := http.MaxBytesReader(w, r.Body, MaxBodyBytes)
	if r.ContentLength >= 0 {
		r.Body = limited
		return nil
	}
	body, err := io.ReadAll(limited)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case err != nil:
		return &Error{Status: http.StatusBadRequest, Message: "the body cannot be read", Err: err}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// linger sends the answer and reads on for a while what the client is still sending: closing the connection under it
// would reset it, and the answer would be lost.
func linger(w http.ResponseWriter, r *http.Request) {
	if http.NewResponseController(w).Flush() == nil {
		_, _ = io.CopyN(io.Discard, r.Body, 4*MaxBodyBytes) // nobody misses it
	}
}

// withoutRegexps turns {id:[0-9]+} of chi's patterns into {id}, as the semantic conventions write a route.
func withoutRegexps(pattern string) string {
	if !strings.Contains(pattern, ":") {
		return pattern
	}
	var route strings.Builder
	depth, inRegexp := 0, false // a regular expression may hold braces itself
	for _, c := range pattern {
		switch c {
		case '{':
			depth++
		case '}':
			depth--
			inRegexp = inRegexp && depth > 0
		case ':':
			inRegexp = inRegexp || depth > 0
		}
		if !inRegexp {
			route.WriteRune(c)
		}
	}
	return route.String()
}

// recovered makes a panic one request's failure and not the process's. It tells whether the connection must be cut: when
// the handler asked for it by http.ErrAbortHandler, or when a part of the answer is on its way already.
func (o observed) recovered(r *http.Request, rec *record, cause any) (cut bool) {
	if cause == nil {
		return false
	}
	if cause == http.ErrAbortHandler { //nolint:errorlint // the very value, as net/http compares it
		return true
	}
	o.log.ErrorContext(r.Context(), "panic", "cause", cause, "stack", string(debug.Stack()))
	if rec.status != 0 {
		return true
	}
	http.Error(rec, "internal error", http.StatusInternalServerError)
	return false
}

func (rec *record) WriteHeader(status int) {
	if rec.status == 0 && status >= http.StatusOK {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *record) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	n, err := rec.ResponseWriter.Write(p)
	rec.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the writer of the server.
func (rec *record) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// fail remembers why a request failed, for its log line. It may be called on nil.
func (rec *record) fail(err error) {
	var told *Error
	if rec == nil || errors.As(err, &told) && told.Err == nil {
		return
	}
	rec.err = err
}
