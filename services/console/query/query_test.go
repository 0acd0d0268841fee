package query_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"

	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/query"
	"example.com/bookinfo/services/console/recorded"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/store"
)

// asker is an API over a store with Bookinfo's whole trace, ten times, one of them failing.
type asker struct {
	t       *testing.T
	handler http.Handler
	traces  []span.TraceID // by start
	now     time.Time
}

func newAsker(t *testing.T) *asker {
	t.Helper()
	a := &asker{t: t, now: time.Unix(1_700_000_000, 0)}
	clock := func() time.Time { return a.now }
	s := store.New(store.Options{Now: clock})
	chain := recorded.Find(t, "all/b3/gateway-two-spans")
	for i := range 10 {
		o := recorded.Options{Start: a.now, Seed: uint64(i + 1)}
		if i == 7 {
			o.Fail = "ratings.default"
		}
		spans := chain.Spans(o)
		a.traces = append(a.traces, spans[0].TraceID)
		s.Append(spans)
		a.now = a.now.Add(time.Minute)
	}
	r := chi.NewRouter()
	(&query.API{Backend: s, Now: clock, Examine: func(context.Context, []span.Span) []doctor.Finding {
		return []doctor.Finding{{Kind: doctor.ContextLost, Application: "reviews.default", Evidence: []doctor.Evidence{{TraceID: a.traces[0], SpanID: 1}}}}
	}}).Routes(r)
	a.handler = r
	return a
}

// get decodes the answer into out and gives the status.
func (a *asker) get(path string, out any) int {
	a.t.Helper()
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if out != nil {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			a.t.Fatalf("GET %s: %v in %s", path, err, w.Body)
		}
	}
	return w.Code
}

func list[T any](a *asker, path string) (items []T) {
	a.t.Helper()
	if code := a.get(path, &items); code != http.StatusOK {
		a.t.Fatalf("GET %s: %d", path, code)
	}
	return items
}

var applications = []string{"details.default", "istio-ingressgateway.istio-system", "productpage.default", "ratings.default", "reviews.default"}

func TestZipkinAnswersAsItsOpenAPISays(t *testing.T) {
	a := newAsker(t)
	if diff := cmp.Diff(applications, list[string](a, "/api/v2/services")); diff != "" {
		t.Errorf("services:\n%s", diff)
	}
	if got := list[string](a, "/api/v2/spans?serviceName=ratings.default"); len(got) != 1 || !strings.HasPrefix(got[0], "ratings.default.svc") {
		t.Errorf("spans: %q", got)
	}
	if diff := cmp.Diff([]string{"details.default", "reviews.default"}, list[string](a, "/api/v2/remoteServices?serviceName=productpage.default")); diff != "" {
		t.Errorf("remoteServices:\n%s", diff)
	}
	type zipkinSpan struct {
		TraceID, ID, ParentID, Kind, Name string
		Timestamp, Duration               int64
		LocalEndpoint                     struct{ ServiceName string }
		Tags                              map[string]string
	}
	end := fmt.Sprintf("&endTs=%d&lookback=3600000", a.now.UnixMilli())
	traces := list[[]zipkinSpan](a, "/api/v2/traces?serviceName=reviews.default&limit=3"+end)
	if len(traces) != 3 || len(traces[0]) != 9 {
		t.Fatalf("%d traces, the first of %d spans; want 3 of 9", len(traces), len(traces[0]))
	}
	if got, want := traces[0][0].TraceID, a.traces[9].String(); got != want {
		t.Errorf("newest trace %s, want %s", got, want)
	}
	if got := list[[]zipkinSpan](a, "/api/v2/traces?annotationQuery="+url.QueryEscape("error and http.status_code=500")+end); len(got) != 1 || got[0][0].TraceID != a.traces[7].String() {
		t.Errorf("annotationQuery finds %d traces", len(got))
	}
	one := list[zipkinSpan](a, "/api/v2/trace/"+a.traces[2].String())
	roots := slices.DeleteFunc(slices.Clone(one), func(s zipkinSpan) bool { return s.ParentID != "" })
	if len(one) != 9 || len(roots) != 1 || roots[0].LocalEndpoint.ServiceName != "istio-ingressgateway.istio-system" || roots[0].Duration == 0 {
		t.Errorf("trace: %d spans, roots %+v", len(one), roots)
	}
	if got := list[[]zipkinSpan](a, "/api/v2/traceMany?traceIds="+a.traces[1].String()+","+a.traces[2].String()+",00000000000000000000000000000abc"); len(got) != 2 {
		t.Errorf("traceMany: %d traces, want the 2 that exist", len(got))
	}
	type link struct {
		Parent, Child         string
		CallCount, ErrorCount int64
	}
	links := list[link](a, "/api/v2/dependencies?endTs="+fmt.Sprint(a.now.UnixMilli()))
	slices.SortFunc(links, func(a, b link) int { return strings.Compare(a.Parent+a.Child, b.Parent+b.Child) })
	want := []link{
		{"istio-ingressgateway.istio-system", "productpage.default", 10, 0},
		{"productpage.default", "details.default", 10, 0},
		{"productpage.default", "reviews.default", 10, 0},
		{"reviews.default", "ratings.default", 10, 1},
	}
	for i := range links {
		if links[i].Child != "ratings.default" {
			links[i].ErrorCount = 0 // whether an error travels up is the recording's
		}
	}
	if diff := cmp.Diff(want, links); diff != "" {
		t.Errorf("dependencies (-want +got):\n%s", diff)
	}
	if got := list[string](a, "/api/v2/autocompleteKeys"); !slices.Contains(got, "http.status_code") {
		t.Errorf("autocompleteKeys: %q", got)
	}
	if got := list[string](a, "/api/v2/autocompleteValues?key=http.status_code"); !slices.Contains(got, "200") {
		t.Errorf("autocompleteValues: %q", got)
	}
}

