package ingest

import (
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// sidecarTags are the 20 tags of a sidecar's span.
func sidecarTags() [][2]string {
	return [][2]string{{"component", "proxy"}, {"downstream_cluster", "-"}, {"guid:x-request-id", "42ff2b1e-0e3c-9b5d-a1c1-7f0f8d3f1a11"},
		{"http.method", "GET"}, {"http.protocol", "HTTP/1.1"}, {"http.status_code", "200"}, {"http.url", "http://reviews.default.svc.cluster.local:9080/reviews/0"},
		{"istio.canonical_revision", "v1"}, {"istio.canonical_service", "productpage"}, {"istio.cluster_id", "Kubernetes"}, {"istio.mesh_id", "cluster.local"},
		{"istio.namespace", "default"}, {"node_id", "sidecar~10.0.0.7~productpage-v1-0.default~default.svc.cluster.local"}, {"peer.address", "10.0.0.7"},
		{"request_size", "0"}, {"response_flags", "-"}, {"response_size", "295"}, {"upstream_cluster", "outbound|9080||reviews.default.svc.cluster.local"},
		{"upstream_cluster.name", "outbound|9080||reviews.default.svc.cluster.local;"}, {"user_agent", "Mozilla/5.0 (X11; Linux x86_64)"}}
}

const perPost = 1000

func BenchmarkOTLP(b *testing.B) {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "productpage.default")
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	for i := range perPost {
		s := spans.AppendEmpty()
		s.SetTraceID([16]byte{1, byte(i)})
		s.SetSpanID([8]byte{byte(i), byte(i >> 8), 1})
		s.SetName("reviews.default.svc.cluster.local:9080/*")
		s.SetStartTimestamp(1700000000000000000)
		s.SetEndTimestamp(1700000000002000000)
		for _, t := range sidecarTags() {
			s.Attributes().PutStr(t[0], t[1])
		}
	}
	body, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		b.Fatal(err)
	}
	text := string(body)
	var batch Batch
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := batch.OTLP(text, received, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*perPost), "ns/span")
}

func BenchmarkZipkinJSON(b *testing.B) {
	var tags []string
	for _, t := range sidecarTags() {
		tags = append(tags, fmt.Sprintf("%q:%q", t[0], t[1]))
	}
	var spans []string
	for i := range perPost {
		spans = append(spans, fmt.Sprintf(`{"traceId":"%032x","id":"%016x","name":"reviews.default.svc.cluster.local:9080/*","kind":"CLIENT","timestamp":1700000000000000,"duration":2000,"localEndpoint":{"serviceName":"productpage.default","ipv4":"10.0.0.7","port":0},"annotations":[{"value":"cr","timestamp":1700000000002000}],"tags":{%s}}`, i+1, i+1, strings.Join(tags, ",")))
	}
	text := "[" + strings.Join(spans, ",") + "]"
	var batch Batch
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := batch.ZipkinJSON(text, received, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*perPost), "ns/span")
}
