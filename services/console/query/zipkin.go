package query

import (
	"context"
	"errors"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/span"
)

// Zipkin's API v2 as zipkin2-api.yaml (openzipkin/zipkin-api) describes it. Service names keep their case: Zipkin's
// own server lowers them, and then finds nothing by the name that the sender knows.

func (a *API) zipkinRoutes(r chi.Router, prefix string) {
	r.Get(prefix+"/services", handle(a.zipkinServices))
	r.Get(prefix+"/spans", handle(a.zipkinSpanNames))
	r.Get(prefix+"/remoteServices", handle(a.zipkinRemoteServices))
	r.Get(prefix+"/traces", handle(a.zipkinTraces))
	r.Get(prefix+"/trace/{id}", handle(a.zipkinTrace))
	r.Get(prefix+"/traceMany", handle(a.zipkinTraceMany))
	r.Get(prefix+"/dependencies", handle(a.zipkinDependencies))
	r.Get(prefix+"/autocompleteKeys", handle(a.zipkinAutocompleteKeys))
	r.Get(prefix+"/autocompleteValues", handle(a.zipkinAutocompleteValues))
}

// zipkinConfig is what Zipkin's UI asks for first (openzipkin/zipkin, zipkin-server, ui properties): how many traces to
// list, how far to look back in milliseconds, and what to offer.
func (a *API) zipkinConfig(*http.Request) (any, error) {
	return map[string]any{
		"environment":     "",
		"queryLimit":      10,
		"defaultLookback": (15 * time.Minute).Milliseconds(),
		"searchEnabled":   true,
		"logsUrl":         nil,
		"supportUrl":      nil,
		"archivePostUrl":  nil,
		"archiveUrl":      nil,
		"dependency":      map[string]any{"enabled": true, "lowErrorRate": 0.5, "highErrorRate": 0.75},
	}, nil
}

func (a *API) applicationNames(ctx context.Context, w backend.Window) ([]string, error) {
	applications, err := a.Backend.Applications(ctx, w)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(applications))
	for i := range applications {
		names[i] = applications[i].Name
	}
	sort.Strings(names)
	return names, nil
}

func (a *API) zipkinServices(r *http.Request) (any, error) {
	return a.applicationNames(r.Context(), backend.Window{})
}

func (a *API) zipkinSpanNames(r *http.Request) (any, error) {
	service := r.URL.Query().Get("serviceName")
	if service == "" {
		return nil, badParameter("serviceName", "", "the name of a service")
	}
	return orEmpty(a.Backend.Names(r.Context(), service))
}

func (a *API) zipkinRemoteServices(r *http.Request) (any, error) {
	service := r.URL.Query().Get("serviceName")
	if service == "" {
		return nil, badParameter("serviceName", "", "the name of a service")
	}
	topology, err := a.Backend.Topology(r.Context(), service, backend.Window{})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	names := []string{}
	for _, e := range topology.Edges {
		if e.From == service && !seen[e.To] {
			seen[e.To] = true
			names = append(names, e.To)
		}
	}
	sort.Strings(names)
	return names, nil
}

func (a *API) zipkinTraces(r *http.Request) (any, error) {
	p := a.parameters(r)
	q := backend.Query{
		Window:      p.lookback(24 * time.Hour),
		Application: p.text("serviceName"),
		Name:        p.text("spanName"),
		MinDuration: p.microseconds("minDuration"),
		MaxDuration: p.microseconds("maxDuration"),
		Tags:        annotationQuery(p.text("annotationQuery")),
		OrderBy:     backend.ByTime,
		Limit:       p.count("limit", 10, 1, 1000),
		EdgeTo:      p.text("remoteServiceName"),
	}
	if q.Name == "all" {
		q.Name = "" // what Zipkin's UI sends for every name
	}
	if q.EdgeTo != "" {
		q.EdgeFrom = q.Application
	}
	if p.err != nil {
		return nil, p.err
	}
	return traceLists(r.Context(), a.Backend, q, format.Zipkin)
}

