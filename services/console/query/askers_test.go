package query_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestRequestsOfTheToolsPeopleHave replays the requests that viewers send, each as that viewer builds it, with all the
// parameters which mean nothing to the console, and looks for what the viewer reads from the answer. A path of want
// descends by keys and indexes; a last part of #n asks for a list of that length.
func TestRequestsOfTheToolsPeopleHave(t *testing.T) {
	a := newAsker(t)
	id := a.traces[7].String()
	micro := func(d time.Duration) string { return fmt.Sprint(a.now.Add(d).UnixMicro()) }
	milli := func(d time.Duration) string { return fmt.Sprint(a.now.Add(d).UnixMilli()) }
	stamp := func(d time.Duration) string { return url.QueryEscape(a.now.Add(d).UTC().Format(time.RFC3339Nano)) }
	for _, c := range []struct {
		tool, request string
		want          map[string]string
	}{
		// Jaeger's UI 1.x (jaeger-ui, packages/jaeger-ui/src/api/jaeger.ts, and its search form).
		{"Jaeger UI, services", "/api/services", map[string]string{"data": "#5", "data.3": "ratings.default", "errors": "null"}},
		{"Jaeger UI, operations", "/api/services/ratings.default/operations", map[string]string{"data": "#1"}},
		{"Jaeger UI, operations by kind", "/api/operations?service=ratings.default", map[string]string{"data": "#1", "data.0.spanKind": ""}},
		{"Jaeger UI, search", "/api/traces?end=" + micro(0) + "&limit=20&lookback=1h&maxDuration&minDuration&service=reviews.default&start=" + micro(-time.Hour),
			map[string]string{"data": "#10", "data.0.spans": "#9", "data.0.spans.0.references": "#0"}},
		{"Jaeger UI, search for errors", "/api/traces?end=" + micro(0) + "&limit=20&lookback=1h&maxDuration&minDuration&operation=ratings.default.svc.cluster.local%3A9080%2F*&service=ratings.default&start=" +
			micro(-time.Hour) + "&tags=%7B%22error%22%3A%22true%22%7D", map[string]string{"data": "#1", "data.0.traceID": id}},
		{"Jaeger UI, search by duration", "/api/traces?end=" + micro(0) + "&limit=20&lookback=1h&maxDuration=1us&minDuration&service=ratings.default&start=" + micro(-time.Hour), map[string]string{"data": "#0"}},
		{"Jaeger UI, a trace", "/api/traces/" + id + "?prettyPrint=true", map[string]string{"data": "#1", "data.0.traceID": id, "data.0.processes.p1.serviceName": "istio-ingressgateway.istio-system"}},
		{"Jaeger UI, comparison", "/api/traces?traceID=" + id + "&traceID=" + a.traces[2].String(), map[string]string{"data": "#2"}},
		{"Jaeger UI, dependencies", "/api/dependencies?endTs=" + milli(0) + "&lookback=604800000", map[string]string{"data": "#4", "data.0.callCount": "10"}},
		// Jaeger's UI 2.x asks version 3 (jaeger-ui, src/api/v3).
		{"Jaeger UI 2, services", "/api/v3/services", map[string]string{"services": "#5"}},
		{"Jaeger UI 2, operations", "/api/v3/operations?service=reviews.default&span_kind=", map[string]string{"operations.0.spanKind": ""}},
		{"Jaeger UI 2, search", "/api/v3/traces?query.serviceName=reviews.default&query.startTimeMin=" + stamp(-time.Hour) + "&query.startTimeMax=" + stamp(0) + "&query.searchDepth=2",
			map[string]string{"result.resourceSpans.0.scopeSpans.0.spans.0.kind": "2"}},
		{"Jaeger UI 2, a trace", "/api/v3/traces/" + id, map[string]string{"result.resourceSpans.0.resource.attributes.0.key": "service.name"}},
		// Grafana's Jaeger data source (grafana, pkg/tsdb/jaeger/client.go).
		{"Grafana, Jaeger, test", "/api/services", map[string]string{"data": "#5"}},
		{"Grafana, Jaeger, operations", "/api/services/istio-ingressgateway.istio-system/operations", map[string]string{"data": "#2"}},
		{"Grafana, Jaeger, search", "/api/traces?end=" + micro(0) + "&limit=20&lookback=custom&service=ratings.default&start=" + micro(-time.Hour) + "&tags=%7B%22http.status_code%22%3A%22500%22%7D&minDuration=1us",
			map[string]string{"data": "#1", "data.0.traceID": id}},
		{"Grafana, Jaeger, search by version 3", "/api/v3/traces?query.service_name=ratings.default&query.attributes=%7B%22error%22%3A%22true%22%7D&query.start_time_min=" + stamp(-time.Hour) + "&query.start_time_max=" + stamp(0),
			map[string]string{"result.resourceSpans.0.scopeSpans.0.spans.0.traceId": id}},
		{"Grafana, Jaeger, dependencies", "/api/dependencies?endTs=" + milli(0) + "&lookback=3600000", map[string]string{"data": "#4"}},
		// Grafana's Zipkin data source (grafana, pkg/tsdb/zipkin/client.go).
		{"Grafana, Zipkin, test", "/api/v2/services", map[string]string{"": "#5"}},
		{"Grafana, Zipkin, span names", "/api/v2/spans?serviceName=ratings.default", map[string]string{"": "#1"}},
		{"Grafana, Zipkin, traces", "/api/v2/traces?serviceName=ratings.default&spanName=ratings.default.svc.cluster.local%3A9080%2F*&endTs=" + milli(0) + "&lookback=3600000", map[string]string{"": "#10", "0": "#9"}},
		{"Grafana, Zipkin, a trace", "/api/v2/trace/" + id, map[string]string{"": "#9", "0.localEndpoint.serviceName": "istio-ingressgateway.istio-system"}},
		// Kiali (kiali, tracing/jaeger/http.go) narrows by the cluster that Istio's proxies put on their spans.
		{"Kiali, traces of an app", "/api/traces?end=" + micro(0) + "&limit=100&service=reviews.default&start=" + micro(-time.Hour) + "&tags=%7B%22istio.cluster_id%22%3A%22Kubernetes%22%7D", map[string]string{"data": "#10"}},
		{"Kiali, another cluster", "/api/traces?end=" + micro(0) + "&limit=100&service=reviews.default&start=" + micro(-time.Hour) + "&tags=%7B%22istio.cluster_id%22%3A%22west%22%7D", map[string]string{"data": "#0"}},
		{"Kiali, a trace", "/api/traces/" + id, map[string]string{"data": "#1"}},
		// Zipkin's UI (zipkin-lens, src/constants/api.ts), below its own path.
		{"Zipkin's UI, configuration", "/zipkin/config.json", map[string]string{"searchEnabled": "true", "defaultLookback": "900000", "dependency.enabled": "true"}},
		{"Zipkin's UI, search", "/zipkin/api/v2/traces?serviceName=ratings.default&annotationQuery=error&limit=10&lookback=3600000&endTs=" + milli(0), map[string]string{"": "#1"}},
		{"Zipkin's UI, a trace", "/zipkin/api/v2/trace/" + id, map[string]string{"": "#9"}},
		{"Zipkin's UI, dependencies", "/zipkin/api/v2/dependencies?lookback=3600000&endTs=" + milli(0), map[string]string{"": "#4"}},
	} {
		t.Run(c.tool, func(t *testing.T) {
			w := httptest.NewRecorder()
			a.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, c.request, nil))
			var answer any
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%d %v: %.300s", w.Code, err, w.Body)
			}
			for path, want := range c.want {
				if got := at(answer, path, want); got != want {
					t.Errorf("%s is %s, want %s in %.500s", path, got, want, w.Body)
				}
			}
		})
	}
}

// at gives the value at a path as text, and a list as #length where the wanted text is of that kind.
func at(value any, path, want string) string {
	for part := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			if part != "" {
				value = v[part]
			}
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err == nil && i < len(v) {
				value = v[i]
			}
		}
	}
	if list, ok := value.([]any); ok && strings.HasPrefix(want, "#") {
		return fmt.Sprintf("#%d", len(list))
	}
	if value == nil {
		return "null"
	}
	return fmt.Sprint(value)
}