func TestJaegerAnswersInBothShapes(t *testing.T) {
	a := newAsker(t)
	type envelope[T any] struct {
		Data   []T
		Total  int
		Errors []struct {
			Code int
			Msg  string
		}
	}
	var services envelope[string]
	a.get("/api/services", &services)
	if diff := cmp.Diff(applications, services.Data); diff != "" || services.Total != 5 {
		t.Errorf("services:\n%s", diff)
	}
	var operations envelope[string]
	a.get("/api/services/details.default/operations", &operations)
	if len(operations.Data) != 1 {
		t.Errorf("operations: %+v", operations)
	}
	type trace struct {
		TraceID string
		Spans   []struct {
			SpanID, OperationName, ProcessID string
			References                       []struct{ RefType, SpanID string }
			StartTime, Duration              int64
		}
		Processes map[string]struct{ ServiceName string }
	}
	var traces envelope[trace]
	if code := a.get("/api/traces?service=ratings.default&tags="+url.QueryEscape(`{"http.status_code":"500"}`), &traces); code != 200 || len(traces.Data) != 1 {
		t.Fatalf("traces: %d, %d of them", code, len(traces.Data))
	}
	found := traces.Data[0]
	if found.TraceID != a.traces[7].String() || len(found.Spans) != 9 || len(found.Processes) != 5 {
		t.Errorf("trace %s of %d spans and %d processes", found.TraceID, len(found.Spans), len(found.Processes))
	}
	var one envelope[trace]
	a.get("/api/traces/"+a.traces[0].String(), &one)
	if len(one.Data) != 1 || one.Data[0].TraceID != a.traces[0].String() {
		t.Errorf("one trace: %+v", one.Data)
	}
	var missing envelope[trace]
	if code := a.get("/api/traces/00000000000000000000000000000abc", &missing); code != 404 || len(missing.Errors) != 1 || missing.Errors[0].Code != 404 {
		t.Errorf("a trace that is not there: %d %+v", code, missing)
	}
	var three struct {
		Result struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []struct{ TraceID string } }
			}
		}
	}
	a.get("/api/v3/traces/"+a.traces[0].String(), &three)
	spans := 0
	for _, r := range three.Result.ResourceSpans {
		for _, s := range r.ScopeSpans {
			spans += len(s.Spans)
		}
	}
	if spans != 9 {
		t.Errorf("v3 trace has %d spans", spans)
	}
	query := "query.start_time_min=" + a.now.Add(-time.Hour).UTC().Format(time.RFC3339) + "&query.start_time_max=" + a.now.UTC().Format(time.RFC3339)
	if code := a.get("/api/v3/traces?query.service_name=reviews.default&"+query, &three); code != 200 || len(three.Result.ResourceSpans) == 0 {
		t.Errorf("v3 traces: %d, %d resources", code, len(three.Result.ResourceSpans))
	}
}

