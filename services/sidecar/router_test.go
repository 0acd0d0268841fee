package sidecar_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/access"
	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/trace"
)

const (
	serverHost = "server.default.svc.cluster.local"
	serverName = "outbound|9080||server.default.svc.cluster.local"
	operation  = "server.default.svc.cluster.local:9080/*"
)

// routerCase is an element of router.json.
type routerCase struct {
	ID        string         `json:"id"`
	Envoy     []string       `json:"envoy"`
	Direction string         `json:"direction"`
	Route     *recordedRoute `json:"route"`
	Fault     *recordedFault `json:"fault"`
	Request   struct {
		Method, Path, Host, Body, Raw string
		Headers                       []vectors.Pair
		ClientLeavesAfterS            float64 `json:"client_leaves_after_s"`
	} `json:"request"`
	Upstream []recordedRequest        `json:"upstream"`
	Mirrored []recordedRequest        `json:"mirrored"`
	Response *recordedResponse        `json:"response"`
	Log      []map[string]any         `json:"log"`
	Fresh    map[string]vectors.Fresh `json:"fresh"`
}

type recordedRequest struct {
	Line    string         `json:"line"`
	Headers []vectors.Pair `json:"headers"`
}

type recordedResponse struct {
	Line    string         `json:"line"`
	Headers []vectors.Pair `json:"headers"`
	Body    string         `json:"body"`
	Closed  bool           `json:"closed"`
}

// recordedRoute is Envoy's route configuration, as far as the recordings use it.
type recordedRoute struct {
	Cluster     string `json:"cluster"`
	Timeout     string `json:"timeout"`
	RetryPolicy *struct {
		RetryOn       string `json:"retry_on"`
		NumRetries    int    `json:"num_retries"`
		PerTryTimeout string `json:"per_try_timeout"`
		RetryBackOff  struct {
			BaseInterval string `json:"base_interval"`
		} `json:"retry_back_off"`
	} `json:"retry_policy"`
	PrefixRewrite      string `json:"prefix_rewrite"`
	HostRewriteLiteral string `json:"host_rewrite_literal"`
	Mirrors            []struct {
		Cluster string `json:"cluster"`
	} `json:"request_mirror_policies"`
	Redirect *struct {
		HostRedirect string `json:"host_redirect"`
		PathRedirect string `json:"path_redirect"`
	} `json:"redirect"`
	Direct *route.DirectResponse `json:"direct_response"`
}

type recordedFault struct {
	Delay *struct {
		FixedDelay string `json:"fixed_delay"`
		Percentage struct{ Numerator float64 }
	} `json:"delay"`
	Abort *struct {
		HTTPStatus int `json:"http_status"`
		Percentage struct{ Numerator float64 }
	} `json:"abort"`
}

func seconds(s string) time.Duration {
	d, _ := time.ParseDuration(s)
	return d
}

// bench is a place to replay recordings: an application, a mirror, and endpoints that fail.
type bench struct {
	app, mirror *app
	refused     string // an address where nothing listens
}

func newBench(t testing.TB) *bench {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return &bench{app: newApp(t), mirror: newApp(t), refused: ln.Addr().String()}
}

const hangingAddr = "127.0.0.1:9"

// dial lets the hanging endpoint hang.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr == hangingAddr {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func (b *bench) clusters() map[string]*route.Cluster {
	one := func(name, addr string) *route.Cluster {
		return &route.Cluster{Name: name, Endpoints: []route.Endpoint{{Address: addr}}}
	}
	hanging := one("hanging", hangingAddr)
	hanging.ConnectTimeout = 250 * time.Millisecond
	overflow := one("overflow", b.app.addr)
	overflow.Limits.MaxRequests = -1
	return map[string]*route.Cluster{
		serverName: one(serverName, b.app.addr), "mirror": one("mirror", b.mirror.addr),
		"empty": {Name: "empty"}, "refused": one("refused", b.refused), "hanging": hanging, "overflow": overflow,
	}
}

