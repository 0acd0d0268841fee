// Package tracetest starts Bookinfo in a Go test, behind the stand-in of the mesh, and asserts on the traces that its
// requests make. Everything listens on free ports of the loopback address and ends with the test.
//
//	func TestReviewsForwards(t *testing.T) {
//		suite := tracetest.Start(t, tracetest.Options{Reviews: "v3"})
//		trace := suite.Get("/productpage").Trace()
//		trace.Spans(9)
//		trace.NoOrphans()
//		trace.HasEdge("reviews", "ratings")
//	}
package tracetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/cmd/bookinfo/demo"
	"example.com/bookinfo/cmd/bookinfo/meshctl"
	"example.com/bookinfo/internal/breakage"
	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/sidecar/trace"
)

// Options choose what runs. The zero value is the demo as it starts by itself: W3C Trace Context, every request
// sampled, every header forwarded, reviews in turn.
type Options struct {
	Proxy   string  // builtin, or envoy: real Envoys, or the test is skipped where there is none
	Format  string  // b3, b3+w3c or w3c
	Profile string  // Envoy's behaviour, 1.36 or 1.40
	Sample  float64 // percent; 0 is 100, and less than 0 none
	Forward string  // as FORWARD_HEADERS
	Reviews string  // the one version of reviews that answers: v1, v2 or v3
	// Break makes a service forward wrongly: what `bookinfo break` takes, by service.
	Break map[string][]string
}

// Suite is a running Bookinfo.
type Suite struct {
	t    testing.TB
	info demo.Info
}

// Start starts the suite and ends it with the test.
func Start(t testing.TB, o Options) *Suite {
	t.Helper()
	sampling := o.Sample
	if sampling == 0 {
		sampling = 100
	}
	format, profile := trace.Format(o.Format), trace.Profile(o.Profile)
	if format == "" {
		format = trace.W3C
	}
	if profile == "" {
		profile = trace.Envoy136
	}
	// The real environment is left out: a developer's OTEL_* variables would change what the test sees.
	running, err := demo.Start(t.Context(), demo.Config{
		Forward: o.Forward, Sidecars: true, Format: format, Profile: profile, Sampling: max(sampling, 0),
		Lookup: func(string) (string, bool) { return "", false },
		Envoy:  realEnvoy(t, o.Proxy),
		Log:    slog.New(slog.DiscardHandler), ServiceLog: slog.New(slog.DiscardHandler), Progress: io.Discard,
	})
	if err != nil {
		t.Fatalf("start Bookinfo: %v", err)
	}
	t.Cleanup(func() {
		if err := running.Close(); err != nil {
			t.Errorf("stop Bookinfo: %v", err)
		}
	})
	s := &Suite{t: t, info: running.Info()}
	if o.Reviews != "" {
		s.Apply(onlyReviews(o.Reviews))
	}
	for service, changes := range o.Break {
		s.Break(service, changes...)
	}
	return s
}

func realEnvoy(t testing.TB, proxy string) string {
	t.Helper()
	switch proxy {
	case "", "builtin":
		return ""
	case "envoy":
		return need.Tool(t, "envoy")
	}
	t.Fatalf("proxy %q: want builtin or envoy", proxy)
	return ""
}

