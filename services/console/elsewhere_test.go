package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/bookinfo/cmd/console/pages"
	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/remote"
	"example.com/bookinfo/services/console/span"
)

// reading starts a console that reads from another one by the API of that kind.
func reading(t *testing.T, kind string, from *console.Console, cfg console.Config) *console.Console {
	t.Helper()
	o, err := remote.Parse(kind + "=" + from.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Now = time.Now
	cfg.Backend, cfg.Pages = remote.New(o), pages.Of
	return start(t, cfg)
}

// page are the spans of a request that was served a minute ago, in Zipkin's JSON.
func page(trace uint64) string {
	at := time.Now().Add(-time.Minute).UnixMicro()
	return fmt.Sprintf(`[{"traceId":"%016x","id":"1","name":"ingress","kind":"CLIENT","timestamp":%d,"duration":9000,"localEndpoint":{"serviceName":"gateway.default"}},
		{"traceId":"%016x","id":"2","parentId":"1","name":"serve","kind":"SERVER","timestamp":%d,"duration":8000,"localEndpoint":{"serviceName":"productpage.default"},"tags":{"istio.canonical_revision":"v1","http.status_code":"200"}}]`,
		trace, at, trace, at+500)
}

// TestBackend: pages and APIs of a console show what another engine holds.
func TestBackend(t *testing.T) {
	existing := start(t, console.Config{})
	if a := send(t, "POST", existing.URL+"api/v2/spans", page(0xabc), "Content-Type", "application/json"); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	const id = "0000000000000abc"
	for _, kind := range []string{"zipkin", "jaeger"} {
		c := reading(t, kind, existing, console.Config{})
		for path, want := range map[string]string{
			"": "productpage.default", "applications/productpage.default": "v1", "traces": id, "traces/" + id: "ingress", "topology": "gateway.default",
			"traces/" + id + "?x=1":                    "Numbers, servers and topology are computed from a sample",
			"help/no-data":                             "Read from ",
			"api/bookinfo/v1/applications":             `"requests":1`,
			"api/bookinfo/v1/topology":                 `"note":"Read from `,
			"api/bookinfo/v1/traces":                   `"application":"gateway.default"`,
			"api/bookinfo/v1/traces/" + id:             `"criticalPath`,
			"api/v2/trace/" + id:                       `"productpage.default"`,
			"api/v2/services":                          `"gateway.default"`,
			"api/services":                             `"gateway.default"`,
			"api/v3/traces/" + id:                      `"resourceSpans"`,
			"api/traces?service=productpage.default":   id,
			"metrics":                                  "bookinfo_console_quota_spans",
			"api/bookinfo/v1/applications/x/metrics":   `"points":[`,
			"applications/productpage.default/servers": "productpage.default",
			"compare?a=" + id + "&b=" + id:             "ingress",
			"lessons":                                  "Lesson",
		} {
			if a := send(t, "GET", c.URL+path, ""); a.status != http.StatusOK || !strings.Contains(a.body, want) {
				t.Errorf("%s: GET /%s: %d without %s", kind, path, a.status, want)
			}
		}
		for path, want := range map[string]int{
			"traces/7777": http.StatusNotFound, "api/bookinfo/v1/traces/7777": http.StatusNotFound, "api/bookinfo/v1/usage": http.StatusNotImplemented,
			"api/bookinfo/v1/settings": http.StatusNotImplemented, "settings/cluster": http.StatusNotImplemented,
			"api/bookinfo/v1/traces?id=abc": http.StatusNotImplemented, "traces?id=abc&range=all": http.StatusNotImplemented,
		} {
			if a := send(t, "GET", c.URL+path, ""); a.status != want {
				t.Errorf("%s: GET /%s: %d, want %d: %.200s", kind, path, a.status, want, a.body)
			}
		}
	}
}

// TestBackendTakesNoSpans: what would be lost is refused, with the reason.
func TestBackendTakesNoSpans(t *testing.T) {
	c := reading(t, "zipkin", start(t, console.Config{}), console.Config{})
	for _, url := range []string{c.URL + "api/v2/spans", c.URL + "api/v1/spans", "http://" + c.OTLPHTTP + "/v1/traces"} {
		if a := send(t, "POST", url, "[]", "Content-Type", "application/json"); a.status != http.StatusNotImplemented || !strings.Contains(a.body, "--forward-otlp") {
			t.Errorf("%s: %d %s", url, a.status, a.body)
		}
	}
	if _, err := client(t, c).Export(t.Context(), export(1, 1)); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "--forward-otlp") {
		t.Errorf("gRPC: %v", err)
	}
}