// table translates a recorded route.
func (b *bench) table(r *recordedRoute, f *recordedFault) *route.Table {
	var routes []*route.Route
	if r != nil {
		rt := &route.Route{Name: "default", Operation: operation, Timeout: seconds(r.Timeout)}
		cluster := r.Cluster
		if cluster == "" {
			cluster = serverName
		}
		switch {
		case r.Redirect != nil:
			rt.Redirect = &route.Redirect{Host: r.Redirect.HostRedirect, Path: r.Redirect.PathRedirect}
		case r.Direct != nil:
			rt.Direct = r.Direct
		default:
			rt.Clusters = []route.WeightedCluster{{Cluster: cluster, Weight: 1}}
		}
		if p := r.RetryPolicy; p != nil {
			rt.Retry = &route.Retry{
				Attempts: p.NumRetries, On: p.RetryOn, PerTryTimeout: seconds(p.PerTryTimeout),
				Backoff: seconds(p.RetryBackOff.BaseInterval),
			}
		}
		if r.PrefixRewrite != "" {
			rt.Match.Path = &route.StringMatch{Kind: route.Prefix, Value: "/rewrite/"}
			rt.Rewrite = &route.Rewrite{Prefix: r.PrefixRewrite, Host: r.HostRewriteLiteral}
		}
		for _, m := range r.Mirrors {
			rt.Mirrors = append(rt.Mirrors, route.Mirror{Cluster: m.Cluster, Percent: route.Always})
		}
		if f != nil {
			rt.Fault = &route.Fault{}
			if f.Delay != nil {
				rt.Fault.Delay = seconds(f.Delay.FixedDelay)
				rt.Fault.DelayPercent = route.PercentOf(f.Delay.Percentage.Numerator)
			}
			if f.Abort != nil {
				rt.Fault.AbortStatus = f.Abort.HTTPStatus
				rt.Fault.AbortPercent = route.PercentOf(f.Abort.Percentage.Numerator)
			}
		}
		routes = append(routes, rt)
	}
	host := &route.VirtualHost{Name: "server", Domains: []string{serverHost}, Routes: routes}
	return route.NewTable("9080", 1, []*route.VirtualHost{host}, b.clusters())
}

// identity is the recorded proxy's.
func identity() sidecar.Identity {
	return sidecar.Identity{
		Service: "server", Version: "v1", Namespace: "default", Pod: "server-v1-0", PodIP: "10.0.0.7",
		ClusterID: "Kubernetes", MeshID: "cluster.local",
		NodeID: "sidecar~10.0.0.7~server-v1-0.default~default.svc.cluster.local",
	}
}

// start runs a sidecar with one listener.
func start(t testing.TB, c sidecar.Config, direction trace.Direction, table *route.Table) (addr string) {
	t.Helper()
	return startSidecar(t, c, direction, table).Addrs(direction)[0]
}

func startSidecar(t testing.TB, c sidecar.Config, direction trace.Direction, table *route.Table) *sidecar.Sidecar {
	t.Helper()
	if c.Service == "" {
		c.Identity = identity()
	}
	c.Dial = dial
	c.Listeners = []sidecar.Listener{{Direction: direction, Addr: "127.0.0.1:0", Table: table}}
	s, err := sidecar.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestRouterRecordings replays router.json: what went upstream with every header in order, and the answer to the byte.
func TestRouterRecordings(t *testing.T) {
	var file struct{ Cases []routerCase }
	vectors.Load(t, "router.json", &file)
	for _, c := range file.Cases {
		for _, profile := range c.Envoy {
			t.Run(c.ID+"/"+profile, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				tracing := trace.Defaults(trace.Direction(c.Direction))
				tracing.Format, tracing.Profile = trace.B3, trace.Profile(profile)
				var lines bytes.Buffer
				log, err := access.New(&lines, "json")
				if err != nil {
					t.Fatal(err)
				}
				s := startSidecar(t, sidecar.Config{Tracing: tracing, AccessLog: log}, trace.Direction(c.Direction), b.table(c.Route, c.Fault))
				replayRouter(t, b, c, s.Addrs(trace.Direction(c.Direction))[0])
				s.Close() // the line is written when the exchange is over
				if err := log.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				compareLog(t, c, lines.String())
			})
		}
	}
}