func TestOwnAPI(t *testing.T) {
	a := newAsker(t)
	var apps struct {
		Applications []struct {
			Name             string
			Requests, Errors int64
			Versions         []struct{ Name string }
		}
	}
	a.get("/api/bookinfo/v1/applications", &apps)
	if len(apps.Applications) != 5 || apps.Applications[3].Name != "ratings.default" || apps.Applications[3].Requests != 10 || apps.Applications[3].Errors != 1 {
		t.Errorf("applications: %+v", apps)
	}
	var traces struct {
		Traces []struct {
			TraceID    string
			DurationUs int64
			Spans      int
		}
		More bool
	}
	a.get("/api/bookinfo/v1/traces?limit=4&application=reviews.default", &traces)
	if len(traces.Traces) != 4 || !traces.More || traces.Traces[0].DurationUs < traces.Traces[3].DurationUs {
		t.Errorf("traces by duration: %+v", traces)
	}
	a.get("/api/bookinfo/v1/traces?tags="+url.QueryEscape("http.status_code >= 500"), &traces)
	if len(traces.Traces) != 1 || traces.Traces[0].TraceID != a.traces[7].String() {
		t.Errorf("traces by tag: %+v", traces)
	}
	type node struct {
		Span       struct{ Kind string }
		DurationUs int64
		SelfUs     int64
		Children   []node
	}
	var tree struct {
		Spans    int
		Findings []struct{ Kind, Application string }
		Roots    []node
	}
	a.get("/api/bookinfo/v1/traces/"+a.traces[0].String(), &tree)
	if tree.Spans != 9 || len(tree.Roots) != 1 || tree.Roots[0].SelfUs >= tree.Roots[0].DurationUs || len(tree.Roots[0].Children) != 1 {
		t.Errorf("tree: %+v", tree)
	}
	if len(tree.Findings) != 1 || tree.Findings[0].Kind != "context-lost" || tree.Findings[0].Application != "reviews.default" {
		t.Errorf("findings: %+v", tree.Findings)
	}
	var topology struct {
		Nodes []struct{ Application, Version string }
		Edges []struct {
			From, To string
			Requests int64
		}
	}
	a.get("/api/bookinfo/v1/topology", &topology)
	if len(topology.Nodes) != 5 || len(topology.Edges) != 4 {
		t.Errorf("topology: %+v", topology)
	}
}

func TestWrongQuestionsNameTheParameter(t *testing.T) {
	a := newAsker(t)
	for path, want := range map[string]string{
		"/api/bookinfo/v1/traces?limit=0":                        "limit",
		"/api/bookinfo/v1/traces?minDuration=fast":               "minDuration",
		"/api/bookinfo/v1/traces?order=best":                     "order",
		"/api/bookinfo/v1/traces?from=yesterday":                 "from",
		"/api/bookinfo/v1/traces?from=-1m&to=-2m":                "to",
		"/api/bookinfo/v1/traces?tags=and":                       "tag expression",
		"/api/bookinfo/v1/traces/xyz":                            "trace id",
		"/api/bookinfo/v1/applications/a/metrics?step=1s":        "step",
		"/api/bookinfo/v1/applications/a/metrics?from=-2400000h": "step",
		"/api/v2/traces?limit=-1":                                "limit",
		"/api/v2/traces?minDuration=x":                           "minDuration",
		"/api/v2/spans":                                          "serviceName",
		"/api/v2/dependencies":                                   "endTs",
		"/api/v2/traceMany?traceIds=1":                           "traceIds",
		"/api/v2/traceMany?traceIds=1,1":                         "traceIds",
		"/api/v2/autocompleteValues":                             "key",
		"/api/v3/traces":                                         "query.start_time_min",
		"/api/bookinfo/v1/traces?x=%zz":                          "query string",
	} {
		var answer struct{ Error string }
		if code := a.get(path, &answer); code != http.StatusBadRequest || !strings.Contains(answer.Error, want) {
			t.Errorf("GET %s: %d %q, want 400 naming %q", path, code, answer.Error, want)
		}
	}
	var jaeger struct{ Errors []struct{ Msg string } }
	if code := a.get("/api/traces", &jaeger); code != http.StatusBadRequest || !strings.Contains(jaeger.Errors[0].Msg, "service") {
		t.Errorf("Jaeger without service: %d %+v", code, jaeger)
	}
	var answer struct{ Error string }
	if code := a.get("/api/bookinfo/v1/usage", &answer); code != http.StatusNotImplemented {
		t.Errorf("usage without a console of its own: %d", code)
	}
	if code := a.get("/api/v2/trace/00000000000000000000000000000abc", nil); code != http.StatusNotFound {
		t.Errorf("a trace that is not there: %d", code)
	}
}
