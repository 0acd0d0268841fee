package sidecar_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/trace"
)

// chain is an element of chains.json.
type chain struct {
	ID       string
	Envoy    []string
	Format   string
	TwoSpans bool `json:"gateway_spawn_upstream_span"`
	Sampling float64
	Forward  string
	In       []vectors.Pair
	Status   int
	Traces   []struct {
		Trace                 string
		Spans, Roots, Orphans int
	}
	Spans []chainSpan
	Hops  []struct {
		Service  string
		Received []vectors.Pair
		Calls    []struct {
			To   string
			Sent []vectors.Pair
		}
	}
	Fresh map[string]vectors.Fresh
}

type chainSpan struct {
	Service, Kind, Name, Trace, ID string
	Parent                         *string
	RequestID                      *string `json:"request_id"`
	ClientTraceID                  *string `json:"client_trace_id"`
}

// TestChains runs every recorded chain: applications that forward as the recording says, each behind an inbound and an
// outbound listener of a sidecar of its own, and a gateway in front. Every header that crosses is compared, and every
// span.
func TestChains(t *testing.T) {
	var file struct {
		Lists  map[string][]string `json:"forward_lists"`
		Chains []chain
	}
	vectors.Load(t, "chains.json", &file)
	for _, c := range file.Chains {
		for _, profile := range c.Envoy {
			t.Run(c.ID+"/"+profile, func(t *testing.T) { replayChain(t, c, profile, file.Lists) })
		}
	}
}

// reported is a span with the service that made it.
type reported struct {
	service string
	span    trace.Span
}

type chainMesh struct {
	mu    sync.Mutex
	spans []reported
}

type serviceReporter struct {
	mesh    *chainMesh
	service string
}

func (r serviceReporter) Report(s *trace.Span) {
	kept := *s
	kept.Tags = slices.Clone(s.Tags)
	r.mesh.mu.Lock()
	defer r.mesh.mu.Unlock()
	r.mesh.spans = append(r.mesh.spans, reported{r.service, kept})
}

// chainCalls is what each service calls.
func chainCalls(service string) []string {
	return map[string][]string{"productpage": {"details", "reviews"}, "reviews": {"ratings"}}[service]
}

func replayChain(t *testing.T, c chain, profile string, lists map[string][]string) {
	mesh := &chainMesh{}
	tracing := trace.Defaults(trace.Inbound)
	tracing.Profile, tracing.Sampling = trace.Profile(profile), c.Sampling
	tracing.Format = map[string]trace.Format{"b3": trace.B3, "b3-w3c": trace.B3W3C, "otel": trace.W3C}[c.Format]
	services := []string{"productpage", "details", "reviews", "ratings"}

	// Inbound listeners first: their addresses are the endpoints of everybody's outbound one.
	apps, inbound := map[string]*app{}, map[string]string{}
	outbound := &sidecar.Destinations{Retries: -1}
	for _, name := range services {
		apps[name] = newApp(t)
		table, err := outbound.Inbound(name, apps[name].addr)
		if err != nil {
			t.Fatal(err)
		}
		inbound[name] = listen(t, mesh, tracing, sidecar.Identity{Service: name, Version: "v1"}, 0,
			sidecar.Listener{Direction: trace.Inbound, Addr: "127.0.0.1:0", Table: table})
	}
	for _, name := range services {
		if err := outbound.Add(name, "", []string{inbound[name]}); err != nil {
			t.Fatal(err)
		}
	}
	sent := map[string][]vectors.Pair{}
	for _, name := range services {
		addr := listen(t, mesh, tracing, sidecar.Identity{Service: name, Version: "v1"}, 0,
			sidecar.Listener{Direction: trace.Outbound, Addr: "127.0.0.1:0", Table: outbound.Outbound()})
		apps[name].answer = func(nc net.Conn, r seen) (bool, bool) {
			for _, callee := range chainCalls(name) {
				headers := forwarded(c.Forward, name, r.Headers, lists)
				mesh.mu.Lock()
				sent[name+" "+callee] = headers
				mesh.mu.Unlock()
				if status := call(t, addr, callee, headers); status != 200 {
					fmt.Fprint(nc, "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")
					return true, true
				}
			}
			return false, false
		}
	}
	spans := 1
	if c.TwoSpans {
		spans = 2
	}
	operation := "productpage.default.svc.cluster.local:9080/productpage"
	edge := *outbound
	edge.Operation = &operation
	table, err := edge.To("productpage")
	if err != nil {
		t.Fatal(err)
	}
	gateway := listen(t, mesh, tracing, sidecar.Identity{Service: "istio-ingressgateway", Namespace: "istio-system"}, spans,
		sidecar.Listener{Direction: trace.Gateway, Addr: "127.0.0.1:0", Table: table})
	if status := call(t, gateway, "", c.In); status != c.Status {
		t.Fatalf("status %d, want %d", status, c.Status)
	}

	total := 0
	for _, tr := range c.Traces {
		total += tr.Spans
	}
	waitFor(t, func() bool {
		mesh.mu.Lock()
		defer mesh.mu.Unlock()
		return len(mesh.spans) >= total
	})
	mesh.mu.Lock()
	defer mesh.mu.Unlock()
	m := vectors.NewMatcher(t, c.Fresh, nil)
	compareChainSpans(t, m, c, mesh.spans)
	for _, hop := range c.Hops {
		saw := apps[hop.Service].took()
		if len(saw) != 1 {
			t.Errorf("%s saw %d requests, want 1", hop.Service, len(saw))
			continue
		}
		m.Lines(hop.Service+" received", hop.Received, chainListed(saw[0].Headers))
		for _, call := range hop.Calls {
			m.Lines(hop.Service+" sent to "+call.To, call.Sent, chainListed(sent[hop.Service+" "+call.To]))
		}
	}
}

