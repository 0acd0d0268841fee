package trace_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// collected keeps copies of what was reported.
type collected struct{ spans []trace.Span }

func (c *collected) Report(s *trace.Span) {
	kept := *s
	kept.Tags = slices.Clone(s.Tags)
	c.spans = append(c.spans, kept)
}

var (
	localAddress = netip.MustParseAddr("10.0.0.7")
	loopback     = netip.MustParseAddr("127.0.0.1")
)

func node() trace.Node {
	return trace.Node{
		ID:      "sidecar~10.0.0.7~server-v1-0.default~default.svc.cluster.local",
		Service: "server.default", Address: localAddress,
		CanonicalService: "server", CanonicalRevision: "v1", MeshID: "cluster.local", Namespace: "default",
		ClusterID: "Kubernetes",
	}
}

// TestHeaderRecordings sends every recorded request through the calls that a proxy makes and compares the headers on
// both sides and the spans, for both profiles.
func TestHeaderRecordings(t *testing.T) {
	for _, name := range []string{"b3.json", "b3-w3c.json", "otel.json", "hcm.json"} {
		for _, e := range vectors.Entries(t, name) {
			for _, profile := range e.Envoy {
				t.Run(fmt.Sprintf("%s/%s/%s", name, e.ID, profile), func(t *testing.T) { replay(t, e, profile) })
			}
		}
	}
}

func configOf(t *testing.T, e vectors.Entry, profile string) trace.Config {
	t.Helper()
	direction := trace.Direction(e.Text("direction"))
	config := trace.Defaults(direction)
	e.Decode(t, &config)
	config.Profile = trace.Profile(profile)
	config.Format = map[string]trace.Format{"b3": trace.B3, "b3-w3c": trace.B3W3C, "otel": trace.W3C}[e.Format]
	return config
}

func replay(t *testing.T, e vectors.Entry, profile string) {
	var reported collected
	tracer, err := trace.New(configOf(t, e, profile), node(), &reported, trace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var fields header.Fields
	for _, line := range e.In {
		fields.Add(strings.ToLower(line[0]), strings.Trim(line[1], " \t"))
	}
	request := trace.Request{
		Method: "GET", Path: e.Path, Host: "server.default.svc.cluster.local", Protocol: "HTTP/1.1",
		Header: &fields, Peer: loopback,
	}
	var x trace.Exchange
	x.Receive(tracer, &request)
	x.Start(trace.Operation{Name: e.Text("decorator_operation"), Propagate: e.Flag("decorator_propagate")})

	cluster := trace.NewCluster("outbound|9080||server.default.svc.cluster.local")
	failures := 0
	fmt.Sscanf(e.Text("upstream"), "fail:%d", &failures)
	var outs [][]vectors.Pair
	status := 0
	for n := 1; n == 1 || status == 503 && n <= e.Number("retries")+1; n++ {
		if e.Text("direction") != "inbound" {
			fields.Set("x-envoy-attempt-count", fmt.Sprint(n))
		}
		var try trace.Try
		x.StartTry(&try, n, cluster, &fields)
		outs = append(outs, pairs(fields))
		status = 200
		if n <= failures {
			status = 503
		}
		try.Finish(&trace.TryResult{Status: status, Address: "127.0.0.1:9"})
	}
	var response header.Fields
	if e.Text("upstream") == "decorator" {
		response.Add("x-envoy-decorator-operation", "named.by.upstream")
	}
	x.Respond(&response)
	x.Finish(&trace.Result{Status: status, Cluster: cluster, Header: response})

	m := vectors.NewMatcher(t, e.Fresh, map[string]string{"$local_ip": localAddress.String()})
	m.Lines("out", e.Out, outs[0])
	if len(outs)-1 != len(e.RetriesOut) {
		t.Errorf("%d retries, want %d", len(outs)-1, len(e.RetriesOut))
	}
	for i, want := range e.RetriesOut {
		m.Lines("retry", want, outs[i+1])
	}
	m.Lines("response", e.Response, pairs(response))
	m.Spans(e.Spans, recorded(reported.spans, e.Format))
}

// pairs returns the lines that a recording would list.
func pairs(f header.Fields) []vectors.Pair {
	var out []vectors.Pair
	for _, field := range f {
		if vectors.Recorded(field.Name) {
			out = append(out, vectors.Pair{field.Name, field.Value})
		}
	}
	return out
}

// recorded turns spans into the form of the recordings, the proxy's own first.
func recorded(spans []trace.Span, format string) []vectors.Span {
	var out []vectors.Span
	if n := len(spans); n > 0 {
		spans = append([]trace.Span{spans[n-1]}, spans[:n-1]...)
	}
	for _, s := range spans {
		v := vectors.Span{
			Kind: s.Kind.String(), Name: s.Name, Shared: s.Shared, Trace: string(s.AppendTraceID(nil)), ID: hexID(s.ID),
			Tags: map[string]string{},
		}
		if s.HasParent {
			parent := hexID(s.Parent)
			v.Parent = &parent
		}
		if format == "otel" {
			v.TraceState = &s.State
		}
		for _, tag := range s.Tags {
			if tag.Value != "" {
				v.Tags[tag.Key] = tag.Value
			}
		}
		out = append(out, v)
	}
	return out
}

func hexID(id uint64) string {
	var b [8]byte
	for i := range b {
		b[i] = byte(id >> (56 - 8*i))
	}
	return hex.EncodeToString(b[:])
}
