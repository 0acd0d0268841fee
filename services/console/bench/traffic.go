package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// hop is one sidecar's span of Bookinfo's page behind a gateway: 8 spans a trace.
type hop struct {
	service, version, ip, pod, name, upstream string
	server                                    bool
	parent                                    int
}

func hops() []hop {
	cluster := func(s string) string { return "outbound|9080||" + s + ".default.svc.cluster.local" }
	name := func(s string) string { return s + ".default.svc.cluster.local:9080/*" }
	const inbound = "inbound|9080||"
	return []hop{
		{"istio-ingressgateway.istio-system", "latest", "10.0.0.2", "istio-ingressgateway-7d6f.istio-system", name("productpage"), cluster("productpage"), false, -1},
		{"productpage.default", "v1", "10.0.0.7", "productpage-v1-55c6.default", name("productpage"), inbound, true, 0},
		{"productpage.default", "v1", "10.0.0.7", "productpage-v1-55c6.default", name("details"), cluster("details"), false, 1},
		{"details.default", "v1", "10.0.0.8", "details-v1-6997.default", name("details"), inbound, true, 2},
		{"productpage.default", "v1", "10.0.0.7", "productpage-v1-55c6.default", name("reviews"), cluster("reviews"), false, 1},
		{"reviews.default", "v2", "10.0.0.9", "reviews-v2-5d56.default", name("reviews"), inbound, true, 4},
		{"reviews.default", "v2", "10.0.0.9", "reviews-v2-5d56.default", name("ratings"), cluster("ratings"), false, 5},
		{"ratings.default", "v1", "10.0.0.10", "ratings-v1-7dc9.default", name("ratings"), inbound, true, 6},
	}
}

// traffic makes spans as sidecars report them, with ids from a seed.
type traffic struct {
	rnd    *rand.Rand
	hops   []hop
	unique bool // every URL and user agent differs
	start  time.Time
	step   time.Duration // between traces
	n      int
	last   [16]byte // trace id of the last trace
}

func newTraffic(seed uint64, unique bool, start time.Time, step time.Duration) *traffic {
	return &traffic{rnd: rand.New(rand.NewPCG(seed, 1)), hops: hops(), unique: unique, start: start, step: step}
}

// one is a span with the values that differ between requests.
type one struct {
	hop
	trace        [16]byte
	id, parentID uint64
	start        time.Time
	duration     time.Duration
	request, url string
	agent, code  string
	sent, reply  string // sizes
	failed       bool
}

// trace makes the 8 spans of the next trace. One in a hundred fails in ratings.
func (t *traffic) trace() []one {
	var trace [16]byte
	binary.BigEndian.PutUint64(trace[:], t.rnd.Uint64())
	binary.BigEndian.PutUint64(trace[8:], t.rnd.Uint64()|1)
	t.last = trace
	u := make([]byte, 16)
	binary.BigEndian.PutUint64(u, t.rnd.Uint64())
	binary.BigEndian.PutUint64(u[8:], t.rnd.Uint64())
	h := hex.EncodeToString(u)
	request := h[:8] + "-" + h[8:12] + "-9" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
	begin := t.start.Add(time.Duration(t.n) * t.step)
	t.n++
	fails := t.rnd.IntN(100) == 0
	whole := time.Duration(5_000+t.rnd.IntN(20_000)) * time.Microsecond
	spans := make([]one, len(t.hops))
	for i, hp := range t.hops {
		s := one{hop: hp, trace: trace, id: t.rnd.Uint64() | 1, request: request, agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
			url: "http://" + hp.name[:len(hp.name)-2] + "/", code: "200", sent: "0", reply: strconv.Itoa(200 + t.rnd.IntN(300)),
			start: begin.Add(time.Duration(i) * 300 * time.Microsecond), duration: max(whole-time.Duration(2*i)*300*time.Microsecond, time.Millisecond)}
		if hp.parent >= 0 {
			s.parentID = spans[hp.parent].id
		}
		if t.unique {
			s.url += "products/" + strconv.FormatUint(t.rnd.Uint64(), 36) + "?session=" + strconv.FormatUint(t.rnd.Uint64(), 36)
			s.agent += " build/" + strconv.FormatUint(t.rnd.Uint64(), 36)
		}
		if fails && i >= 6 {
			s.code, s.failed = "503", true
		}
		spans[i] = s
	}
	return spans
}