// compareLog compares what the access log tells with the recorded values. (flags_long and the number of attempts are not
// in Istio's format.)
func compareLog(t *testing.T, c routerCase, text string) {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(text) {
		var values map[string]any
		if err := json.Unmarshal([]byte(line), &values); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		name, direction, _ := strings.Cut(c.ID, "/")
		if path, _ := values["path"].(string); strings.HasPrefix(path, "/"+name+"/b3/"+direction) {
			lines = append(lines, values)
		}
	}
	if len(lines) != len(c.Log) {
		t.Fatalf("%d lines were logged, want %d: %s", len(lines), len(c.Log), text)
	}
	for i, want := range c.Log {
		for key, name := range map[string]string{
			"code": "response_code", "flags": "response_flags", "details": "response_code_details",
			"termination": "connection_termination_details", "transport_failure": "upstream_transport_failure_reason",
		} {
			if lines[i][name] != want[key] {
				t.Errorf("log: %s is %v, want %v", name, lines[i][name], want[key])
			}
		}
	}
}

func replayRouter(t *testing.T, b *bench, c routerCase, addr string) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := nc.Write([]byte(rawRequest(c))); err != nil {
		t.Fatal(err)
	}
	m := vectors.NewMatcher(t, c.Fresh, map[string]string{"$local_ip": "10.0.0.7"})
	if after := c.Request.ClientLeavesAfterS; after > 0 {
		time.Sleep(time.Duration(after * float64(time.Second))) // the recorded client's patience
		nc.Close()
		waitFor(t, func() bool { return b.app.length() == len(c.Upstream) })
	} else {
		br := bufio.NewReader(nc)
		g, whole := readResponse(br, false)
		m.Text("status line", c.Response.Line, g.Line)
		m.Lines("response", c.Response.Headers, g.Headers)
		m.Text("body", c.Response.Body, g.Body)
		if whole == c.Response.Closed {
			t.Errorf("answer whole: %v, connection recorded as closed: %v", whole, c.Response.Closed)
		}
	}
	compareSeen(t, m, "upstream", c.Upstream, b.app.took())
	if len(c.Mirrored) > 0 {
		waitFor(t, func() bool { return b.mirror.length() > 0 })
	}
	compareSeen(t, m, "mirror", c.Mirrored, b.mirror.took())
}

func (a *app) length() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.seen)
}

// waitFor polls for what another goroutine does soon.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("did not happen within 5 s")
		}
		time.Sleep(time.Millisecond)
	}
}

func compareSeen(t *testing.T, m *vectors.Matcher, what string, want []recordedRequest, got []seen) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s saw %d requests, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		m.Text(fmt.Sprintf("%s %d", what, i), want[i].Line, got[i].Line)
		m.Lines(fmt.Sprintf("%s %d", what, i), want[i].Headers, got[i].Headers)
	}
}

func rawRequest(c routerCase) string {
	r := c.Request
	if r.Raw != "" {
		return r.Raw
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.Path, r.Host)
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], strings.ReplaceAll(h[1], "$x70000", strings.Repeat("x", 70000)))
	}
	if r.Method == "POST" {
		b.WriteString("content-length: " + strconv.Itoa(len(r.Body)) + "\r\n")
	}
	return b.String() + "\r\n" + r.Body
}

// collector keeps the spans that were reported.
type collector struct {
	mu    sync.Mutex
	spans []trace.Span
}

func (c *collector) Report(s *trace.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := *s
	kept.Tags = append([]trace.Tag(nil), s.Tags...)
	c.spans = append(c.spans, kept)
}

func (c *collector) took() []trace.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.spans
	c.spans = nil
	return s
}
