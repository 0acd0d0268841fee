package docker_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"

	"example.com/bookinfo/propagation"
)

// TestChain runs the four services from their images, as hardened as they can be, and looks at what has become of every
// trace header when a request has crossed productpage and reviews to ratings. No mesh is there: what ratings gets, the
// applications sent.
func TestChain(t *testing.T) {
	tag := images(t)
	t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // what is started is ended by this test, and the image may not be there
	if host := os.Getenv("DOCKER_HOST"); (host == "" || strings.HasPrefix(host, "unix:")) && os.Getenv("TESTCONTAINERS_HOST_OVERRIDE") == "" {
		t.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1") // also where this machine looks like a container
	}
	nw, err := network.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := nw.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	start := func(name, version string, env map[string]string) *testcontainers.DockerContainer {
		t.Helper()
		return hardened(t, nw, name, service(tag, name+"-"+version), env)
	}
	seen := recorder(t, start("ratings", "v1", nil))
	start("details", "v1", nil)
	start("reviews", "v2", map[string]string{"RATINGS_HOSTNAME": "recorder", "RATINGS_SERVICE_PORT": seen.port})
	productpage := start("productpage", "v1", nil)

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint(t, productpage)+"/productpage", nil)
	if err != nil {
		t.Fatal(err)
	}
	table := propagation.Table()
	for i, h := range table {
		req.Header.Set(h.Name, fmt.Sprintf("%s=%d;of,many", h.Name, i))
	}
	req.Header.Set("X-Forwarded-For", "192.0.2.1")
	req.Header.Set("X-Envoy-Attempt-Count", "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("productpage answers %d", resp.StatusCode)
	}
	got := seen.headers()
	if len(got) != 1 {
		t.Fatalf("ratings got %d requests, want one", len(got))
	}
	for _, h := range table {
		want := req.Header.Values(h.Name)
		if values := got[0].Values(h.Name); len(values) != 1 || values[0] != want[0] {
			t.Errorf("%s: ratings got %q, want %q", h.Name, values, want)
		}
	}
	for _, name := range []string{"X-Forwarded-For", "X-Envoy-Attempt-Count"} {
		if values := got[0].Values(name); len(values) > 0 {
			t.Errorf("%s: ratings got %q, want nothing: that is for proxies to say", name, values)
		}
	}
}

// hardened starts an image with nothing granted to it, and checks at the process that so it is.
func hardened(t *testing.T, nw *testcontainers.DockerNetwork, alias, image string, env map[string]string) *testcontainers.DockerContainer {
	t.Helper()
	c, err := testcontainers.Run(t.Context(), image,
		network.WithNetwork([]string{alias}, nw),
		testcontainers.WithEnv(env),
		testcontainers.WithExposedPorts("9080/tcp"),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.ReadonlyRootfs = true
			h.CapDrop = []string{"ALL"}
			h.SecurityOpt = []string{"no-new-privileges:true"}
			h.Memory = 64 << 20
			h.ExtraHosts = []string{"recorder:host-gateway"}
		}),
		testcontainers.WithWaitStrategyAndDeadline(time.Minute, wait.ForHTTP("/health").WithPort("9080/tcp").WithPollInterval(100*time.Millisecond)),
	)
	testcontainers.CleanupContainer(t, c)
	if err != nil {
		t.Fatalf("%s: %v", image, err)
	}
	state, err := c.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", state.State.Pid))
	if err != nil {
		t.Logf("Docker runs elsewhere, so that the process of %s is not looked at: %v", alias, err)
		return c
	}
	for _, want := range []string{`Uid:\s1000\s1000\s1000\s1000`, `CapEff:\s0+`, `CapBnd:\s0+`, `NoNewPrivs:\s1`} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).Match(status) {
			t.Errorf("%s: no line %s in\n%s", alias, want, status)
		}
	}
	return c
}

func endpoint(t *testing.T, c *testcontainers.DockerContainer) string {
	t.Helper()
	address, err := c.PortEndpoint(t.Context(), "9080/tcp", "http")
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// recording stands before ratings and keeps the headers that come.
type recording struct {
	port string
	mu   sync.Mutex
	all  []http.Header
}

func recorder(t *testing.T, ratings *testcontainers.DockerContainer) *recording {
	t.Helper()
	target, err := url.Parse(endpoint(t, ratings))
	if err != nil {
		t.Fatal(err)
	}
	// Containers reach it by the address of this machine on Docker's bridge.
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{port: port}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.all = append(r.all, req.Header.Clone())
		r.mu.Unlock()
		proxy.ServeHTTP(w, req)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return r
}

func (r *recording) headers() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}
