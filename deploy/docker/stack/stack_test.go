// Package stack_test brings docker-compose.yaml up from the Dockerfile's images and looks at the traces that real Envoys
// make of Bookinfo's requests. It is a module of its own, so that what testcontainers' Compose needs is no dependency of
// Bookinfo's.
package stack_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go/modules/compose"

	"example.com/bookinfo/deploy/docker/imagetest"
	"example.com/bookinfo/internal/vectors"
)

// stack is a project of docker-compose.yaml with ports of its own.
type stack struct {
	t       *testing.T
	project string
	env     map[string]string
	seen    map[string]bool // spans of earlier requests
}

func newStack(t *testing.T, profile string) *stack {
	t.Helper()
	tag := imagetest.Build(t, "service", "bookinfo")
	t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // what is started is ended by this test, and the image may not be there
	s := &stack{
		t: t, project: "bookinfo-test-" + strings.ToLower(rand.Text()[:8]), seen: map[string]bool{},
		env: map[string]string{
			"COMPOSE_PROFILES": profile, "REGISTRY": imagetest.Registry, "TAG": tag, "GATEWAY_PORT": "0", "CONSOLE_PORT": "0",
		},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", s.try("ps", "-a"))
			t.Logf("%s", s.try("logs", "--tail", "5"))
		}
		s.try("down", "--timeout", "2", "--volumes")
	})
	return s
}

func (s *stack) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"compose", "--progress", "quiet", "-p", s.project}, args...)...)
	cmd.Dir = imagetest.Root(s.t)
	cmd.Env = os.Environ()
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// try runs a command whose failure is not the test's: its context may be done.
func (s *stack) try(args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, _ := s.command(ctx, args...).CombinedOutput()
	return string(out)
}

