package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookinfo/cmd/bookinfo/demo"
	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
)

// safeBuffer may be written to by the demo while the test reads it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// runningDemo is the demo as a user starts it.
type runningDemo struct {
	demo.Info
	lookup settings.Lookup
	stderr *safeBuffer
	rest   chan string // what came on standard output behind the first line
	stop   context.CancelFunc
	ended  chan error
}

// startDemo starts the demo by its entry point and stops it with the test.
func startDemo(t *testing.T, args ...string) *runningDemo {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	stdout, write := io.Pipe()
	d := &runningDemo{
		lookup: settings.Map(map[string]string{"XDG_RUNTIME_DIR": t.TempDir()}),
		stderr: &safeBuffer{}, rest: make(chan string, 1), stop: stop, ended: make(chan error, 1),
	}
	go func() {
		d.ended <- run(ctx, append([]string{"demo", "--json"}, args...), d.lookup, write, d.stderr)
		write.Close()
	}()
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("no line on standard output: %v; standard error: %s", err, d.stderr)
	}
	if err := json.Unmarshal([]byte(line), &d.Info); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	go func() {
		rest, _ := io.ReadAll(lines)
		d.rest <- string(rest)
	}()
	t.Cleanup(func() {
		stop()
		<-d.ended
	})
	return d
}

// command runs another subcommand, which finds the demo by itself.
func (d *runningDemo) command(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), args, d.lookup, &stdout, &stderr); err != nil {
		t.Fatalf("bookinfo %s: %v", strings.Join(args, " "), err)
	}
	return stdout.String()
}

