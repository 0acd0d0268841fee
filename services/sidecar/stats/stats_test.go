package stats_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"example.com/bookinfo/services/sidecar/report"
	"example.com/bookinfo/services/sidecar/stats"
	"example.com/bookinfo/services/sidecar/trace"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func admin(t *testing.T, s *stats.Stats) (*stats.Admin, *trace.Counters) {
	t.Helper()
	reporter, err := report.New("zipkin", report.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reporter.Report(&trace.Span{ID: 1, TraceLow: 1})
	if err := reporter.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var counters trace.Counters
	counters.RandomSampling.Add(7)
	tracing := &stats.Tracing{}
	tracing.AddReporter(reporter)
	tracing.AddTracer("outbound_0.0.0.0_9080", &counters)
	return &stats.Admin{
		Stats: s, Tracing: tracing, State: func() stats.State { return stats.Live },
		Dump: func() any { return map[string]string{"profile": "1.36"} },
	}, &counters
}

func TestIstioMetrics(t *testing.T) {
	s := stats.New()
	from := &stats.Workload{
		Name: "productpage-v1", Namespace: "default", App: "productpage", Version: "v1", Service: "productpage",
		Revision: "v1", Cluster: "Kubernetes", Principal: "spiffe://cluster.local/ns/default/sa/bookinfo-productpage",
	}
	to := &stats.Workload{Name: "reviews-v2", Namespace: "default", App: "reviews", Version: "v2", Service: "reviews", Revision: "v2", Cluster: "Kubernetes"}
	ok := stats.Request{
		Reporter: stats.Source, From: from, To: to, Service: "reviews.default.svc.cluster.local", ServiceName: "reviews",
		ServiceNamespace: "default", Status: 200, Duration: 7 * time.Millisecond, RequestBytes: 0, ResponseBytes: 400,
	}
	s.Count(&ok)
	s.Count(&ok)
	s.Count(&stats.Request{Reporter: stats.Destination, To: to, Status: 503, Flags: "UF,URX", GRPC: true, GRPCStatus: "14"})

	a, _ := admin(t, s)
	code, body := get(t, a.Handler(), "/stats/prometheus")
	if code != 200 {
		t.Fatalf("status %d", code)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{
		"source": {
			"reporter": "source", "source_workload": "productpage-v1", "source_canonical_service": "productpage",
			"source_canonical_revision": "v1", "source_workload_namespace": "default",
			"source_principal": "spiffe://cluster.local/ns/default/sa/bookinfo-productpage", "source_app": "productpage",
			"source_version": "v1", "source_cluster": "Kubernetes", "destination_workload": "reviews-v2",
			"destination_workload_namespace": "default", "destination_principal": "unknown",
			"destination_app": "reviews", "destination_version": "v2",
			"destination_service":           "reviews.default.svc.cluster.local",
			"destination_canonical_service": "reviews", "destination_canonical_revision": "v2",
			"destination_service_name": "reviews", "destination_service_namespace": "default",
			"destination_cluster": "Kubernetes", "request_protocol": "http", "response_code": "200",
			"grpc_response_status": "", "response_flags": "-", "connection_security_policy": "unknown",
		},
		"destination": {
			"reporter": "destination", "source_workload": "unknown", "destination_service": "unknown",
			"request_protocol": "grpc", "response_code": "503", "grpc_response_status": "14",
			"response_flags": "UF,URX", "connection_security_policy": "none",
		},
	}
	for _, name := range []string{
		"istio_requests_total", "istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes",
	} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		for _, m := range families[name].Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if len(labels) != 25 {
				t.Errorf("%s has the labels %v, want Istio's 25", name, slices.Sorted(maps.Keys(labels)))
			}
			for label, value := range want[labels["reporter"]] {
				if labels[label] != value {
					t.Errorf("%s: %s is %q, want %q", name, label, labels[label], value)
				}
			}
			count := map[string]float64{"source": 2, "destination": 1}[labels["reporter"]]
			if m.Counter != nil && m.Counter.GetValue() != count {
				t.Errorf("%s: %v, want %v", name, m.Counter.GetValue(), count)
			}
			if m.Histogram != nil && float64(m.Histogram.GetSampleCount()) != count {
				t.Errorf("%s: %v samples, want %v", name, m.Histogram.GetSampleCount(), count)
			}
		}
	}
	for _, line := range []string{
		"envoy_tracing_zipkin_spans_sent 1", "envoy_tracing_zipkin_reports_skipped_no_cluster 1",
		`envoy_http_tracing_random_sampling{envoy_http_conn_manager_prefix="outbound_0.0.0.0_9080"} 7`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("lacks %s", line)
		}
	}
}

func TestAdmin(t *testing.T) {
	a, _ := admin(t, stats.New())
	state := stats.Starting
	a.State = func() stats.State { return state }
	h := a.Handler()
	for _, tt := range []struct {
		state stats.State
		code  int
		body  string
	}{
		{stats.Starting, 503, "PRE_INITIALIZING\n"}, {stats.Live, 200, "LIVE\n"}, {stats.Draining, 503, "DRAINING\n"},
	} {
		state = tt.state
		if code, body := get(t, h, "/ready"); code != tt.code || body != tt.body {
			t.Errorf("%s: %d %q, want %d %q", tt.state, code, body, tt.code, tt.body)
		}
	}
	if _, body := get(t, h, "/config_dump"); body != "{\n \"profile\": \"1.36\"\n}\n" {
		t.Errorf("config_dump is %q", body)
	}
	_, body := get(t, h, "/stats")
	for _, line := range []string{
		"tracing.zipkin.spans_sent: 1\n", "http.outbound_0.0.0.0_9080.tracing.random_sampling: 7\n",
	} {
		if !strings.Contains(body, line) {
			t.Errorf("/stats lacks %q:\n%s", line, body)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/config_dump", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered with %d", w.Code)
	}
}

// A client that asks for ever new hosts must not grow the memory.
func TestSeriesAreBounded(t *testing.T) {
	s := stats.New()
	for i := range 800 {
		s.Count(&stats.Request{Reporter: stats.Source, Service: fmt.Sprintf("host%d.example", i), Status: 404, Flags: "NR"})
	}
	a, _ := admin(t, s)
	_, body := get(t, a.Handler(), "/stats/prometheus")
	if n := strings.Count(body, "\nistio_requests_total{"); n != 501 {
		t.Errorf("%d series, want 500 and one for the rest", n)
	}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "istio_requests_total{") && strings.Contains(line, `destination_service="unknown"`) {
			if !strings.HasSuffix(line, " 300\n") {
				t.Errorf("the rest is counted as %s", line)
			}
			return
		}
	}
	t.Error("nothing counts the rest")
}

func BenchmarkCount(b *testing.B) {
	s := stats.New()
	r := stats.Request{
		Reporter: stats.Source, From: &stats.Workload{Name: "a"}, To: &stats.Workload{Name: "b"},
		Service: "reviews.default.svc.cluster.local", ServiceName: "reviews", ServiceNamespace: "default", Status: 200,
		Duration: 7 * time.Millisecond,
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Count(&r)
	}
}
