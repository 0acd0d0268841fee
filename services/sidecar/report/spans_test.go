package report

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.opentelemetry.io/proto/otlp/common/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// sample is an element of spans.json.
type sample struct {
	ID        string                   `json:"id"`
	Envoy     []string                 `json:"envoy"`
	Case      string                   `json:"case"`
	Direction string                   `json:"direction"`
	Format    string                   `json:"format"`
	Spans     []map[string]any         `json:"spans"`
	Fresh     map[string]vectors.Fresh `json:"fresh"`
}

// routed is an element of router.json: the same request, with what the client and the upstream saw.
type routed struct {
	ID        string   `json:"id"`
	Envoy     []string `json:"envoy"`
	Direction string   `json:"direction"`
	Route     *struct {
		Cluster string `json:"cluster"`
		Host    string `json:"host_rewrite_literal"`
		Mirror  []any  `json:"request_mirror_policies"`
	} `json:"route"`
	Request struct {
		Method  string         `json:"method"`
		Path    string         `json:"path"`
		Host    string         `json:"host"`
		Headers []vectors.Pair `json:"headers"`
		Body    string         `json:"body"`
	} `json:"request"`
	Response *struct {
		Headers []vectors.Pair `json:"headers"`
		Body    string         `json:"body"`
	} `json:"response"`
	Log []struct {
		Code  int    `json:"code"`
		Flags string `json:"flags"`
	} `json:"log"`
}

const upstreamAddress = "127.0.0.1:9080"

// triesOf tells how each try at the upstream went, which the router of the proxy knows.
func triesOf(name string, status int) []trace.TryResult {
	reset := func(reason, flags string) trace.TryResult {
		return trace.TryResult{Reset: reason, Flags: flags, Address: upstreamAddress}
	}
	answer := func(status int, canceled bool) trace.TryResult {
		return trace.TryResult{Status: status, Canceled: canceled, Address: upstreamAddress}
	}
	unconnected := func(reason string) trace.TryResult {
		return trace.TryResult{Reset: reason, Flags: "UF", Address: upstreamAddress, Protocol: "-"}
	}
	refused := unconnected("remote connection failure")
	switch name {
	case "refused":
		return []trace.TryResult{refused}
	case "refused-istio":
		return []trace.TryResult{refused, refused, refused}
	case "connect-timeout":
		return []trace.TryResult{unconnected("connection timeout")}
	case "overflow":
		return []trace.TryResult{{Reset: "overflow", Flags: "UO", Protocol: "-"}}
	case "reset":
		return []trace.TryResult{reset("connection termination", "UC")}
	case "garbage":
		return []trace.TryResult{reset("protocol error", "UPE")}
	case "half":
		half := reset("protocol error", "UPE")
		half.Status = 200
		return []trace.TryResult{half}
	case "timeout", "timeout-retry", "disconnect":
		return []trace.TryResult{answer(0, true)}
	case "pertry":
		late := answer(0, true)
		late.Flags = "UT"
		return []trace.TryResult{late, late}
	case "retry":
		return []trace.TryResult{answer(503, true), answer(503, true), answer(200, false)}
	case "retry-exhausted":
		return []trace.TryResult{answer(503, true), answer(503, true), answer(503, false)}
	case "retry-reset":
		return []trace.TryResult{reset("connection termination", "UC"), answer(200, false)}
	case "nohealthy", "nocluster", "grpc-nohealthy", "abort500", "abort418", "delayabort", "delay-cut", "noroute",
		"nohost":
		return nil
	}
	return []trace.TryResult{answer(status, false)}
}

// TestSpanRecordings makes every recorded span and compares all of it, as Zipkin JSON and as OTLP, for both profiles.
func TestSpanRecordings(t *testing.T) {
	var recorded struct {
		Flags []struct {
			Envoy  string `json:"envoy"`
			Parent string `json:"parent"`
			Flags  uint32 `json:"flags"`
		} `json:"otlp_flags"`
		Samples []sample `json:"samples"`
	}
	vectors.Load(t, "spans.json", &recorded)
	var cases struct {
		Cases []routed `json:"cases"`
	}
	vectors.Load(t, "router.json", &cases)
	flags := map[string]uint32{}
	for _, f := range recorded.Flags {
		flags[f.Envoy+f.Parent] = f.Flags
	}
	for _, s := range recorded.Samples {
		for _, profile := range s.Envoy {
			t.Run(s.ID+"/"+profile, func(t *testing.T) {
				spans := replay(t, s, profile, requestOf(t, s, profile, cases.Cases))
				compare(t, s, profile, spans, flags)
			})
		}
	}
}

