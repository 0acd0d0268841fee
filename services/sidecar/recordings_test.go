package sidecar_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/trace"
)

// TestHeaderRecordings sends every request of b3, b3-w3c, otel and hcm through a real listener.
func TestHeaderRecordings(t *testing.T) {
	for _, file := range []string{"b3.json", "b3-w3c.json", "otel.json", "hcm.json"} {
		for _, e := range vectors.Entries(t, file) {
			for _, profile := range e.Envoy {
				t.Run(file+"/"+e.ID+"/"+profile, func(t *testing.T) { replayHeaders(t, e, profile) })
			}
		}
	}
}

func replayHeaders(t *testing.T, e vectors.Entry, profile string) {
	direction := trace.Direction(e.Text("direction"))
	config := sidecar.Config{Tracing: trace.Defaults(direction), GatewaySpans: 1}
	e.Decode(t, &config.Tracing)
	config.Tracing.Profile = trace.Profile(profile)
	config.Tracing.Format = map[string]trace.Format{"b3": trace.B3, "b3-w3c": trace.B3W3C, "otel": trace.W3C}[e.Format]
	if e.Flag("spawn_upstream_span") {
		config.GatewaySpans = 2
	}
	config.NoDecoratorPropagation = !e.Flag("decorator_propagate")
	var spans collector
	config.Reporter = &spans

	a := newApp(t)
	rt := &route.Route{
		Name: "default", Operation: e.Text("decorator_operation"),
		Clusters: []route.WeightedCluster{{Cluster: serverName, Weight: 1}},
	}
	if n := e.Number("retries"); n > 0 {
		rt.Retry = &route.Retry{Attempts: n, On: "5xx", Backoff: time.Millisecond}
	}
	table := route.NewTable("9080", 1,
		[]*route.VirtualHost{{Name: "server", Domains: []string{serverHost}, Routes: []*route.Route{rt}}},
		map[string]*route.Cluster{serverName: {Name: serverName, Endpoints: []route.Endpoint{{Address: a.addr}}}})
	if e.Text("upstream") == "decorator" {
		a.answer = func(c net.Conn, _ seen) (bool, bool) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nx-envoy-decorator-operation: named.by.upstream\r\ncontent-length: 0\r\n\r\n")
			return true, true
		}
	}
	addr := start(t, config, direction, table)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	var raw strings.Builder
	fmt.Fprintf(&raw, "GET %s HTTP/1.1\r\nHost: %s\r\n", e.Path, serverHost)
	for _, line := range e.In {
		fmt.Fprintf(&raw, "%s: %s\r\n", line[0], line[1])
	}
	fmt.Fprint(nc, raw.String()+"\r\n")
	g, whole := readResponse(bufio.NewReader(nc), false)
	if g.status() != e.Status || !whole {
		t.Fatalf("status %d, whole %v, want %d: %+v", g.status(), whole, e.Status, g)
	}
	m := vectors.NewMatcher(t, e.Fresh, map[string]string{"$local_ip": "10.0.0.7"})
	saw := a.took()
	if len(saw) != 1+len(e.RetriesOut) {
		t.Fatalf("the upstream saw %d requests, want %d", len(saw), 1+len(e.RetriesOut))
	}
	m.Lines("out", e.Out, listed(saw[0].Headers))
	for i, want := range e.RetriesOut {
		m.Lines(fmt.Sprintf("retry %d", i+1), want, listed(saw[i+1].Headers))
	}
	m.Lines("response", e.Response, listed(g.Headers))
	nc.Close()
	m.Spans(e.Spans, recordedForm(settled(t, &spans, len(e.Spans)), e.Format))
}

// listed keeps the lines that a recording lists.
func listed(lines []vectors.Pair) []vectors.Pair {
	return slices.DeleteFunc(lines, func(l vectors.Pair) bool { return !vectors.Recorded(l[0]) })
}

