package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/server"
)

// running starts the command and returns what it printed when ready.
func running(t *testing.T, args ...string) map[string]any {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, args, func(string) string { return "" }, w, io.Discard) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	ready := make(chan map[string]any, 1)
	go func() {
		var line map[string]any
		if json.NewDecoder(r).Decode(&line) == nil {
			ready <- line
		}
	}()
	select {
	case line := <-ready:
		return line
	case err := <-done:
		done <- err
		t.Fatalf("it ended before it was ready: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("not ready within 10 s")
	}
	return nil
}

func get(t *testing.T, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func TestListenersAndCollector(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-B3-Traceid"))
	}))
	defer app.Close()
	reports := make(chan []map[string]any, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var spans []map[string]any
		if err := json.NewDecoder(r.Body).Decode(&spans); err != nil || r.URL.Path != "/api/v2/spans" {
			t.Errorf("report to %s: %v", r.URL, err)
		}
		if got := r.Header["Authentication"]; r.Header.Get("X-Tenant") != "a=b" || !slices.Equal(got, []string{"s3cret"}) {
			t.Errorf("headers of the report: %v", r.Header)
		}
		w.WriteHeader(http.StatusAccepted)
		reports <- spans
	}))
	defer collector.Close()
	appAddr := strings.TrimPrefix(app.URL, "http://")
	ready := running(t, "--service", "reviews", "--version", "v2", "--pod-ip", "10.0.0.9",
		"--inbound", "127.0.0.1:0="+appAddr, "--outbound", "127.0.0.1:0", "--outbound", "127.0.0.1:0=ratings:v1",
		"--gateway", "127.0.0.1:0=ratings", "--endpoint", "ratings:v1="+appAddr, "--admin", "127.0.0.1:0",
		"--zipkin", collector.URL, "--collector-header", "authentication=s3cret", "--collector-header", "x-tenant=a=b", "--format", "b3", "--flush-interval", "20ms", "--client-sampling", "100")
	outbound, ok := ready["outbound"].([]any)
	if !ok || len(outbound) != 2 {
		t.Fatalf("two outbound listeners are %v, want a list", ready["outbound"])
	}
	for _, tt := range []struct{ addr, host, kind, name string }{
		{ready["inbound"].(string), "reviews:9080", "SERVER", "reviews.default.svc.cluster.local:9080/*"},
		{outbound[0].(string), "ratings:9080", "CLIENT", "ratings.default.svc.cluster.local:9080/*"},
		{outbound[1].(string), "anything", "CLIENT", "ratings.default.svc.cluster.local:9080/*"},
		{ready["gateway"].(string), "bookinfo.example", "SERVER", "ratings.default.svc.cluster.local:9080/*"},
	} {
		status, traceID := get(t, "http://"+tt.addr+"/", tt.host)
		if status != 200 || len(traceID) != 32 {
			t.Errorf("%s: %d %q", tt.addr, status, traceID)
			continue
		}
		found := false
		for deadline := time.After(5 * time.Second); !found; {
			select {
			case spans := <-reports:
				for _, s := range spans {
					found = found || s["traceId"] == traceID && s["kind"] == tt.kind && s["name"] == tt.name &&
						s["localEndpoint"].(map[string]any)["ipv4"] == "10.0.0.9" &&
						s["tags"].(map[string]any)["node_id"] == "sidecar~10.0.0.9~reviews-v2-0.default~default.svc.cluster.local"
				}
			case <-deadline:
				t.Fatalf("no %s span %q of trace %s was reported", tt.kind, tt.name, traceID)
			}
		}
	}
	if status, _ := get(t, "http://"+outbound[0].(string)+"/", "nowhere:9080"); status != 404 {
		t.Errorf("an unknown destination got %d, want 404", status)
	}
	admin := "http://" + ready["admin"].(string)
	for path, want := range map[string]string{
		"/ready": "LIVE", "/stats/prometheus": "istio_requests_total{", "/config_dump": `"outbound|9080|v1|ratings.default.svc.cluster.local"`,
		"/stats": "tracing.zipkin.spans_sent: ",
	} {
		if status, body := get(t, admin+path, "admin"); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d without %q", path, status, want)
		}
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sidecar.yaml")
	file := "service: reviews\nsampling: 0.5\nasm-version: 1.18.0.124\nclient_sampling: 50\ntracing: true\n" +
		"inbound: [\"127.0.0.1:0=127.0.0.1:9080\"]\nendpoint:\n- ratings=127.0.0.1:1,127.0.0.1:2\nflush-interval: 200ms\n"
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"--config", name, "--sampling", "7"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.identity.Service != "reviews" || o.tracing.Sampling != 7 || o.tracing.ClientSampling != 50 ||
		o.tracing.Format != "b3" || o.flush != 200*time.Millisecond || len(o.endpoints) != 1 || len(o.inbound) != 1 {
		t.Errorf("read as %+v", o)
	}
	if o, err = parse([]string{"--config", name, "--format", "w3c"}, io.Discard); err != nil || o.tracing.Format != "w3c" {
		t.Errorf("a flag beside the file's asm-version: %v", err)
	}
	c, err := o.config()
	if err != nil || len(c.Listeners) != 1 {
		t.Errorf("%v, %+v", err, c.Listeners)
	}
}

