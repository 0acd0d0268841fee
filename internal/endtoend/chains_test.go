// Package endtoend tests the suite's services together with the mesh's stand-in, as nothing else imports both.
package endtoend

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/internal/telemetry"
	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/details"
	"example.com/bookinfo/services/productpage"
	"example.com/bookinfo/services/ratings"
	"example.com/bookinfo/services/reviews"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/trace"
)

// chain is an element of chains.json, as far as traces go; what crosses each hop is compared in package sidecar.
type chain struct {
	ID, Format, Forward string
	Envoy               []string
	TwoSpans            bool `json:"gateway_spawn_upstream_span"`
	Sampling            float64
	In                  []vectors.Pair
	Status              int
	Traces              []struct {
		Spans, Roots, Orphans int
	}
	Spans []struct {
		Service, Kind, Name, Trace, ID string
		Parent                         *string
	}
	Fresh map[string]vectors.Fresh
}

// TestChains runs the recorded chains with the real services. How they forward is their own setting; an application
// that is broken on purpose is a transport around theirs.
func TestChains(t *testing.T) {
	var file struct {
		Lists  map[string][]string `json:"forward_lists"`
		Chains []chain
	}
	vectors.Load(t, "chains.json", &file)
	for _, c := range file.Chains {
		for _, profile := range c.Envoy {
			t.Run(c.ID+"/"+profile, func(t *testing.T) { replay(t, c, profile, file.Lists) })
		}
	}
}

// reporter keeps spans with the service that made them.
type reporter struct {
	service string
	all     *spans
}

type spans struct {
	mu   sync.Mutex
	kept []kept
}

type kept struct {
	service string
	span    trace.Span
}

func (r reporter) Report(s *trace.Span) {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	span := *s
	span.Tags = slices.Clone(s.Tags)
	r.all.kept = append(r.all.kept, kept{r.service, span})
}

