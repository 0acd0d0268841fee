package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/servertest"
	"example.com/bookinfo/internal/settings"
)

// sample is a small service.
func sample() http.Handler {
	handle := server.Adapt(func(w http.ResponseWriter, _ *http.Request, e *server.Error) {
		http.Error(w, e.Message, e.Status)
	})
	r := chi.NewRouter()
	r.Get("/health", func(http.ResponseWriter, *http.Request) {})
	r.Get("/things/{id}", handle(func(w http.ResponseWriter, r *http.Request) error {
		switch chi.URLParam(r, "id") {
		case "told":
			return server.Errorf(http.StatusTeapot, "told")
		case "secret":
			return errors.New("secret")
		case "wrapped":
			return fmt.Errorf("outer: %w", &server.Error{Status: 502, Message: "upstream", Err: errors.New("cause")})
		case "panic":
			panic("oops")
		case "half":
			_, _ = io.WriteString(w, strings.Repeat("x", 8192))
			panic("half way")
		case "abort":
			panic(http.ErrAbortHandler)
		}
		_, err := io.WriteString(w, "thing")
		return err
	}))
	r.Get("/numbers/{n:[0-9]{1,3}}/{rest:.*}", func(http.ResponseWriter, *http.Request) {})
	r.Post("/unread", func(http.ResponseWriter, *http.Request) {})
	r.Post("/things", handle(func(w http.ResponseWriter, r *http.Request) error {
		_, err := io.Copy(io.Discard, r.Body)
		return err
	}))
	return r
}

func run(ctx context.Context, args []string, lookup settings.Lookup, stdout io.Writer) error {
	program := server.Program{Name: "sample", About: "a sample", Args: args, Env: settings.From(lookup), Stdout: stdout}
	return server.Run(ctx, program, func(server.Parts) (http.Handler, error) { return sample(), nil })
}

func TestOneLineForEachRequest(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for name, c := range map[string]struct {
		header      http.Header
		trace, span any
	}{
		"w3c":     {http.Header{"Traceparent": {"00-" + trace + "-" + span + "-01"}}, trace, span},
		"b3":      {http.Header{"X-B3-Traceid": {trace}, "X-B3-Spanid": {span}}, trace, span},
		"b3 one":  {http.Header{"B3": {trace + "-" + span + "-1"}}, trace, span},
		"datadog": {http.Header{"X-Datadog-Trace-Id": {"12"}, "X-Datadog-Parent-Id": {"34"}}, "12", "34"},
		"none":    {http.Header{}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := servertest.Start(t, run, nil)
			c.header.Set("X-Request-Id", "req-1")
			s.Do(t, "GET", "/things/1", c.header, "")
			line := requestLine(t, s)
			want := map[string]any{
				"level": "INFO", "msg": "request", "method": "GET", "path": "/things/1", "status": 200.0, "bytes": 5.0,
				"trace_id": c.trace, "span_id": c.span, "x-request-id": "req-1",
			}
			for key, value := range want {
				if line[key] != value {
					t.Errorf("%s is %v, want %v in %v", key, line[key], value, line)
				}
			}
		})
	}
}

// requestLine waits for the one line of a request: it is written after the answer.
func requestLine(t *testing.T, s *servertest.Instance) map[string]any {
	t.Helper()
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
		for text := range strings.Lines(s.Log()) {
			line := map[string]any{}
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatalf("no JSON: %s", text)
			}
			if line["msg"] == "request" {
				return line
			}
		}
	}
	t.Fatalf("no line for the request:\n%s", s.Log())
	return nil
}

func TestLogAsTextAndByLevel(t *testing.T) {
	var text bytes.Buffer
	server.NewLog(&text, server.LogConfig{Format: "text", Level: slog.LevelWarn}).Warn("kept")
	server.NewLog(&text, server.LogConfig{Format: "text", Level: slog.LevelWarn}).Info("left out")
	if got := text.String(); !strings.Contains(got, "level=WARN msg=kept\n") || strings.Contains(got, "left out") {
		t.Errorf("got %q", got)
	}
}