// requestOf finds the sample's request; the cases with custom tags are in spans.json alone.
func requestOf(t *testing.T, s sample, profile string, cases []routed) routed {
	t.Helper()
	for _, c := range cases {
		if c.ID == s.Case+"/"+s.Direction && slices.Contains(c.Envoy, profile) {
			return c
		}
	}
	for _, c := range cases {
		if c.ID == "ok/"+s.Direction && slices.Contains(c.Envoy, profile) {
			c.Request.Path = "/" + s.Case + "/b3/" + s.Direction
			if s.Case == "custom" {
				c.Request.Path += "?q=" + strings.Repeat("0123456789", 20)
				c.Request.Headers = []vectors.Pair{{"end-user", "jason"}}
			}
			return c
		}
	}
	t.Fatalf("%s is not in router.json", s.ID)
	return routed{}
}

type collected []trace.Span

func (c *collected) Report(s *trace.Span) {
	kept := *s
	kept.Tags = slices.Clone(s.Tags)
	*c = append(*c, kept)
}

// replay makes the calls that a proxy makes, and returns the spans with the proxy's own first.
func replay(t *testing.T, s sample, profile string, c routed) []trace.Span {
	t.Helper()
	config := trace.Defaults(trace.Direction(s.Direction))
	config.Profile, config.Format = trace.Profile(profile), trace.W3C
	if s.Format == "zipkin" {
		config.Format = trace.B3
	}
	node := trace.Node{
		ID:      "sidecar~10.0.0.7~server-v1-0.default~default.svc.cluster.local",
		Service: "server.default", Address: netip.MustParseAddr("10.0.0.7"),
		CanonicalService: "server", CanonicalRevision: "v1", MeshID: "cluster.local", Namespace: "default",
		ClusterID: "Kubernetes",
	}
	if s.Case == "custom" || s.Case == "nouser" {
		node.Zone = "zone-a"
		config.MaxPathTagLength = 32
		config.CustomTags = []trace.CustomTag{
			{Name: "custom.literal", Literal: "prod"},
			{Name: "custom.header", Header: "end-user", Default: "nobody"},
			{Name: "custom.absent", Header: "x-absent"},
			{Name: "custom.noenv", Environment: "ABSENT"},
			{Name: "custom.env", Environment: "ABSENT", Default: "fallback"},
		}
	}
	var reported collected
	tracer, err := trace.New(config, node, &reported, trace.Options{Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	segment := map[string]string{"zipkin": "/b3/", "otlp": "/otel/"}[s.Format]
	var fields header.Fields
	for _, line := range c.Request.Headers {
		fields.Add(strings.ToLower(line[0]), line[1])
	}
	request := trace.Request{
		Method: c.Request.Method, Path: strings.Replace(c.Request.Path, "/b3/", segment, 1), Host: c.Request.Host,
		Protocol: "HTTP/1.1", Header: &fields, Peer: netip.MustParseAddr("127.0.0.1"),
	}
	var x trace.Exchange
	x.Receive(tracer, &request)
	operation := trace.Operation{Name: "server.default.svc.cluster.local:9080/*", Propagate: true}
	cluster := trace.NewCluster("outbound|9080||server.default.svc.cluster.local")
	// The custom tags were recorded with the outbound cluster everywhere.
	if s.Direction == "inbound" && config.CustomTags == nil {
		cluster = trace.NewCluster("inbound|9080||")
	}
	var mirror *trace.Cluster
	switch {
	case c.Route == nil:
		operation, cluster = trace.Operation{}, nil
	case c.Route.Cluster == "missing":
		cluster = nil
	case c.Route.Cluster != "":
		cluster = trace.NewCluster(c.Route.Cluster)
	case c.Route.Mirror != nil:
		mirror = trace.NewCluster("mirror")
	}
	x.Start(operation)
	if c.Route != nil && c.Route.Host != "" {
		fields.Set("x-envoy-original-path", request.Path)
		request.Path, request.Host = "/new/", c.Route.Host
	}
	result := trace.Result{
		Status: c.Log[0].Code, Flags: c.Log[0].Flags, Cluster: cluster, RequestBytes: int64(len(c.Request.Body)),
	}
	if c.Response != nil {
		result.ResponseBytes = int64(len(c.Response.Body))
		for _, line := range c.Response.Headers {
			result.Header.Add(line[0], line[1])
		}
	}
	for i, r := range triesOf(s.Case, result.Status) {
		var try trace.Try
		x.StartTry(&try, i+1, cluster, &fields)
		if r.Status != 0 {
			r.Header = result.Header
		}
		try.Finish(&r)
	}
	if mirror != nil {
		var try trace.Try
		copied := fields.Clone()
		x.StartMirror(&try, mirror, &copied)
		try.Finish(&trace.TryResult{Status: 200, Address: upstreamAddress})
	}
	x.Finish(&result)
	n := len(reported)
	return append([]trace.Span{reported[n-1]}, reported[:n-1]...)
}

func compare(t *testing.T, s sample, profile string, spans []trace.Span, flags map[string]uint32) {
	t.Helper()
	o := Options{
		Service: "server.default", Address: "10.0.0.7", Version: "test", Profile: trace.Profile(profile),
	}
	var got []any
	if s.Format == "zipkin" {
		got = zipkinJSON(t, o, spans)
	} else {
		got = otlpJSON(t, o, spans, profile, flags)
	}
	if len(got) != len(s.Spans) {
		t.Fatalf("%d spans, want %d", len(got), len(s.Spans))
	}
	m := vectors.NewMatcher(t, s.Fresh, map[string]string{"$local_ip": "10.0.0.7"})
	for i := range got {
		m.JSON(fmt.Sprintf("span %d", i), s.Spans[i], got[i])
	}
}

func zipkinJSON(t *testing.T, o Options, spans []trace.Span) (out []any) {
	t.Helper()
	z, err := newZipkin(&o)
	if err != nil {
		t.Fatal(err)
	}
	var batch []byte
	for i := range spans {
		batch = z.appendSpan(batch, i, &spans[i])
	}
	if err := json.Unmarshal(append(batch, ']'), &out); err != nil {
		t.Fatalf("%v in %s", err, batch)
	}
	return out
}

// otlpJSON decodes the batch with OpenTelemetry's own types and writes it as spans.json does.
func otlpJSON(t *testing.T, o Options, spans []trace.Span, profile string, flags map[string]uint32) (out []any) {
	t.Helper()
	w, err := newOTLP(&o)
	if err != nil {
		t.Fatal(err)
	}
	var batch []byte
	for i := range spans {
		batch = w.appendSpan(batch, i, &spans[i])
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(append(w.head(len(batch)), batch...), &request); err != nil {
		t.Fatal(err)
	}
	if len(request.ResourceSpans) != 1 || len(request.ResourceSpans[0].ScopeSpans) != 1 {
		t.Fatalf("not one resource with one scope: %v", &request)
	}
	resource := request.ResourceSpans[0]
	scope := resource.ScopeSpans[0]
	attributes := map[string]any{}
	for _, a := range resource.Resource.Attributes {
		attributes[a.Key] = []any{"string", text(t, a)}
	}
	for i, s := range scope.Spans {
		if want := flags[profile+parentOf(&spans[i])]; s.Flags != want {
			t.Errorf("span %d has flags %#x, want %#x", i, s.Flags, want)
		}
		out = append(out, spanJSON(t, s, attributes, scope))
	}
	return out
}

func parentOf(s *trace.Span) string {
	switch {
	case s.RemoteParent:
		return "remote"
	case s.HasParent:
		return "local"
	}
	return "none"
}

func spanJSON(t *testing.T, s *otlptrace.Span, resource map[string]any, scope *otlptrace.ScopeSpans) map[string]any {
	t.Helper()
	slices.SortFunc(s.Attributes, func(a, b *v1.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	attributes := []any{}
	for _, a := range s.Attributes {
		attributes = append(attributes, []any{a.Key, "string", text(t, a)})
	}
	return map[string]any{
		"resource": resource, "scope": map[string]any{"name": scope.Scope.Name, "version": scope.Scope.Version},
		"traceId": hex.EncodeToString(s.TraceId), "spanId": hex.EncodeToString(s.SpanId),
		"parentSpanId": hex.EncodeToString(s.ParentSpanId), "traceState": s.TraceState, "name": s.Name,
		"kind": float64(s.Kind), "startTimeUnixNano": fmt.Sprint(s.StartTimeUnixNano),
		"endTimeUnixNano": fmt.Sprint(s.EndTimeUnixNano),
		"status":          map[string]any{"code": float64(s.Status.GetCode()), "message": s.Status.GetMessage()},
		"attributes":      attributes, "events": []any{}, "links": float64(len(s.Links)),
	}
}

func text(t *testing.T, a *v1.KeyValue) string {
	t.Helper()
	v, ok := a.Value.Value.(*v1.AnyValue_StringValue)
	if !ok {
		t.Fatalf("%s is not a string", a.Key)
	}
	return v.StringValue
}