func (s *one) tags() [][2]string {
	tags := [][2]string{
		{"component", "proxy"}, {"downstream_cluster", "-"}, {"guid:x-request-id", s.request}, {"http.method", "GET"},
		{"http.protocol", "HTTP/1.1"}, {"http.status_code", s.code}, {"http.url", s.url},
		{"istio.canonical_revision", s.version}, {"istio.canonical_service", s.service}, {"istio.cluster_id", "Kubernetes"},
		{"istio.mesh_id", "cluster.local"}, {"istio.namespace", "default"},
		{"node_id", "sidecar~" + s.ip + "~" + s.pod + "~default.svc.cluster.local"}, {"peer.address", s.ip},
		{"request_size", s.sent}, {"response_flags", "-"}, {"response_size", s.reply}, {"upstream_cluster", s.upstream},
		{"upstream_cluster.name", s.upstream + ";"}, {"user_agent", s.agent},
	}
	if s.failed {
		tags = append(tags, [2]string{"error", "true"})
	}
	return tags
}

// spans makes at least n spans, whole traces.
func (t *traffic) spans(n int) []one {
	out := make([]one, 0, n+8)
	for len(out) < n {
		out = append(out, t.trace()...)
	}
	return out
}

func zipkinJSON(spans []one) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := range spans {
		s := &spans[i]
		if i > 0 {
			b.WriteByte(',')
		}
		kind, annotation := "CLIENT", "cr"
		if s.server {
			kind, annotation = "SERVER", "ss"
		}
		us := s.start.UnixMicro()
		fmt.Fprintf(&b, `{"traceId":"%x","id":"%016x",`, s.trace, s.id)
		if s.parentID != 0 {
			fmt.Fprintf(&b, `"parentId":"%016x",`, s.parentID)
		}
		fmt.Fprintf(&b, `"name":%q,"kind":%q,"timestamp":%d,"duration":%d,"localEndpoint":{"serviceName":%q,"ipv4":%q,"port":0},"annotations":[{"timestamp":%d,"value":%q}],"tags":{`,
			s.name, kind, us, s.duration.Microseconds(), s.service, s.ip, us+s.duration.Microseconds(), annotation)
		for k, tag := range s.tags() {
			if k > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%q:%q", tag[0], tag[1])
		}
		b.WriteString("}}")
	}
	b.WriteByte(']')
	return b.Bytes()
}

// otlp puts each service's spans under one resource, as a sidecar sends them.
func otlp(spans []one) ptraceotlp.ExportRequest {
	td := ptrace.NewTraces()
	resources := map[string]ptrace.SpanSlice{}
	for i := range spans {
		s := &spans[i]
		slice, ok := resources[s.service]
		if !ok {
			rs := td.ResourceSpans().AppendEmpty()
			a := rs.Resource().Attributes()
			a.PutStr("service.name", s.service)
			a.PutStr("telemetry.sdk.language", "cpp")
			a.PutStr("telemetry.sdk.name", "envoy")
			a.PutStr("telemetry.sdk.version", "1.36.4")
			ss := rs.ScopeSpans().AppendEmpty()
			ss.Scope().SetName("envoy")
			ss.Scope().SetVersion("1.36.4")
			slice = ss.Spans()
			resources[s.service] = slice
		}
		out := slice.AppendEmpty()
		out.SetTraceID(s.trace)
		var id pcommon.SpanID
		binary.BigEndian.PutUint64(id[:], s.id)
		out.SetSpanID(id)
		if s.parentID != 0 {
			binary.BigEndian.PutUint64(id[:], s.parentID)
			out.SetParentSpanID(id)
		}
		out.SetName(s.name)
		out.SetKind(ptrace.SpanKindClient)
		if s.server {
			out.SetKind(ptrace.SpanKindServer)
		}
		out.SetStartTimestamp(pcommon.NewTimestampFromTime(s.start))
		out.SetEndTimestamp(pcommon.NewTimestampFromTime(s.start.Add(s.duration)))
		if s.failed {
			out.Status().SetCode(ptrace.StatusCodeError)
		}
		a := out.Attributes()
		tags := s.tags()
		a.EnsureCapacity(len(tags))
		for _, tag := range tags {
			a.PutStr(tag[0], tag[1])
		}
	}
	return ptraceotlp.NewExportRequestFromTraces(td)
}