func TestErrorsBecomeAStatusInOnePlace(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/things/told":    {http.StatusTeapot, "told\n"},
		"/things/secret":  {500, "internal error\n"},
		"/things/wrapped": {502, "upstream\n"},
		"/things/panic":   {500, "internal error\n"},
	} {
		if resp, body := s.Get(t, path); resp.StatusCode != want.status || body != want.body {
			t.Errorf("%s: got %d %q", path, resp.StatusCode, body)
		}
	}
	for _, part := range []string{`"error":"secret"`, `"error":"outer: upstream: cause"`, `"msg":"panic","cause":"oops"`} {
		if !strings.Contains(s.Log(), part) {
			t.Errorf("%s is not in the log:\n%s", part, s.Log())
		}
	}
	for _, path := range []string{"/things/abort", "/things/half"} {
		resp, err := http.Get(s.URL + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the connection was not cut", path)
		}
	}
}

func TestBodiesAreLimited(t *testing.T) {
	s := servertest.Start(t, run, nil)
	large := strings.Repeat("x", server.MaxBodyBytes+1)
	if resp, _ := s.Do(t, "POST", "/things", nil, large[1:]); resp.StatusCode != 200 {
		t.Errorf("exactly the limit: %s", resp.Status)
	}
	if resp, _ := s.Do(t, "POST", "/things", nil, large); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("one more: %s", resp.Status)
	}
	// Without a length the size shows only while reading, which the first route does and the second does not.
	for _, path := range []string{"/things", "/unread"} {
		for body, want := range map[string]int{large[1:]: 200, large: http.StatusRequestEntityTooLarge} {
			resp, err := http.Post(s.URL+path, "text/plain", io.MultiReader(strings.NewReader(body)))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s, %d bytes in chunks: %s, want %d", path, len(body), resp.Status, want)
			}
		}
	}
}

func TestBrokenChunksAreRefused(t *testing.T) {
	s := servertest.Start(t, run, nil)
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /unread HTTP/1.1\r\nHost: sample\r\nTransfer-Encoding: chunked\r\n\r\nnot a length\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s", resp.Status)
	}
}

func TestMetricsByRouteAndStatus(t *testing.T) {
	s := servertest.Start(t, run, nil)
	s.Get(t, "/things/1")
	s.Get(t, "/things/2")
	s.Get(t, "/things/told")
	s.Get(t, "/nothing/at/all")
	s.Get(t, "/numbers/12/x")
	s.Do(t, "FOO", "/things/1", nil, "")
	resp, body := s.Get(t, "/metrics")
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("Content-Type %q", got)
	}
	const name = "http_server_request_duration_seconds_count"
	for _, line := range []string{
		name + `{http_request_method="GET",http_response_status_code="200",http_route="/things/{id}"} 2`,
		name + `{http_request_method="GET",http_response_status_code="418",http_route="/things/{id}"} 1`,
		name + `{http_request_method="GET",http_response_status_code="404",http_route=""} 1`,
		name + `{http_request_method="GET",http_response_status_code="200",http_route="/numbers/{n}/{rest}"} 1`,
		name + `{http_request_method="_OTHER",http_response_status_code="405",http_route=""} 1`,
		"go_goroutines ",
		"process_resident_memory_bytes ",
	} {
		if !strings.Contains(body, line) {
			t.Errorf("no %s in\n%s", line, body)
		}
	}
}

