package query

import (
	"encoding/json"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/span"
)

// Jaeger's HTTP API in both shapes: what its UI and Grafana ask (/api/…, jaeger's internal/uimodel) and version 3
// (jaeger-idl, api_v3/query_service.proto), whose traces are OTLP.

// jaegerEnvelope wraps every answer of the older shape.
type jaegerEnvelope struct {
	Data   any                  `json:"data"`
	Total  int                  `json:"total"`
	Limit  int                  `json:"limit"`
	Offset int                  `json:"offset"`
	Errors []format.JaegerError `json:"errors"`
}

// handleJaeger is handle with Jaeger's envelope around the answer, which must be a list.
func handleJaeger[T any](f func(*http.Request) ([]T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		list, err := f(r)
		if err != nil {
			status := statusOf(err)
			writeJSON(w, status, jaegerEnvelope{Errors: []format.JaegerError{{Code: status, Message: err.Error()}}})
			return
		}
		if list == nil {
			list = []T{}
		}
		writeJSON(w, http.StatusOK, jaegerEnvelope{Data: list, Total: len(list)})
	}
}

func (a *API) jaegerServices(r *http.Request) ([]string, error) {
	return a.applicationNames(r.Context(), backend.Window{})
}

func (a *API) jaegerOperations(r *http.Request) ([]string, error) {
	return a.Backend.Names(r.Context(), chi.URLParam(r, "service"))
}

// jaegerOperation is a span name; the store does not index kinds by name.
type jaegerOperation struct {
	Name     string `json:"name"`
	SpanKind string `json:"spanKind"`
}

func (a *API) jaegerOperationKinds(r *http.Request) ([]jaegerOperation, error) {
	service := r.URL.Query().Get("service")
	if service == "" {
		return nil, badParameter("service", "", "the name of a service")
	}
	return a.operations(r, service)
}

func (a *API) operations(r *http.Request, service string) ([]jaegerOperation, error) {
	names, err := a.Backend.Names(r.Context(), service)
	if err != nil {
		return nil, err
	}
	operations := make([]jaegerOperation, len(names))
	for i, name := range names {
		operations[i].Name = name
	}
	return operations, nil
}

func (a *API) jaegerTraces(r *http.Request) ([]format.JaegerTrace, error) {
	p := a.parameters(r)
	if ids := p.values["traceID"]; len(ids) > 0 {
		return a.jaegerTracesByID(r, ids)
	}
	q := backend.Query{
		Window:      backend.Window{From: p.unixMicro("start"), To: p.unixMicro("end")},
		Application: p.text("service"),
		Name:        p.text("operation"),
		MinDuration: p.duration("minDuration"),
		MaxDuration: p.duration("maxDuration"),
		OrderBy:     backend.ByTime,
		Limit:       p.count("limit", 20, 1, 1000),
	}
	if q.Application == "" {
		p.fail("service", "the name of a service")
	}
	q.Tags, q.Status = p.jaegerTags("tag", "tags")
	if p.err != nil {
		return nil, p.err
	}
	return traceLists(r.Context(), a.Backend, q, format.Jaeger)
}

func (a *API) jaegerTracesByID(r *http.Request, ids []string) ([]format.JaegerTrace, error) {
	if len(ids) > 100 {
		return nil, badParameter("traceID", strconv.Itoa(len(ids))+" ids", "at most 100 of them")
	}
	var traces []format.JaegerTrace
	for _, id := range ids {
		spans, err := a.spansOf(r.Context(), id)
		if err != nil {
			return nil, err
		}
		traces = append(traces, format.Jaeger(spans))
	}
	return traces, nil
}