func replay(t *testing.T, c chain, profile string, lists map[string][]string) {
	all := &spans{}
	tracing := trace.Defaults(trace.Inbound)
	tracing.Profile, tracing.Sampling = trace.Profile(profile), c.Sampling
	tracing.Format = map[string]trace.Format{"b3": trace.B3, "b3-w3c": trace.B3W3C, "otel": trace.W3C}[c.Format]
	names := []string{"productpage", "details", "reviews", "ratings"}

	// A service is asked through its inbound listener and asks through its outbound one, so the listeners come first
	// and the applications behind them last.
	apps := map[string]*httptest.Server{}
	known := &sidecar.Destinations{Retries: -1}
	for _, name := range names {
		apps[name] = httptest.NewUnstartedServer(nil)
		table, err := known.Inbound(name, apps[name].Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		addr := listen(t, all, tracing, sidecar.Identity{Service: name, Version: "v1"}, 0,
			sidecar.Listener{Direction: trace.Inbound, Addr: "127.0.0.1:0", Table: table})
		if err := known.Add(name, "", []string{addr}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		addr := listen(t, all, tracing, sidecar.Identity{Service: name, Version: "v1"}, 0,
			sidecar.Listener{Direction: trace.Outbound, Addr: "127.0.0.1:0", Table: known.Outbound()})
		apps[name].Config.Handler = service(t, name, addr, c.Forward, lists)
		apps[name].Start()
		t.Cleanup(apps[name].Close)
	}
	operation, count := "productpage.default.svc.cluster.local:9080/productpage", 1
	if c.TwoSpans {
		count = 2
	}
	edge := *known
	edge.Operation = &operation
	table, err := edge.To("productpage")
	if err != nil {
		t.Fatal(err)
	}
	gateway := listen(t, all, tracing, sidecar.Identity{Service: "istio-ingressgateway", Namespace: "istio-system"}, count,
		sidecar.Listener{Direction: trace.Gateway, Addr: "127.0.0.1:0", Table: table})

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+gateway+"/productpage", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range c.In {
		req.Header.Add(h[0], h[1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != c.Status || !strings.Contains(string(page), "The Comedy of Errors") {
		t.Fatalf("status %d, page of %d bytes", resp.StatusCode, len(page))
	}
	compare(t, c, all)
}

// service is the handler of a real service whose calls go to the outbound listener.
func service(t *testing.T, name, outbound, forward string, lists map[string][]string) http.Handler {
	t.Helper()
	values := map[string]string{"FORWARD_HEADERS": forwardSetting(name, forward, lists)}
	for _, callee := range []string{"DETAILS", "REVIEWS", "RATINGS"} {
		// The sidecar knows the destination by its Host, so each call names the service and is dialed to the listener.
		values[callee+"_HOSTNAME"] = strings.ToLower(callee)
		values[callee+"_SERVICE_PORT"] = "9080"
	}
	values["ENABLE_RATINGS"] = "true"
	env := settings.From(settings.Map(values))
	log := slog.New(slog.DiscardHandler)
	tel, err := telemetry.Start(t.Context(), env.Getenv, name+".default")
	if err != nil {
		t.Fatal(err)
	}
	broken := func(next http.RoundTripper) http.RoundTripper { return tel.Transport(breaking{next, name, forward}) }
	toSidecar := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, outbound)
	}
	var h http.Handler
	switch name {
	case "productpage":
		h, err = productpage.New(productpage.FromEnv(env), productpage.Deps{
			Log: log, Registry: server.NewRegistry(), Trace: broken, Dial: toSidecar,
		})
	case "details":
		cfg := details.FromEnv(env)
		cfg.Log = log
		h = details.New(cfg)
	case "reviews":
		cfg := reviews.FromEnv(env)
		cfg.Log = log
		tr := reviews.NewTransport()
		tr.DialContext = toSidecar
		cfg.Transport = broken(tr)
		h = reviews.New(cfg)
	case "ratings":
		cfg := ratings.FromEnv(env)
		cfg.Log = log
		h = ratings.New(cfg)
	}
	if err := env.Err(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return server.Observer{Log: log, Registry: server.NewRegistry(), Trace: tel.Handler}.Handler(h)
}

// forwardSetting is FORWARD_HEADERS for a recorded way to forward.
func forwardSetting(service, forward string, lists map[string][]string) string {
	list, named := lists[forward]
	switch {
	case forward == "none", forward == "all-but-"+service:
		return "none"
	case !named:
		list = lists["all"]
	}
	list = slices.Clone(list)
	if i := slices.Index(list, "b3"); i >= 0 {
		list[i] = "b3-single" // the setting's word for that header; b3 is the family of x-b3-*
	}
	return strings.Join(list, ",")
}

// breaking is the last thing that an outgoing request passes in an application that is broken on purpose.
type breaking struct {
	next    http.RoundTripper
	service string
	way     string
}

func (b breaking) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	h := r.Header
	change := func(change func(values []string) []string, names ...string) {
		for _, name := range names {
			name = http.CanonicalHeaderKey(name)
			if values := change(h[name]); values != nil {
				h[name] = values
			}
		}
	}
	first := func(values []string) string {
		if len(values) == 0 {
			return ""
		}
		return values[0]
	}
	switch b.way {
	case "empty-values":
		change(func(v []string) []string { return []string{first(v)} },
			"x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "traceparent", "tracestate")
	case "twice":
		change(func(v []string) []string { return append(v, v...) },
			"x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "traceparent")
	case "joined":
		change(func(v []string) []string {
			if first(v) == "" {
				return nil
			}
			return []string{v[0] + "," + v[0]}
		}, "x-b3-traceid", "x-b3-spanid", "traceparent")
	case "sampled-0":
		if b.service == "productpage" {
			h.Set("X-B3-Sampled", "0")
		}
	case "flags-00":
		if parent := h.Get("Traceparent"); b.service == "productpage" && parent != "" {
			h.Set("Traceparent", parent[:len(parent)-2]+"00")
		}
	case "span-as-parent":
		h.Set("X-B3-Spanid", h.Get("X-B3-Parentspanid"))
	}
	return b.next.RoundTrip(r)
}

func listen(t *testing.T, all *spans, tracing trace.Config, id sidecar.Identity, count int, l sidecar.Listener) string {
	t.Helper()
	namespace := id.Namespace
	if namespace == "" {
		namespace = "default"
	}
	s, err := sidecar.Start(t.Context(), sidecar.Config{
		Identity: id, Tracing: tracing, GatewaySpans: count, Listeners: []sidecar.Listener{l},
		Reporter: reporter{id.Service + "." + namespace, all},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.Addrs(l.Direction)[0]
}

func compare(t *testing.T, c chain, all *spans) {
	t.Helper()
	total := 0
	for _, tr := range c.Traces {
		total += tr.Spans
	}
	// The last spans are reported after the page has come.
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		all.mu.Lock()
		n := len(all.kept)
		all.mu.Unlock()
		if n >= total {
			break
		}
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if len(all.kept) != total {
		t.Errorf("%d spans, want %d", len(all.kept), total)
	}
	m := vectors.NewMatcher(t, c.Fresh, nil)
	traces := map[string]bool{}
	for _, want := range c.Spans {
		what := fmt.Sprintf("%s %s %s", want.Service, want.Kind, want.Name)
		i := slices.IndexFunc(all.kept, func(k kept) bool {
			return k.service == want.Service && k.span.Kind.String() == want.Kind && k.span.Name == want.Name
		})
		if i < 0 {
			t.Errorf("no span %s", what)
			continue
		}
		s := all.kept[i].span
		id := string(s.AppendTraceID(nil))
		traces[id] = true
		m.Text(what+": trace", want.Trace, id)
		m.Text(what+": id", want.ID, hexID(s.ID))
		if s.HasParent != (want.Parent != nil) {
			t.Errorf("%s has a parent: %v", what, s.HasParent)
		} else if s.HasParent {
			m.Text(what+": parent", *want.Parent, hexID(s.Parent))
		}
	}
	if len(traces) != len(c.Traces) {
		t.Errorf("%d traces, want %d", len(traces), len(c.Traces))
	}
}

func hexID(id uint64) string {
	var b [8]byte
	for i := range b {
		b[i] = byte(id >> (56 - 8*i))
	}
	return hex.EncodeToString(b[:])
}