// settled waits for n spans, which are reported after the answer has left, and returns all, the proxy's own first.
func settled(t *testing.T, c *collector, n int) []trace.Span {
	t.Helper()
	waitFor(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.spans) >= n
	})
	spans := c.took()
	// The own span is the only one whose parent is not among the others, and has the earliest start.
	slices.SortStableFunc(spans, func(a, b trace.Span) int {
		if a.HasParent && a.Parent == b.ID {
			return 1
		}
		if b.HasParent && b.Parent == a.ID {
			return -1
		}
		return a.Start.Compare(b.Start)
	})
	return spans
}

func recordedForm(spans []trace.Span, format string) []vectors.Span {
	var out []vectors.Span
	for _, s := range spans {
		v := vectors.Span{
			Kind: s.Kind.String(), Name: s.Name, Shared: s.Shared, Trace: string(s.AppendTraceID(nil)), ID: hexID(s.ID),
			Tags: tagsOf(s, false),
		}
		if s.HasParent {
			parent := hexID(s.Parent)
			v.Parent = &parent
		}
		if format == "otel" {
			v.TraceState = &s.State
		}
		out = append(out, v)
	}
	return out
}

func tagsOf(s trace.Span, empty bool) map[string]string {
	tags := map[string]string{}
	for _, tag := range s.Tags {
		if empty || tag.Value != "" {
			tags[tag.Key] = tag.Value
		}
	}
	return tags
}

func hexID(id uint64) string {
	var b [8]byte
	for i := range b {
		b[i] = byte(id >> (56 - 8*i))
	}
	return hex.EncodeToString(b[:])
}

// recordedSpans is an element of spans.json.
type recordedSpans struct {
	ID, Case, Direction, Format string
	Envoy                       []string
	Spans                       []map[string]any
	Fresh                       map[string]vectors.Fresh
}

// TestSpanRecordings sends the request of every span recording through a real listener and compares names, kinds,
// parents and every tag. (How a span is written on the wire is tested in package report.)
func TestSpanRecordings(t *testing.T) {
	var router struct{ Cases []routerCase }
	vectors.Load(t, "router.json", &router)
	var file struct{ Samples []recordedSpans }
	vectors.Load(t, "spans.json", &file)
	for _, s := range file.Samples {
		for _, profile := range s.Envoy {
			c, ok := caseOf(router.Cases, s, profile)
			if !ok {
				t.Errorf("%s/%s: no request is recorded for it", s.ID, profile)
				continue
			}
			t.Run(s.ID+"/"+profile, func(t *testing.T) {
				t.Parallel()
				replaySpans(t, s, c, profile)
			})
		}
	}
}

func caseOf(cases []routerCase, s recordedSpans, profile string) (routerCase, bool) {
	name := s.Case
	if name == "custom" || name == "nouser" { // the ordinary request, see customTags
		name = "ok"
	}
	for _, c := range cases {
		if c.ID == name+"/"+s.Direction && slices.Contains(c.Envoy, profile) {
			c.Request.Path = strings.Replace(c.Request.Path, "/b3/", "/"+map[string]string{"zipkin": "b3", "otlp": "otel"}[s.Format]+"/", 1)
			c.Request.Path = strings.Replace(c.Request.Path, "/ok/", "/"+s.Case+"/", 1)
			return c, true
		}
	}
	return routerCase{}, false
}