// traceLists finds traces and converts the spans of each. A trace that was evicted in between is left out.
func traceLists[T any](ctx context.Context, b backend.Backend, q backend.Query, convert func([]span.Span) T) ([]T, error) {
	found, err := b.Search(ctx, q)
	if err != nil {
		return nil, err
	}
	traces := make([]T, 0, len(found.Traces))
	for _, summary := range found.Traces {
		spans, err := b.Trace(ctx, summary.TraceID)
		if errors.Is(err, span.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		traces = append(traces, convert(spans))
	}
	return traces, nil
}

func (a *API) spansOf(ctx context.Context, id string) ([]span.Span, error) {
	traceID, err := span.ParseTraceID(id)
	if err != nil {
		return nil, badRequest{err.Error()}
	}
	return a.Backend.Trace(ctx, traceID)
}

func (a *API) zipkinTrace(r *http.Request) (any, error) {
	spans, err := a.spansOf(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		return nil, err
	}
	return format.Zipkin(spans), nil
}

func (a *API) zipkinTraceMany(r *http.Request) (any, error) {
	ids := strings.Split(r.URL.Query().Get("traceIds"), ",")
	if len(ids) < 2 || len(ids) > 100 {
		return nil, badParameter("traceIds", r.URL.Query().Get("traceIds"), "2 to 100 trace ids with commas between them")
	}
	traces := [][]format.ZipkinSpan{}
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			return nil, badParameter("traceIds", id, "each id once")
		}
		seen[id] = true
		spans, err := a.spansOf(r.Context(), id)
		if errors.Is(err, span.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		traces = append(traces, format.Zipkin(spans))
	}
	return traces, nil
}

// zipkinDependency is a link of Zipkin's dependency graph.
type zipkinDependency struct {
	Parent     string `json:"parent"`
	Child      string `json:"child"`
	CallCount  int64  `json:"callCount"`
	ErrorCount int64  `json:"errorCount,omitempty"`
}

func (a *API) zipkinDependencies(r *http.Request) (any, error) {
	p := a.parameters(r)
	if p.text("endTs") == "" {
		p.fail("endTs", "milliseconds since 1970")
	}
	w := p.lookback(24 * time.Hour)
	if p.err != nil {
		return nil, p.err
	}
	return dependencies(r.Context(), a.Backend, w)
}

// dependencies adds the versions of each pair of applications together.
func dependencies(ctx context.Context, b backend.Backend, w backend.Window) ([]zipkinDependency, error) {
	topology, err := b.Topology(ctx, "", w)
	if err != nil {
		return nil, err
	}
	links := []zipkinDependency{}
	at := map[[2]string]int{}
	for _, e := range topology.Edges {
		key := [2]string{e.From, e.To}
		i, ok := at[key]
		if !ok {
			i = len(links)
			at[key] = i
			links = append(links, zipkinDependency{Parent: e.From, Child: e.To})
		}
		links[i].CallCount += e.Requests
		links[i].ErrorCount += e.Errors
	}
	return links, nil
}

func (a *API) zipkinAutocompleteKeys(r *http.Request) (any, error) {
	return orEmpty(a.Backend.TagKeys(r.Context(), "", 200))
}

func (a *API) zipkinAutocompleteValues(r *http.Request) (any, error) {
	key := r.URL.Query().Get("key")
	if key == "" {
		return nil, badParameter("key", "", "the name of a tag")
	}
	return orEmpty(a.Backend.TagValues(r.Context(), key, "", 200))
}

// orEmpty makes a nil list [] and not null.
func orEmpty(list []string, err error) (any, error) {
	if list == nil {
		list = []string{}
	}
	return list, err
}

// lookback reads Zipkin's endTs and lookback, both in milliseconds.
func (p *parameters) lookback(fallback time.Duration) backend.Window {
	end := p.now
	if ms, ok := p.integer("endTs"); ok {
		end = time.UnixMilli(ms)
	}
	length := fallback
	if ms, ok := p.integer("lookback"); ok {
		length = time.Duration(min(ms, 366*24*3600*1000)) * time.Millisecond
	}
	// endTs is inclusive.
	return backend.Window{From: end.Add(-length), To: end.Add(time.Millisecond)}
}

func (p *parameters) microseconds(name string) time.Duration {
	µs, _ := p.integer(name)
	return time.Duration(min(µs, 366*24*3600*1e6)) * time.Microsecond
}

// annotationQuery turns Zipkin's "error and http.method=GET" into a tag expression: a key alone asks whether the tag
// is there.
func annotationQuery(text string) string {
	var terms []string
	for _, term := range strings.Split(text, " and ") {
		term = strings.TrimSpace(term)
		if term == "" {
			continue
		}
		key, value, equals := strings.Cut(term, "=")
		if equals {
			terms = append(terms, tagEquals(key, value))
		} else {
			terms = append(terms, tagExists(key))
		}
	}
	return strings.Join(terms, " and ")
}

func tagEquals(key, value string) string { return quoted(key) + " = " + quoted(value) }

func tagExists(key string) string { return quoted(key) }

// quoted writes a key or a value as a tag expression has it: only quotes and backslashes are escaped.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