// jaegerTags reads each=key:value (repeatable) and object={"key":"value"} into a tag expression. error=true is how
// Jaeger asks for failed spans, whether they have that tag or OTLP's status.
func (p *parameters) jaegerTags(each, object string) (expression, status string) {
	tags := map[string]string{}
	for _, tag := range p.values[each] {
		key, value, ok := strings.Cut(tag, ":")
		if !ok {
			p.err = badParameter(each, tag, "key:value")
			return "", ""
		}
		tags[key] = value
	}
	if text := p.text(object); text != "" {
		if err := json.Unmarshal([]byte(text), &tags); err != nil {
			p.fail(object, `an object of text values, such as {"http.status_code":"500"}`)
			return "", ""
		}
	}
	if tags["error"] == "true" {
		status = "error"
		delete(tags, "error")
	}
	terms := make([]string, 0, len(tags))
	for key, value := range tags {
		terms = append(terms, tagEquals(key, value))
	}
	sort.Strings(terms)
	return strings.Join(terms, " and "), status
}

func (p *parameters) unixMicro(name string) time.Time {
	µs, ok := p.integer(name)
	if !ok {
		return time.Time{}
	}
	return time.UnixMicro(µs)
}

func (a *API) jaegerTrace(r *http.Request) ([]format.JaegerTrace, error) {
	spans, err := a.spansOf(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		return nil, err
	}
	return []format.JaegerTrace{format.Jaeger(spans)}, nil
}

func (a *API) jaegerDependencies(r *http.Request) ([]zipkinDependency, error) {
	p := a.parameters(r)
	w := p.lookback(24 * time.Hour)
	if p.err != nil {
		return nil, p.err
	}
	return dependencies(r.Context(), a.Backend, w)
}

func (a *API) jaeger3Services(r *http.Request) (any, error) {
	services, err := a.applicationNames(r.Context(), backend.Window{})
	return map[string]any{"services": services}, err
}

func (a *API) jaeger3Operations(r *http.Request) (any, error) {
	service := r.URL.Query().Get("service")
	if service == "" {
		return nil, badParameter("service", "", "the name of a service")
	}
	operations, err := a.operations(r, service)
	return map[string]any{"operations": operations}, err
}

// camelCase are the names that newer versions of Jaeger give the parameters of a search; they take the older ones too.
func camelCase() map[string]string {
	return map[string]string{
		"query.serviceName": "query.service_name", "query.operationName": "query.operation_name",
		"query.startTimeMin": "query.start_time_min", "query.startTimeMax": "query.start_time_max",
		"query.durationMin": "query.duration_min", "query.durationMax": "query.duration_max",
		"query.searchDepth": "query.search_depth",
	}
}

func (a *API) jaeger3Traces(r *http.Request) (any, error) {
	p := a.parameters(r)
	for name, older := range camelCase() {
		if values, ok := p.values[name]; ok {
			p.values[older] = values
		}
	}
	q := backend.Query{
		Window:      backend.Window{From: p.moment("query.start_time_min"), To: p.moment("query.start_time_max")},
		Application: p.text("query.service_name"),
		Name:        p.text("query.operation_name"),
		MinDuration: p.duration("query.duration_min"),
		MaxDuration: p.duration("query.duration_max"),
		OrderBy:     backend.ByTime,
		Limit:       p.count("query.search_depth", p.count("query.num_traces", 20, 1, 1000), 1, 1000),
	}
	if p.err == nil && (q.From.IsZero() || q.To.IsZero()) {
		p.fail("query.start_time_min", "a time as RFC 3339, and query.start_time_max too")
	}
	q.Tags, q.Status = p.jaegerTags("", "query.attributes")
	if p.err != nil {
		return nil, p.err
	}
	traces, err := traceLists(r.Context(), a.Backend, q, func(spans []span.Span) []span.Span { return spans })
	if err != nil {
		return nil, err
	}
	var all []span.Span
	for _, spans := range traces {
		all = append(all, spans...)
	}
	return map[string]any{"result": format.OTLP(all)}, nil
}

func (a *API) jaeger3Trace(r *http.Request) (any, error) {
	spans, err := a.spansOf(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"result": format.OTLP(spans)}, nil
}