func (s *stack) run(args ...string) string {
	s.t.Helper()
	out, err := s.command(s.t.Context(), args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("docker compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// up starts what is not there and replaces what is set differently, as docker compose up does; it returns when all is
// healthy. settings are pairs of a variable and its value.
func (s *stack) up(settings ...string) {
	s.t.Helper()
	for i := 0; i+1 < len(settings); i += 2 {
		s.env[settings[i]] = settings[i+1]
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 90*time.Second)
	defer cancel()
	up, err := compose.NewDockerComposeWith(
		compose.WithStackFiles(filepath.Join(imagetest.Root(s.t), "docker-compose.yaml")),
		compose.StackIdentifier(s.project), compose.WithProfiles(s.env["COMPOSE_PROFILES"]),
	)
	if err != nil {
		s.t.Fatal(err)
	}
	defer up.Close()
	if err := up.WithEnv(s.env).Up(ctx, compose.Wait(true)); err != nil {
		s.t.Fatal(err)
	}
}

// url is where a port of a container is published; a container that was started again may have another.
func (s *stack) url(service, port string) string {
	s.t.Helper()
	return "http://" + s.run("port", service, port)
}

// get asks without pooling, as containers come and go behind the address.
func get(ctx context.Context, url string) (int, http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, body, err
}

// page asks for the product page and wants it whole.
func (s *stack) page(gateway string) {
	s.t.Helper()
	status, _, body, err := get(s.t.Context(), gateway+"/productpage")
	if err != nil || status != http.StatusOK || !strings.Contains(string(body), "The Comedy of Errors") {
		s.t.Fatalf("productpage: %v, status %d, %d bytes", err, status, len(body))
	}
}

// span is an element of Zipkin's answer.
type span struct {
	TraceID       string
	ID            string
	ParentID      string
	Kind, Name    string
	LocalEndpoint struct{ ServiceName string }
	Tags          map[string]string
}

// fresh returns the spans that the console got since the last call.
func (s *stack) fresh(console string) []span {
	s.t.Helper()
	status, _, body, err := get(s.t.Context(), console+"/api/v2/traces?limit=1000")
	var traces [][]span
	if err == nil {
		err = json.Unmarshal(body, &traces)
	}
	if err != nil || status != http.StatusOK {
		s.t.Fatalf("traces: %v, status %d, %.200s", err, status, body)
	}
	var out []span
	for _, one := range slices.Concat(traces...) {
		if !s.seen[one.TraceID+one.ID+one.Kind] {
			out = append(out, one)
		}
	}
	return out
}

// take waits until the console has n new spans, and for a flush interval more in case there come too many.
func (s *stack) take(console string, n int) []span {
	s.t.Helper()
	var spans []span
	for deadline := time.Now().Add(10 * time.Second); len(spans) < n && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
		spans = s.fresh(console)
	}
	time.Sleep(300 * time.Millisecond)
	spans = s.fresh(console)
	for _, one := range spans {
		s.seen[one.TraceID+one.ID+one.Kind] = true
	}
	return spans
}

// reviewsVersion is that of the reviews that took part.
func reviewsVersion(spans []span) string {
	for _, one := range spans {
		if one.LocalEndpoint.ServiceName == "reviews.default" && one.Kind == "SERVER" {
			return one.Tags["istio.canonical_revision"]
		}
	}
	return ""
}

// chain is an element of chains.json, as far as spans go.
type chain struct {
	ID    string
	Spans []chainSpan
	Fresh map[string]vectors.Fresh
}

type chainSpan struct {
	Service, Kind, Name, Trace, ID string
	Parent                         *string
	RequestID                      *string `json:"request_id"`
}

// recorded returns the chain with the given id, as Envoy 1.36 was seen to behave.
func recorded(t *testing.T, id string) chain {
	t.Helper()
	var file struct{ Chains []chain }
	vectors.Load(t, "chains.json", &file)
	i := slices.IndexFunc(file.Chains, func(c chain) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("no chain %s was recorded", id)
	}
	return file.Chains[i]
}

// without returns the chain as it is when reviews v1 answers, which does not call ratings.
func (c chain) without(callee string) chain {
	c.Spans = slices.DeleteFunc(slices.Clone(c.Spans), func(s chainSpan) bool { return strings.HasPrefix(s.Name, callee+".") })
	return c
}

// compare wants each recorded span, with the same trace, parent and request id, and no other.
func compare(t *testing.T, c chain, got []span) {
	t.Helper()
	if len(got) != len(c.Spans) {
		t.Errorf("%s: %d spans, want %d: %+v", c.ID, len(got), len(c.Spans), got)
		return
	}
	m := vectors.NewMatcher(t, c.Fresh, nil)
	for _, want := range c.Spans {
		what := fmt.Sprintf("%s: %s %s %s", c.ID, want.Service, want.Kind, want.Name)
		i := slices.IndexFunc(got, func(s span) bool {
			return s.LocalEndpoint.ServiceName == want.Service && s.Kind == want.Kind && s.Name == want.Name
		})
		if i < 0 {
			t.Errorf("%s: no such span among %+v", what, got)
			continue
		}
		s := got[i]
		m.Text(what+": trace", want.Trace, s.TraceID)
		m.Text(what+": id", want.ID, s.ID)
		switch {
		case want.Parent != nil:
			m.Text(what+": parent", *want.Parent, s.ParentID)
		case s.ParentID != "":
			t.Errorf("%s has the parent %s", what, s.ParentID)
		}
		if want.RequestID != nil {
			m.Text(what+": request id", *want.RequestID, s.Tags["guid:x-request-id"])
		}
	}
}

// everyVersion sends requests until all versions of reviews have answered, and compares each request's spans.
func (s *stack) everyVersion(gatewayService string, c chain) {
	s.t.Helper()
	gateway, console := s.url(gatewayService, "8080"), s.url("console", "9411")
	answered := map[string]bool{}
	for i := 0; len(answered) < 3; i++ {
		if i == 30 {
			s.t.Fatalf("of 30 requests none came to other versions of reviews than %v", answered)
		}
		s.page(gateway)
		spans := s.take(console, len(c.without("ratings").Spans))
		v := reviewsVersion(spans)
		want := c
		if v == "v1" {
			want = c.without("ratings")
		} else if len(spans) < len(c.Spans) {
			spans = append(spans, s.take(console, len(c.Spans)-len(spans))...)
		}
		answered[v] = true
		compare(s.t, want, spans)
		if s.t.Failed() {
			s.t.FailNow()
		}
	}
}

// Behind real Envoys each format of trace headers gives the recorded trees, with forwarding and without, and through
// every version of reviews. Then what is killed comes back.
func TestEnvoys(t *testing.T) {
	s := newStack(t, "envoy")
	for _, f := range []struct{ compose, recorded string }{{"b3", "b3"}, {"b3+w3c", "b3-w3c"}, {"w3c", "otel"}} {
		t.Run(f.compose, func(t *testing.T) {
			s := s.in(t)
			s.up("TRACE_FORMAT", f.compose, "FORWARD_HEADERS", "none")
			s.everyVersion("gateway", recorded(t, "none/"+f.recorded+"/gateway-two-spans"))
			s.up("FORWARD_HEADERS", "")
			s.everyVersion("gateway", recorded(t, "all/"+f.recorded+"/gateway-two-spans"))
		})
		if t.Failed() {
			return
		}
	}
	t.Run("around", func(t *testing.T) { s.in(t).around() })
	t.Run("killed", func(t *testing.T) { s.in(t).killed(recorded(t, "all/otel/gateway-two-spans")) })
}

// in is the stack with the test that what fails is reported to.
func (s *stack) in(t *testing.T) *stack {
	s.t = t
	return s
}

// around tries to reach an application past its Envoy, from the network.
func (s *stack) around() {
	container := s.run("ps", "-q", "details-v1")
	ip := imagetest.Docker(s.t.Context(), s.t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
	status, header, _, err := get(s.t.Context(), "http://"+net.JoinHostPort(ip, "9080")+"/details/0")
	if err != nil {
		s.t.Skipf("addresses of containers cannot be reached from here: %v", err)
	}
	if status != http.StatusOK || header.Get("Server") != "istio-envoy" {
		s.t.Errorf("port 9080 answers %d from %q, want the Envoy", status, header.Get("Server"))
	}
	for _, port := range []string{"9081", "15000"} {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, port), 2*time.Second)
		if err == nil {
			conn.Close()
			s.t.Errorf("port %s can be reached from the network", port)
		}
	}
}

// killed ends one container after another without warning, looks at what a user sees then, and at whether all is as
// before when it is back.
func (s *stack) killed(whole chain) {
	gateway := s.url("gateway", "8080")
	s.run("kill", "ratings-v1")
	s.page(gateway) // without stars
	s.forget()
	s.run("restart", "ratings-v1") // and with it the Envoy in its network namespace
	s.up()
	s.settles(whole)

	s.run("kill", "reviews-v2-envoy")
	for range 3 {
		s.page(gateway)
	}
	s.forget()
	s.run("start", "reviews-v2-envoy")
	s.settles(whole)

	s.run("kill", "console")
	s.page(gateway)
	s.run("start", "console")
	s.settles(whole)

	s.run("kill", "gateway")
	if _, _, _, err := get(s.t.Context(), gateway+"/productpage"); err == nil {
		s.t.Error("the gateway answers though it was killed")
	}
	s.run("start", "gateway")
	s.settles(whole)
}

// forget waits until no more spans come and leaves them out of what follows.
func (s *stack) forget() { s.take(s.url("console", "9411"), 1) }

// settles sends requests until one of each version of reviews left the whole chain: addresses of containers are asked
// for once a second, and connections to the collector come back by and by.
func (s *stack) settles(whole chain) {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	gateway, console := s.url("gateway", "8080"), s.url("console", "9411")
	for {
		answered := map[string]bool{}
		for i := 0; i < 6 && len(answered) < 3; i++ {
			_, _, _, err := get(s.t.Context(), gateway+"/productpage")
			if errors.Is(err, context.Canceled) {
				s.t.Fatal(err)
			}
			spans := s.take(console, len(whole.without("ratings").Spans))
			v, want := reviewsVersion(spans), whole
			if v == "v1" {
				want = whole.without("ratings")
			}
			if len(spans) == len(want.Spans) {
				compare(s.t, want, spans)
				answered[v] = true
			}
		}
		if len(answered) == 3 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("half a minute later only these versions of reviews have whole traces: %v", answered)
		}
	}
}