func TestDrain(t *testing.T) {
	s := servertest.Start(t, run, map[string]string{"DRAIN_DELAY": "300ms"})
	if resp, _ := s.Get(t, "/readyz"); resp.StatusCode != 200 {
		t.Fatalf("/readyz: %s", resp.Status)
	}
	stopped := make(chan error)
	go func() { stopped <- s.Stop() }()
	for {
		resp, _ := s.Get(t, "/readyz") // fails the test if the service ends before it says so
		if resp.StatusCode == http.StatusServiceUnavailable {
			break
		}
	}
	resp, body := s.Get(t, "/things/1")
	if resp.StatusCode != 200 || body != "thing" || !resp.Close {
		t.Errorf("while draining: %s %s, Connection: close is %v", resp.Status, body, resp.Close)
	}
	if resp, _ := s.Get(t, "/livez"); resp.StatusCode != 200 {
		t.Errorf("/livez while draining: %s", resp.Status)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestRequestsBeyondTheShutdownTimeoutAreCut(t *testing.T) {
	working := make(chan bool)
	stuck := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(working)
		<-r.Context().Done()
	})
	log := slog.New(slog.DiscardHandler)
	listener, err := server.Listen(t.Context(), "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() { // its error is the point
		resp, err := http.Get("http://" + listener.Addr().String())
		if err == nil {
			resp.Body.Close()
			t.Error("the stuck request was answered")
		}
	}()
	go func() {
		<-working
		stop()
	}()
	var draining atomic.Bool
	err = server.Serve(ctx, server.HTTP(stuck, log), listener, server.Drain{Timeout: 50 * time.Millisecond, Draining: &draining}, log)
	if err != nil || !draining.Load() {
		t.Errorf("error %v, draining %v", err, draining.Load())
	}
}

// closer is a service that has something to give up.
type closer struct {
	http.Handler
	closed atomic.Bool
}

func (c *closer) Close() error {
	c.closed.Store(true)
	return nil
}

func TestServicesAreClosed(t *testing.T) {
	service := &closer{Handler: sample()}
	s := servertest.Start(t, func(ctx context.Context, args []string, lookup settings.Lookup, stdout io.Writer) error {
		program := server.Program{Name: "sample", Args: args, Env: settings.From(lookup), Stdout: stdout}
		return server.Run(ctx, program, func(server.Parts) (http.Handler, error) { return service, nil })
	}, nil)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if !service.closed.Load() {
		t.Error("Close was not called")
	}
}

func TestSpansAreNamedAfterTheRoute(t *testing.T) {
	collected := make(chan []byte, 10)
	collector := servertest.NewStub(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		collected <- body
	})
	// The exporter reads the environment of the process.
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	s := servertest.Start(t, run, map[string]string{"OTEL_TRACES_EXPORTER": "otlp"})
	s.Get(t, "/things/1")
	if line := requestLine(t, s); line["trace_id"] == nil || line["span_id"] == nil {
		t.Errorf("the ids of the span are not in the log line: %v", line)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case body := <-collected:
		if !bytes.Contains(body, []byte("GET /things/{id}")) || !bytes.Contains(body, []byte("http.route")) {
			t.Errorf("no span with the name and attribute of the route: %q", body)
		}
	default:
		t.Error("the span was not sent before the end")
	}
}

func TestAWrongAddressIsAWrongSetting(t *testing.T) {
	for _, host := range []string{"192.0.2.1", "no.such.host.invalid", "1:2"} {
		err := run(t.Context(), []string{"0"}, settings.Map(map[string]string{"LISTEN_HOST": host}), io.Discard)
		var usage *server.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), `LISTEN_HOST="`+host+`"`) || strings.Contains(err.Error(), "\n") {
			t.Errorf("LISTEN_HOST=%s: got %v", host, err)
		}
	}
}

func TestHealthByAddress(t *testing.T) {
	s := servertest.Start(t, run, map[string]string{"LISTEN_HOST": ""})
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"", "0.0.0.0", "127.0.0.1"} {
		if err := server.CheckHealth(t.Context(), host, number); err != nil {
			t.Errorf("host %q: %v", host, err)
		}
	}
	if err := server.CheckHealth(t.Context(), "", 1); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("nobody there: %v", err)
	}
}

func BenchmarkObserver(b *testing.B) {
	observer := server.Observer{Log: server.NewLog(io.Discard, server.LogConfig{}), Registry: server.NewRegistry()}
	handler := observer.Handler(sample())
	req := httptest.NewRequest("GET", "/things/1", nil)
	req.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(discard{}, req)
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