// lines is a log that may be written and read at the same time.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestBackendAway: a console starts without its engine, says so, answers 502, and works when the engine comes.
func TestBackendAway(t *testing.T) {
	away := true
	var mu sync.Mutex
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("[]"))
	}))
	defer engine.Close()
	o, err := remote.Parse("zipkin=" + engine.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Now = time.Now
	var log lines
	c := start(t, console.Config{Backend: remote.New(o), Pages: pages.Of, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "the backend does not answer") {
		t.Errorf("log: %s", log.String())
	}
	for _, path := range []string{"", "api/bookinfo/v1/applications", "traces"} {
		if a := send(t, "GET", c.URL+path, ""); a.status != http.StatusBadGateway || !strings.Contains(a.body, "Zipkin at "+engine.URL) {
			t.Errorf("/%s: %d %.300s", path, a.status, a.body)
		}
	}
	if a := send(t, "GET", c.URL+"readyz", ""); a.status != http.StatusOK {
		t.Errorf("/readyz: %d", a.status)
	}
	mu.Lock()
	away = false
	mu.Unlock()
	if a := send(t, "GET", c.URL, ""); a.status != http.StatusOK {
		t.Errorf("/: %d %.300s", a.status, a.body)
	}
}

// TestForward: what one console takes in by any protocol arrives at another, also where it is not kept.
func TestForward(t *testing.T) {
	for name, keeps := range map[string]bool{"kept": true, "not kept": false} {
		t.Run(name, func(t *testing.T) {
			collector := start(t, console.Config{})
			for trace, to := range []string{"http://" + collector.OTLPHTTP, "grpc://" + collector.OTLPGRPC} {
				cfg := console.Config{ForwardOTLP: to}
				var c *console.Console
				if keeps {
					c = start(t, cfg)
				} else {
					c = reading(t, "zipkin", collector, cfg)
				}
				trace := uint64(trace+1) << 4
				if a := send(t, "POST", c.URL+"api/v2/spans", zipkinSpans(int(trace), 3), "Content-Type", "application/json"); a.status != http.StatusAccepted {
					t.Fatal(a)
				}
				if _, err := client(t, c).Export(t.Context(), export(byte(trace+1), 2)); err != nil {
					t.Fatal(err)
				}
				otlpJSON, err := export(byte(trace+2), 1).MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				if a := send(t, "POST", "http://"+c.OTLPHTTP+"/v1/traces", string(otlpJSON), "Content-Type", "application/json"); a.status != http.StatusOK {
					t.Fatal(a)
				}
				if keeps && held(t, c, trace) != 3 {
					t.Error("the spans are not kept")
				}
				// Close sends what waits.
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				for i, want := range []int{3, 2, 1} {
					if got := held(t, collector, trace+uint64(i)); got != want {
						t.Errorf("%s: trace %d has %d spans at the collector, want %d", to, i, got, want)
					}
				}
				spans, err := collector.Backend().Trace(t.Context(), span.TraceID{Lo: trace})
				if err != nil {
					t.Fatal(err)
				}
				if v, _ := spans[0].Tags.Get("k"); spans[0].Service != "a.default" || spans[0].Kind != span.KindServer || v != "v" || spans[0].Duration != time.Millisecond {
					t.Errorf("a Zipkin span arrived as %+v", spans[0])
				}
			}
		})
	}
}

// TestForwardToItself is refused: each span would go round for ever.
func TestForwardToItself(t *testing.T) {
	c := start(t, console.Config{})
	_ = c.Close()
	_, err := console.Start(context.WithoutCancel(t.Context()), console.Config{Addr: "127.0.0.1:0", OTLPHTTP: c.OTLPHTTP, ForwardOTLP: "http://" + strings.Replace(c.OTLPHTTP, "127.0.0.1", "localhost", 1)})
	var wrong *console.ConfigError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "own") {
		t.Errorf("%v", err)
	}
}