// The stand-in takes Envoy's place, and stopping everything at once loses none of its spans.
func TestSidecars(t *testing.T) {
	s := newStack(t, "sidecar")
	s.up("TRACE_FORMAT", "w3c")
	whole := recorded(t, "all/otel/gateway-two-spans")
	for i, one := range whole.Spans { // its gateway has one destination and no routes to be named after
		whole.Spans[i].Name = strings.Replace(one.Name, ":9080/productpage", ":9080/*", 1)
	}
	s.everyVersion("gateway-sidecar", whole)
	gateway, console := s.url("gateway-sidecar", "8080"), s.url("console", "9411")
	s.page(gateway)
	names := slices.DeleteFunc(strings.Fields(s.run("ps", "--services")), func(name string) bool { return name == "console" })
	s.run(append([]string{"stop"}, names...)...)
	spans := s.fresh(console)
	if reviewsVersion(spans) == "v1" {
		whole = whole.without("ratings")
	}
	compare(t, whole, spans)
}

// Without a mesh the page is the same and there is no span.
func TestPlain(t *testing.T) {
	s := newStack(t, "plain")
	s.up()
	s.page(s.url("productpage-v1-plain", "9080"))
	time.Sleep(300 * time.Millisecond)
	if spans := s.fresh(s.url("console", "9411")); len(spans) > 0 {
		t.Errorf("%d spans", len(spans))
	}
}