func TestWrongSettings(t *testing.T) {
	ok := []string{"--service", "a", "--inbound", "127.0.0.1:0=127.0.0.1:1"}
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "sidecar.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	unknown, listed := file("servise: a\n"), file("service: a\nsampling: [1, 2]\n")
	nested, worded := file("service: {a: b}\n"), file("service: a\nsampling: many\n")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "--service"},
		{[]string{"--service", "a"}, "--inbound, --outbound, --gateway"},
		{append(ok, "extra"), `"extra"`},
		{append(ok, "--nonsense"), "nonsense"},
		{append(ok, "--format", "b4"), `format "b4": want b3, b3+w3c or w3c`},
		{append(ok, "--profile", "1.2"), `want 1.36 or 1.40`},
		{append(ok, "--sampling", "101"), "percentage from 0 to 100"},
		{append(ok, "--sampling", "x"), `--sampling "x": want a number`},
		{append(ok, "--asm-version", "new"), "want a version of ASM, such as 1.18.0.124"},
		{append(ok, "--gateway-spans", "3"), "want 1 or 2"},
		{append(ok, "--asm-version", "1.18.0.124", "--format", "w3c"), "want one of them"},
		{append(ok, "--flush-interval", "5"), `--flush-interval "5": want a time with its unit`},
		{append(ok, "--tracing=maybe"), `--tracing "maybe": want true or false`},
		{append(ok, "--admin", "nowhere"), `--admin "nowhere": "nowhere" is no address to listen at`},
		{append(ok, "--admin", "127.0.0.1:99999"), "want HOST:PORT"},
		{append(ok, "--outbound", "127.0.0.1=b"), `"127.0.0.1" is no address to listen at`},
		{[]string{"--config", listed}, "sampling: want one value, not a list"},
		{[]string{"--config", nested}, "service: want a value"},
		{[]string{"--config", worded}, `sampling "many": want a number`},
		{append(ok, "--zipkin", "http://a", "--otlp", "http://b"), "want one of them"},
		{append(ok, "--zipkin", "nowhere"), "zipkin"},
		{append(ok, "--zipkin", "http://a", "--collector-header", "Authentication"), "--collector-header, number 1: want NAME=VALUE"},
		{append(ok, "--zipkin", "http://a", "--collector-header", "a=b", "--collector-header", "a b=c"), "number 2"},
		{append(ok, "--collector-header", "a=b"), "beside --zipkin or --otlp"},
		{append(ok, "--endpoint", "a"), "NAME[:SUBSET]=HOST:PORT"},
		{append(ok, "--endpoint", "a=b"), `"b": want HOST:PORT`},
		{append(ok, "--outbound", "127.0.0.1:0=b"), `destination "b"`},
		{append(ok, "--gateway", "127.0.0.1:0"), "ADDR=DESTINATION"},
		{append(ok, "--inbound", "127.0.0.1:0"), "ADDR=APP"},
		{append(ok, "--internal-ranges", "10.0.0.0"), "10.0.0.0/8"},
		{append(ok, "--pod-ip", "here"), "IP address"},
		{append(ok, "--access-log", "-", "--access-log-format", "xml"), "text or json"},
		{append(ok, "--no-context-propagation"), "profile 1.40"},
		{[]string{"--config", unknown}, `unknown key "servise"`},
		{[]string{"--config", "/does/not/exist"}, "--config"},
	} {
		var out bytes.Buffer
		err := run(t.Context(), tt.args, func(string) string { return "" }, &out, io.Discard)
		if out.Len() > 0 {
			t.Errorf("%q prints %s", tt.args, &out)
		}
		var usage *server.UsageError
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one line with %q", tt.args, err, tt.want)
		} else if !errors.As(err, &usage) {
			t.Errorf("%q: %v does not end with code 2", tt.args, err)
		}
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, func(string) string { return "" }, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--inbound ADDR=APP", "--endpoint NAME[:SUBSET]=HOST:PORT", "--zipkin URL", "--flush-interval TIME", `{"inbound":`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the help lacks %q", want)
		}
	}
}
