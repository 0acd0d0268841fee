package check

import (
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// line is one header line of a request.
type line struct{ name, value string }

// request is one request to the service under test.
type request struct {
	lines  []line
	method string // GET if empty; gRPC has POST only
	body   string
	h2c    bool // HTTP/2 without TLS, whatever the protocol of the run is
}

// behaviour is what the upstream does with the calls of a case.
type behaviour int

const (
	answers   behaviour = iota
	fails               // answers 503
	redirects           // answers 302 to another path of its own
	holdsAll            // answers when the calls of all requests of the case are there
)

// probe is one case: requests with headers, and what the upstream does meanwhile.
type probe struct {
	name     string
	about    string
	upstream behaviour
	requests []request
	// plain cases establish which headers the service forwards at all. The others are judged by what they do beyond.
	plain bool
	// optional cases are skipped for a service that makes no call for them: one that takes no POST, for example.
	optional bool
}

// ids makes the values of headers, so that no two requests share one and each can be told from all others.
type ids struct{ random io.Reader }

func (g ids) hex(bytes int) string {
	b := make([]byte, bytes)
	// The sources in use, crypto/rand and a seeded generator, do not fail.
	_, _ = io.ReadFull(g.random, b)
	b[0] |= 1 // ids of zeros are not allowed
	return hex.EncodeToString(b)
}

// decimal is an id as Datadog writes it.
func (g ids) decimal() string {
	n, _ := strconv.ParseUint(g.hex(7), 16, 64) // 56 bits always fit
	return strconv.FormatUint(n, 10)
}

func (g ids) uuid() string {
	h := g.hex(16)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

// b3 is a context in several headers. sampled may be empty for an open decision.
func (g ids) b3(traceBytes int, sampled string) []line {
	lines := []line{{"x-b3-traceid", g.hex(traceBytes)}, {"x-b3-spanid", g.hex(8)}}
	if sampled != "" {
		lines = append(lines, line{"x-b3-parentspanid", g.hex(8)}, line{"x-b3-sampled", sampled})
	}
	return lines
}

func (g ids) requestID() line { return line{"x-request-id", g.uuid()} }

func (g ids) w3c(flags string) []line {
	return []line{
		{"traceparent", "00-" + g.hex(16) + "-" + g.hex(8) + "-" + flags},
		{"tracestate", "vendor=" + g.hex(8) + ",rojo=00f067aa0ba902b7"},
	}
}

// both is one context in B3 and W3C, as a mesh of both formats sends it.
func (g ids) both() []line {
	b3 := g.b3(16, "1")
	return append(b3, line{"traceparent", "00-" + b3[0].value + "-" + b3[1].value + "-01"}, g.requestID())
}

func (g ids) vendors() []line {
	return []line{
		g.requestID(),
		{"baggage", "user=" + g.hex(4)},
		{"x-ot-span-context", g.hex(8) + ";" + g.hex(8) + ";" + g.hex(8) + ";cs"},
		{"x-datadog-trace-id", g.decimal()},
		{"x-datadog-parent-id", g.decimal()},
		{"x-datadog-sampling-priority", "1"},
		{"x-datadog-origin", "synthetics"},
		{"x-datadog-tags", "_dd.p.tid=" + g.hex(8)},
		{"sw8", "1-" + g.hex(6) + "-" + g.hex(6) + "-3-c2VydmljZQ==-aW5zdGFuY2U=-L2VuZHBvaW50-dXBzdHJlYW0="},
		{"sw8-correlation", "dXNlcg==:" + g.hex(4)},
		{"sw8-x", "0-1"},
		{"uber-trace-id", g.hex(16) + ":" + g.hex(8) + ":0:1"},
		{"x-amzn-trace-id", "Root=1-" + g.hex(4) + "-" + g.hex(12) + ";Sampled=1"},
		{"x-cloud-trace-context", g.hex(16) + "/123;o=1"},
		{"grpc-trace-bin", "AAA" + strings.ToUpper(g.hex(8)) + "A"},
		{"x-client-trace-id", g.uuid()},
	}
}

// probes returns the cases of a run in order.
func probes(g ids) []probe {
	one := func(lines ...line) []request { return []request{{lines: lines}} }
	with := func(lines []line, more ...line) []line { return append(append([]line(nil), lines...), more...) }
	list := []probe{
		{name: "b3", about: "B3 in several headers, 128 bits, sampled", plain: true,
			requests: one(with(g.b3(16, "1"), g.requestID(), line{"x-b3-flags", "0"})...)},
		{name: "b3-64", about: "B3 with a trace id of 64 bits", plain: true,
			requests: one(with(g.b3(8, "1"), g.requestID())...)},
		{name: "b3-denied", about: "B3, not sampled", plain: true,
			requests: one(with(g.b3(16, "0"), g.requestID())...)},
		{name: "b3-open", about: "B3 without a decision and without a parent", plain: true,
			requests: one(with(g.b3(16, ""), g.requestID())...)},
		{name: "b3-single", about: "B3 in the one header b3", plain: true,
			requests: one(g.requestID(), line{"b3", g.hex(16) + "-" + g.hex(8) + "-1-" + g.hex(8)})},
		{name: "w3c", about: "W3C Trace Context, sampled", plain: true,
			requests: one(with(g.w3c("01"), g.requestID())...)},
		{name: "w3c-denied", about: "W3C Trace Context, not sampled", plain: true,
			requests: one(with(g.w3c("00"), g.requestID())...)},
		{name: "b3+w3c", about: "one context in B3 and W3C", plain: true,
			requests: one(g.both()...)},
		{name: "vendors", about: "every other family at once", plain: true,
			requests: one(g.vendors()...)},
		{name: "nothing", about: "no trace header at all", requests: one()},
		{name: "empty", about: "headers without a value beside a whole context",
			requests: one(g.requestID(), line{"x-b3-traceid", g.hex(16)}, line{"x-b3-spanid", g.hex(8)}, line{"x-b3-sampled", "1"},
				line{"x-b3-parentspanid", ""}, line{"x-b3-flags", ""}, line{"tracestate", ""}, line{"baggage", ""})},
		{name: "duplicate", about: "the same header on two lines",
			requests: one(with(g.both(), line{"x-b3-traceid", g.hex(16)}, line{"x-b3-spanid", g.hex(8)},
				line{"tracestate", "a=" + g.hex(4)}, line{"tracestate", "b=" + g.hex(4)})...)},
		{name: "mixed-case", about: "names spelt X-B3-TraceId, TRACEPARENT, X-Request-ID",
			requests: one(spell(with(g.both(), line{"tracestate", "a=" + g.hex(4)}))...)},
		{name: "at-once", about: "two requests at once with different contexts", upstream: holdsAll,
			requests: []request{{lines: g.both()}, {lines: g.both()}}},
		{name: "one-after-another", about: "a request with a context, one without, one with another",
			requests: []request{{lines: g.both()}, {}, {lines: g.both()}}},
		{name: "upstream-error", about: "the upstream answers 503", upstream: fails, requests: one(g.both()...)},
		{name: "redirect", about: "the upstream answers with a redirect", upstream: redirects, requests: one(g.both()...), optional: true},
		{name: "post", about: "a POST with a JSON body", optional: true,
			requests: []request{{lines: g.both(), method: http.MethodPost, body: `{}`}}},
		{name: "h2c", about: "HTTP/2 without TLS", optional: true,
			requests: []request{{lines: g.both(), h2c: true}}},
		{name: "hop", about: "headers of one hop, which must stay behind",
			requests: one(with(g.both(), line{"x-envoy-attempt-count", "1"}, line{"x-envoy-decorator-operation", "probe:80/*"}, line{"x-envoy-peer-metadata-id", "sidecar~" + g.hex(4)})...)},
		{name: "unreadable", about: "a context that nobody can read must not fail the request",
			requests: one(line{"x-b3-traceid", "not-hex"}, line{"x-b3-spanid", strings.Repeat("f", 40)}, line{"x-b3-sampled", "perhaps"},
				line{"traceparent", "zz-1-2-3"}, line{"tracestate", "===,,"}, line{"baggage", "%%%;;"}, line{"x-request-id", "not a uuid"})},
	}
	return list
}

// spell writes names as other clients do. HTTP/1.1 leaves the case to the sender, HTTP/2 knows lower case only.
func spell(lines []line) []line {
	other := map[string]string{
		"x-b3-traceid": "X-B3-TraceId", "x-b3-spanid": "X-B3-SpanId", "x-b3-parentspanid": "X-B3-ParentSpanId", "x-b3-sampled": "X-B3-Sampled",
		"x-request-id": "X-Request-ID", "traceparent": "TRACEPARENT", "tracestate": "TraceState",
	}
	for i, l := range lines {
		lines[i].name = other[l.name]
	}
	return lines
}