func get(t *testing.T, address string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func post(t *testing.T, address string, form url.Values, headers ...string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

type zipkinSpan struct{ ID, ParentID string }

// oneTree tells whether one span has no parent and all others have one that is there.
func oneTree(spans []zipkinSpan) bool {
	ids, roots := map[string]bool{}, 0
	for _, s := range spans {
		ids[s.ID] = true
	}
	for _, s := range spans {
		if s.ParentID == "" {
			roots++
		} else if !ids[s.ParentID] {
			return false
		}
	}
	return roots == 1
}

func TestDemo(t *testing.T) {
	d := startDemo(t)
	for name, address := range map[string]string{"gateway": d.Gateway, "productpage": d.Productpage, "console": d.Console, "control": d.Control} {
		if u, err := url.Parse(address); err != nil || u.Hostname() != "127.0.0.1" {
			t.Errorf("%s: %q", name, address)
		}
	}
	for _, name := range []string{"productpage-v1", "details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3"} {
		if resp, body := get(t, d.Services[name]+"/health"); resp.StatusCode != 200 {
			t.Errorf("%s/health: %s %s", name, resp.Status, body)
		}
	}

	resp, page := get(t, d.Gateway+"/productpage")
	if resp.StatusCode != 200 || !strings.Contains(page, "<title>Simple Bookstore App</title>") || !strings.Contains(page, "Book Reviews") {
		t.Fatalf("%s: %s", resp.Status, page)
	}
	if strings.Contains(page, "Reviews served by:\n<div class=\"pod\">127") || !strings.Contains(page, "<div class=\"pod\">reviews-v") {
		t.Error("the page does not name a pod of reviews")
	}
	trace := strings.Split(resp.Header.Get("Traceresponse"), "-")
	if len(trace) != 4 || !strings.Contains(page, d.Console+"/traces/"+trace[1]) {
		t.Fatalf("traceresponse %q is not what the page links to", resp.Header.Get("Traceresponse"))
	}
	if resp, _ := get(t, d.Gateway+"/health"); resp.StatusCode != 404 {
		t.Errorf("/health through the gateway: %s; bookinfo-gateway.yaml does not route it", resp.Status)
	}

	// Gateway two, productpage one and two calls, details, reviews; two more when reviews asks ratings.
	want := 9
	if strings.Contains(page, "reviews-v1-") {
		want = 7
	}
	deadline := time.Now().Add(5 * time.Second)
	var spans []zipkinSpan
	for len(spans) < want && time.Now().Before(deadline) {
		if resp, body := get(t, d.Console+"/api/v2/trace/"+trace[1]); resp.StatusCode == 200 {
			spans = nil
			if err := json.Unmarshal([]byte(body), &spans); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !oneTree(spans) || len(spans) != want {
		t.Errorf("%d spans: %v; want one tree of %d", len(spans), spans, want)
	}

	if out := d.command(t, "load", "--rate", "50", "--duration", "200ms"); !strings.Contains(out, "200: 10") {
		t.Errorf("load: %s", out)
	}
}

// TestDemoStops: Ctrl-C ends it within a second though a request hangs, and nothing but the one line was printed.
func TestDemoStops(t *testing.T) {
	d := startDemo(t)
	if post(t, d.Control+"/apply", url.Values{"file": {"virtual-service-ratings-test-delay.yaml"}}) != 303 {
		t.Fatal("the delay was not applied")
	}
	hanging, err := net.Dial("tcp", strings.TrimPrefix(d.Services["reviews-v2"], "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	// reviews v2 waits for ratings, which holds jason's requests for 7 s.
	if _, err := io.WriteString(hanging, "GET /reviews/0 HTTP/1.1\r\nHost: reviews\r\nend-user: jason\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	d.stop()
	err = <-d.ended
	d.ended <- err
	if took := time.Since(start); err != nil || took > time.Second {
		t.Errorf("stopped after %s: %v", took, err)
	}
	if rest := <-d.rest; rest != "" {
		t.Errorf("standard output has more than one line: %s", rest)
	}
	if _, err := demo.Find(t.Context(), "", func(name string) string { v, _ := d.lookup(name); return v }); !errors.Is(err, demo.ErrNotFound) {
		t.Errorf("the demo can still be found: %v", err)
	}
}

// The console takes the last spans of the sidecars, so it must stop after them.
func TestDemoStopsWithoutComplaint(t *testing.T) {
	d := startDemo(t)
	for range 20 {
		get(t, d.Gateway+"/productpage")
	}
	d.stop()
	err := <-d.ended
	d.ended <- err
	if said := d.stderr.String(); err != nil || strings.Contains(said, "collector") {
		t.Errorf("stopped with %v and\n%s", err, said)
	}
}

func TestDemoTakesAFreePort(t *testing.T) {
	first, second := startDemo(t), startDemo(t)
	if first.Gateway == second.Gateway || first.Control == second.Control {
		t.Fatalf("both listen on %s", first.Gateway)
	}
	for _, want := range []string{"so productpage-v1 listens on", "so the gateway listens on", "so control listens on"} {
		if !strings.Contains(second.stderr.String(), want) {
			t.Errorf("standard error does not say %q: %s", want, second.stderr)
		}
	}
	for _, d := range []*runningDemo{first, second} {
		if resp, _ := get(t, d.Gateway+"/productpage"); resp.StatusCode != 200 {
			t.Errorf("%s: %s", d.Gateway, resp.Status)
		}
	}
}

// TestDemoWithoutSidecars: reviews takes turns, connection by connection.
func TestDemoWithoutSidecars(t *testing.T) {
	d := startDemo(t, "--proxy", "none")
	if d.Gateway != "" {
		t.Errorf("gateway: %s", d.Gateway)
	}
	seen := map[string]int{}
	for range 6 {
		_, page := get(t, d.Productpage+"/productpage")
		for _, version := range []string{"reviews-v1", "reviews-v2", "reviews-v3"} {
			if strings.Contains(page, version) {
				seen[version]++
			}
		}
	}
	if seen["reviews-v1"] != 2 || seen["reviews-v2"] != 2 || seen["reviews-v3"] != 2 {
		t.Errorf("6 pages came from %v", seen)
	}
}

// TestContract69_Split: a 50/50 split shows stars on about half of the pages.
func TestContract69_Split(t *testing.T) {
	d := startDemo(t)
	if status := post(t, d.Control+"/apply", url.Values{"file": {"virtual-service-reviews-50-v3.yaml"}}); status != 303 {
		t.Fatalf("apply: %d", status)
	}
	const pages = 200
	stars := 0
	for range pages {
		if _, page := get(t, d.Gateway+"/productpage"); strings.Contains(page, "glyphicon glyphicon-star") {
			stars++
		}
	}
	// Five standard deviations on either side.
	if stars < pages/2-35 || stars > pages/2+35 {
		t.Errorf("%d of %d pages have stars", stars, pages)
	}
}

// TestDemoForward: what the services do not forward, the trace falls apart by.
func TestDemoForward(t *testing.T) {
	d := startDemo(t, "--forward", "none", "--format", "b3")
	resp, _ := get(t, d.Gateway+"/productpage")
	if id := resp.Header.Get("X-B3-Traceid"); len(id) != 32 {
		t.Errorf("x-b3-traceid %q", id)
	}
	deadline := time.Now().Add(2 * time.Second)
	var traces [][]json.RawMessage
	for len(traces) < 3 && time.Now().Before(deadline) {
		_, body := get(t, d.Console+"/api/v2/traces?limit=100")
		if err := json.Unmarshal([]byte(body), &traces); err != nil {
			t.Fatal(err)
		}
	}
	if len(traces) < 3 { // gateway to productpage, then details and reviews each on their own
		t.Errorf("%d traces, want at least 3", len(traces))
	}
}

func TestControlIsLocal(t *testing.T) {
	d := startDemo(t)
	form := url.Values{"user": {""}}
	for _, test := range []struct {
		headers []string
		want    int
	}{
		{nil, 303},
		{[]string{"Host", "evil.example"}, 403},
		{[]string{"Origin", "http://evil.example"}, 403},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403},
	} {
		if got := post(t, d.Control+"/request", form, test.headers...); got != test.want {
			t.Errorf("%v: %d, want %d", test.headers, got, test.want)
		}
	}
	for path, form := range map[string]url.Values{
		"/apply":   {"file": {"../../go.mod"}},
		"/undo":    {"file": {"nothing.yaml"}},
		"/break":   {"service": {"details"}},
		"/request": {"user": {"mallory"}},
		"/load":    {"rate": {"1e9"}, "seconds": {"1"}},
	} {
		if got := post(t, d.Control+path, form); got < 400 || got >= 500 {
			t.Errorf("%s %v: %d, want a refusal", path, form, got)
		}
	}
}

func TestWrongDemoSwitches(t *testing.T) {
	for _, args := range [][]string{
		{"--forward", "x-nothing"}, {"--proxy", "other"}, {"--format", "b4"}, {"--asm-version", "one"}, {"--format", "b3", "--asm-version", "1.18"},
		{"--profile", "1.0"}, {"--sampling", "101"}, {"--sampling", "NaN"}, {"--zipkin", "http://a", "--otlp", "http://b"}, {"--unknown"}, {"argument"},
	} {
		err := run(t.Context(), append([]string{"demo"}, args...), settings.Map(nil), io.Discard, io.Discard)
		var usage *server.UsageError
		if !errors.As(err, &usage) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want a usage error of one line", args, err)
		}
	}
}

func TestNoDemo(t *testing.T) {
	lookup := settings.Map(map[string]string{"XDG_RUNTIME_DIR": t.TempDir()})
	err := run(t.Context(), []string{"load"}, lookup, io.Discard, io.Discard)
	if !errors.Is(err, demo.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	for _, address := range []string{"nonsense", "http://127.0.0.1:1"} {
		if err := run(t.Context(), []string{"load", "--demo", address}, lookup, io.Discard, io.Discard); err == nil || errors.Is(err, demo.ErrNotFound) {
			t.Errorf("--demo %s: %v", address, err)
		}
	}
}