func onlyReviews(version string) string {
	return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  subsets:
  - name: only
    labels:
      version: ` + version + `
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
  - route:
    - destination:
        host: reviews
        subset: only
`
}

// URL is where users enter: the gateway.
func (s *Suite) URL() string { return s.info.Entry() }

// Console is the address of the trace console.
func (s *Suite) Console() string { return s.info.Console }

// Control is the address of the demo's own page.
func (s *Suite) Control() string { return s.info.Control }

// Break makes a service forward wrongly from now on; see `bookinfo break -h`.
func (s *Suite) Break(service string, changes ...string) {
	s.t.Helper()
	body, err := json.Marshal(breakage.State{Service: service, Broken: changes})
	if err != nil {
		s.t.Fatal(err)
	}
	s.control(http.MethodPut, "/api/breakage/"+service, string(body), nil)
}

// Mend makes every service forward as it should again.
func (s *Suite) Mend() {
	s.t.Helper()
	s.control(http.MethodDelete, "/api/breakage/", "", nil)
}

func (s *Suite) control(method, path, body string, out any) {
	s.t.Helper()
	status, answer := s.do(method, s.info.Control+path, body, nil)
	if status/100 != 2 {
		s.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			s.t.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

func (s *Suite) do(method, url, body string, headers http.Header) (int, []byte) {
	s.t.Helper()
	resp, answer := s.send(method, url, body, headers)
	return resp.StatusCode, answer
}

func (s *Suite) send(method, url, body string, headers http.Header) (*http.Response, []byte) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, values := range headers {
		req.Header[name] = values
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, answer
}

// Response is what a request got.
type Response struct {
	suite  *Suite
	Status int
	Header http.Header
	Body   string
}

// Get asks the gateway for a path. headers are pairs of name and value.
func (s *Suite) Get(path string, headers ...string) Response {
	s.t.Helper()
	if len(headers)%2 != 0 {
		s.t.Fatal("headers: want pairs of name and value")
	}
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	resp, body := s.send(http.MethodGet, s.URL()+path, "", h)
	return Response{suite: s, Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// TraceID is the trace that productpage says it was part of, "" for none.
func (r Response) TraceID() string {
	if parts := strings.Split(r.Header.Get("Traceresponse"), "-"); len(parts) == 4 {
		return parts[1]
	}
	return r.Header.Get("X-B3-Traceid")
}

// arrival bounds how long a trace may take to be whole: sidecars of the demo report every 200 ms.
const arrival = 10 * time.Second

// Trace waits until the trace of the response has stopped growing, and returns it. A request that was not traced fails
// the test.
func (r Response) Trace() *Trace {
	r.suite.t.Helper()
	if r.TraceID() == "" {
		r.suite.t.Fatal("the response names no trace")
	}
	return r.suite.Trace(r.TraceID())
}

// Trace waits until the trace has stopped growing, and returns it.
func (s *Suite) Trace(id string) *Trace {
	s.t.Helper()
	deadline := time.Now().Add(arrival)
	quiet := 0
	var spans []Span
	for {
		var now []Span
		if status, body := s.do(http.MethodGet, s.info.Console+"/api/v2/trace/"+id, "", nil); status == http.StatusOK {
			if err := json.Unmarshal(body, &now); err != nil {
				s.t.Fatal(err)
			}
		}
		if len(now) > 0 && len(now) == len(spans) {
			quiet++
		} else {
			quiet = 0
		}
		spans = now
		// Two flush intervals without a new span.
		if quiet >= 4 {
			return &Trace{t: s.t, ID: id, spans: spans}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("trace %s: %d spans after %s, and still growing or none", id, len(spans), arrival)
		}
		time.Sleep(120 * time.Millisecond)
	}
}

// Traces waits until nothing more arrives, and returns every trace that the console holds, the oldest first. Where an
// application does not forward, a request leaves more than one.
func (s *Suite) Traces() []*Trace {
	s.t.Helper()
	deadline := time.Now().Add(arrival)
	count, quiet := 0, 0
	for {
		var all [][]Span
		if status, body := s.do(http.MethodGet, s.info.Console+"/api/v2/traces?limit=1000", "", nil); status != http.StatusOK {
			s.t.Fatalf("the console's traces: %d %s", status, body)
		} else if err := json.Unmarshal(body, &all); err != nil {
			s.t.Fatal(err)
		}
		now := 0
		for _, spans := range all {
			now += len(spans)
		}
		if now == count {
			quiet++
		} else {
			quiet = 0
		}
		if count = now; quiet >= 5 {
			traces := make([]*Trace, 0, len(all))
			for _, spans := range all {
				traces = append(traces, &Trace{t: s.t, ID: spans[0].TraceID, spans: spans})
			}
			slices.SortFunc(traces, func(a, b *Trace) int { return int(a.All()[0].Timestamp - b.All()[0].Timestamp) })
			return traces
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d spans after %s, and still more", now, arrival)
		}
		time.Sleep(120 * time.Millisecond)
	}
}

// Join has an application of the test's own join the mesh as a service of that name, behind a sidecar. It returns the
// port by which others call the service.
func (s *Suite) Join(name string, handler http.Handler) (port int) {
	s.t.Helper()
	app := httptest.NewServer(handler)
	s.t.Cleanup(app.Close)
	port = app.Listener.Addr().(*net.TCPAddr).Port
	ctx, leave := context.WithCancel(context.Background())
	body := fmt.Sprintf(`{"name":%q,"port":%d}`, name, port)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.info.Control+"/api/apps", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req) // the application stays for as long as this answer does
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		leave()
		resp.Body.Close()
	})
	var joined demo.Attached
	if err := json.NewDecoder(resp.Body).Decode(&joined); err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("join as %s: %s %v", name, resp.Status, err)
	}
	return port
}

// Apply puts Istio's resources in force, as `bookinfo apply` does.
func (s *Suite) Apply(resources string) {
	s.t.Helper()
	commands := meshctl.Commands()
	apply := commands[slices.IndexFunc(commands, func(c meshctl.Command) bool { return c.Name == "apply" })]
	var said strings.Builder
	err := apply.Run(s.t.Context(), meshctl.Env{
		Args: []string{"-f", "-"}, Stdin: strings.NewReader(resources), Stdout: &said, Stderr: &said, Now: time.Now,
		Control: func(context.Context, string) (string, error) { return s.info.Control, nil },
	})
	if err != nil {
		s.t.Fatalf("apply: %v\n%s", err, &said)
	}
}