func replaySpans(t *testing.T, s recordedSpans, c routerCase, profile string) {
	b := newBench(t)
	direction := trace.Direction(s.Direction)
	config := sidecar.Config{Tracing: trace.Defaults(direction), Identity: identity()}
	config.Tracing.Profile = trace.Profile(profile)
	if s.Format == "zipkin" {
		config.Tracing.Format = trace.B3
	}
	if s.Case == "custom" || s.Case == "nouser" {
		customTags(&config)
	}
	if s.Case == "custom" {
		c.Request.Headers = append(c.Request.Headers, vectors.Pair{"end-user", "jason"})
		c.Request.Path += "?q=" + strings.Repeat("0123456789", 20)
	}
	var spans collector
	config.Reporter = &spans
	table := b.table(c.Route, c.Fault)
	// The ordinary inbound cluster has a name of its own, except where the custom tags were recorded.
	if s.Direction == "inbound" && config.Tracing.CustomTags == nil {
		table.Clusters[serverName].Name = "inbound|9080||"
	}
	addr := start(t, config, direction, table)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(nc, rawRequest(c))
	if after := c.Request.ClientLeavesAfterS; after > 0 {
		time.Sleep(time.Duration(after * float64(time.Second))) // the recorded client's patience
	} else {
		readResponse(bufio.NewReader(nc), false)
	}
	nc.Close()
	got := settled(t, &spans, len(s.Spans))
	if len(got) != len(s.Spans) {
		t.Fatalf("%d spans, want %d: %+v", len(got), len(s.Spans), got)
	}
	m := vectors.NewMatcher(t, s.Fresh, map[string]string{"$local_ip": "10.0.0.7"})
	for i, want := range s.Spans {
		what := fmt.Sprintf("span %d", i)
		if s.Format == "zipkin" {
			compareZipkin(t, m, what, want, got[i])
		} else {
			compareOTLP(t, m, what, want, got[i])
		}
	}
}

func customTags(c *sidecar.Config) {
	c.Zone = "zone-a"
	c.Tracing.MaxPathTagLength = 32
	c.Tracing.CustomTags = []trace.CustomTag{
		{Name: "custom.literal", Literal: "prod"},
		{Name: "custom.header", Header: "end-user", Default: "nobody"},
		{Name: "custom.absent", Header: "x-absent"},
		{Name: "custom.noenv", Environment: "ABSENT"},
		{Name: "custom.env", Environment: "ABSENT", Default: "fallback"},
	}
}

func compareZipkin(t *testing.T, m *vectors.Matcher, what string, want map[string]any, got trace.Span) {
	t.Helper()
	m.Text(what+" trace", want["traceId"].(string), string(got.AppendTraceID(nil)))
	m.Text(what+" id", want["id"].(string), hexID(got.ID))
	compareParent(t, m, what, want["parentId"], got)
	if want["name"] != got.Name || want["kind"] != got.Kind.String() {
		t.Errorf("%s is %s %q, want %v %q", what, got.Kind, got.Name, want["kind"], want["name"])
	}
	tags := map[string]any{}
	for k, v := range tagsOf(got, false) {
		tags[k] = v
	}
	m.JSON(what+" tags", want["tags"], tags)
}

func compareOTLP(t *testing.T, m *vectors.Matcher, what string, want map[string]any, got trace.Span) {
	t.Helper()
	m.Text(what+" trace", want["traceId"].(string), string(got.AppendTraceID(nil)))
	m.Text(what+" id", want["spanId"].(string), hexID(got.ID))
	compareParent(t, m, what, want["parentSpanId"], got)
	kind := map[trace.Kind]float64{trace.Server: 2, trace.Client: 3}[got.Kind]
	if want["name"] != got.Name || want["kind"] != kind {
		t.Errorf("%s is %v %q, want %v %q", what, kind, got.Name, want["kind"], want["name"])
	}
	if failed := want["status"].(map[string]any)["code"] == float64(2); failed != got.Failed {
		t.Errorf("%s failed: %v, want %v", what, got.Failed, failed)
	}
	attributes := map[string]any{}
	for _, a := range want["attributes"].([]any) {
		attributes[a.([]any)[0].(string)] = a.([]any)[2]
	}
	tags := map[string]any{}
	for k, v := range tagsOf(got, true) {
		tags[k] = v
	}
	m.JSON(what+" attributes", attributes, tags)
}

func compareParent(t *testing.T, m *vectors.Matcher, what string, want any, got trace.Span) {
	t.Helper()
	parent, _ := want.(string)
	if got.HasParent != (parent != "") {
		t.Errorf("%s has a parent: %v, want %q", what, got.HasParent, parent)
	} else if got.HasParent {
		m.Text(what+" parent", parent, hexID(got.Parent))
	}
}