func listen(t *testing.T, mesh *chainMesh, tracing trace.Config, id sidecar.Identity, spans int, l sidecar.Listener) string {
	t.Helper()
	namespace := id.Namespace
	if namespace == "" {
		namespace = "default"
	}
	s, err := sidecar.Start(t.Context(), sidecar.Config{
		Identity: id, Tracing: tracing, GatewaySpans: spans, Listeners: []sidecar.Listener{l},
		Reporter: serviceReporter{mesh, id.Service + "." + namespace},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.Addrs(l.Direction)[0]
}

// call asks a destination through a listener and returns the status.
func call(t *testing.T, addr, service string, headers []vectors.Pair) int {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	path, host := "/"+service, service+":9080"
	if service == "" {
		path, host = "/productpage", "bookinfo.example"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nhost: %s\r\n", path, host)
	for _, h := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	fmt.Fprint(nc, b.String()+"\r\n")
	g, _ := readResponse(bufio.NewReader(nc), false)
	return g.status()
}

// forwarded is what an application sends on, by the names of README.md.
func forwarded(mode, service string, received []vectors.Pair, lists map[string][]string) []vectors.Pair {
	list := lists["all"]
	if named, ok := lists[mode]; ok {
		list = named
	}
	if mode == "all-but-"+service {
		return nil
	}
	values := map[string]string{}
	for _, h := range slices.Backward(received) {
		values[h[0]] = h[1] // the first line of each name wins
	}
	var out []vectors.Pair
	for _, name := range list {
		value, came := values[name], values[name] != ""
		switch {
		case mode == "empty-values" && !came && slices.Contains([]string{
			"x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "traceparent", "tracestate"}, name):
			out = append(out, vectors.Pair{name, ""})
			continue
		case !came:
			continue
		}
		switch {
		case mode == "joined" && slices.Contains([]string{"x-b3-traceid", "x-b3-spanid", "traceparent"}, name):
			value += "," + value
		case mode == "sampled-0" && service == "productpage" && name == "x-b3-sampled":
			value = "0"
		case mode == "flags-00" && service == "productpage" && name == "traceparent":
			value = value[:len(value)-2] + "00"
		case mode == "span-as-parent" && name == "x-b3-spanid":
			value = values["x-b3-parentspanid"]
		}
		out = append(out, vectors.Pair{name, value})
		if mode == "twice" && (strings.HasPrefix(name, "x-b3-") || name == "traceparent") {
			out = append(out, vectors.Pair{name, value})
		}
	}
	return out
}

// chainListed keeps the lines that chains.json lists.
func chainListed(lines []vectors.Pair) []vectors.Pair {
	return slices.DeleteFunc(slices.Clone(lines), func(l vectors.Pair) bool {
		return !vectors.Recorded(l[0]) || l[0] == "x-forwarded-for" || l[0] == "x-envoy-external-address"
	})
}

func compareChainSpans(t *testing.T, m *vectors.Matcher, c chain, got []reported) {
	t.Helper()
	if len(got) != len(c.Spans) {
		t.Errorf("%d spans, want %d", len(got), len(c.Spans))
	}
	for _, want := range c.Spans {
		what := want.Service + " " + want.Kind + " " + want.Name
		i := slices.IndexFunc(got, func(r reported) bool {
			return r.service == want.Service && r.span.Kind.String() == want.Kind && r.span.Name == want.Name
		})
		if i < 0 {
			t.Errorf("no span %s", what)
			continue
		}
		s := got[i].span
		m.Text(what+": trace", want.Trace, string(s.AppendTraceID(nil)))
		m.Text(what+": id", want.ID, hexID(s.ID))
		if s.HasParent != (want.Parent != nil) {
			t.Errorf("%s has a parent: %v", what, s.HasParent)
		} else if s.HasParent {
			m.Text(what+": parent", *want.Parent, hexID(s.Parent))
		}
		tags := tagsOf(s, false)
		for key, value := range map[string]*string{"guid:x-request-id": want.RequestID, "guid:x-client-trace-id": want.ClientTraceID} {
			if _, has := tags[key]; has != (value != nil) {
				t.Errorf("%s has the tag %s: %v", what, key, has)
			} else if has {
				m.Text(what+": "+key, *value, tags[key])
			}
		}
	}
}
