package forward_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"example.com/bookinfo/services/console/forward"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/journal"
)

// collector is an OTLP endpoint; handle decides the status for the n-th request, from 1.
type collector struct {
	*httptest.Server
	requests, spans atomic.Int64
	got             chan int
}

func newCollector(t *testing.T, handle func(n int64) int) *collector {
	t.Helper()
	c := &collector{got: make(chan int, 1000)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := handle(c.requests.Add(1))
		if status == http.StatusOK {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body, err := io.ReadAll(z)
			req := ptraceotlp.NewExportRequest()
			if err != nil || req.UnmarshalProto(body) != nil || r.URL.Path != "/v1/traces" {
				t.Errorf("%s: no OTLP: %v", r.URL.Path, err)
			}
			n := req.Traces().SpanCount()
			c.spans.Add(int64(n))
			c.got <- n
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(c.Close)
	return c
}

func start(t *testing.T, url string, o forward.Options) (*forward.Forwarder, *prometheus.Registry) {
	t.Helper()
	r := prometheus.NewRegistry()
	o.URL, o.Registry, o.Log = url, r, slog.New(slog.DiscardHandler)
	f, err := forward.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return f, r
}

func counted(t *testing.T, r *prometheus.Registry, name string) (value float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "bookinfo_console_forward_"+name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func post(n int) journal.Frame {
	body := fmt.Sprintf(`[{"traceId":"%016x","id":"1","name":"op","timestamp":1700000000000000,"duration":5,"localEndpoint":{"serviceName":"a"}}]`, n+1)
	return journal.Frame{Format: byte(ingest.ZipkinV2JSON), Received: time.Unix(1_700_000_000, 0), Body: body}
}

// TestTriesAgain: a collector that is overloaded gets the spans later, once.
func TestTriesAgain(t *testing.T) {
	c := newCollector(t, func(n int64) int {
		if n == 1 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	f, r := start(t, c.URL, forward.Options{})
	f.Append(post(1))
	if n := <-c.got; n != 1 {
		t.Errorf("%d spans", n)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if sent, failed := counted(t, r, "spans_total"), counted(t, r, "spans_failed_total"); sent != 1 || failed != 0 || c.requests.Load() != 2 {
		t.Errorf("sent %v, failed %v, %d requests", sent, failed, c.requests.Load())
	}
}

// TestRefusedForGood: what the collector will never take is not tried again, and counted.
func TestRefusedForGood(t *testing.T) {
	c := newCollector(t, func(int64) int { return http.StatusUnauthorized })
	f, r := start(t, c.URL, forward.Options{})
	f.Append(post(1))
	_ = f.Close(t.Context())
	if failed := counted(t, r, "spans_failed_total"); failed != 1 || c.requests.Load() != 1 {
		t.Errorf("failed %v after %d requests", failed, c.requests.Load())
	}
}

// TestQueueIsBounded: while the collector hangs posts wait up to the bound, the rest is dropped and counted, and
// Append never waits. Afterwards everything that waited arrives.
func TestQueueIsBounded(t *testing.T) {
	hold := make(chan struct{})
	c := newCollector(t, func(int64) int { <-hold; return http.StatusOK })
	const posts = 5000
	size := int64(len(post(0).Body))
	f, r := start(t, c.URL, forward.Options{QueueBytes: 100 * size})
	for n := range posts {
		f.Append(post(n))
	}
	dropped := counted(t, r, "posts_dropped_total")
	if waiting := counted(t, r, "queue_bytes"); dropped == 0 || waiting > float64(100*size) {
		t.Errorf("%v dropped, %v bytes wait; the bound is %d", dropped, waiting, 100*size)
	}
	close(hold)
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := c.spans.Load(); got == 0 || got != posts-int64(dropped) || counted(t, r, "spans_total") != float64(got) || counted(t, r, "queue_bytes") != 0 {
		t.Errorf("%d spans arrived, %v were dropped, of %d", got, dropped, posts)
	}
}

// TestCloseEnds although the collector never answers.
func TestCloseEnds(t *testing.T) {
	hold := make(chan struct{})
	c := newCollector(t, func(int64) int { <-hold; return http.StatusOK })
	defer close(hold)
	f, r := start(t, c.URL, forward.Options{})
	f.Append(post(1))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_ = f.Close(ctx)
	if failed := counted(t, r, "spans_failed_total"); failed != 1 {
		t.Errorf("%v spans count as failed, want 1", failed)
	}
}

func TestUnreadablePostIsCounted(t *testing.T) {
	c := newCollector(t, func(int64) int { return http.StatusOK })
	f, r := start(t, c.URL, forward.Options{})
	f.Append(journal.Frame{Format: byte(ingest.OTLPProto), Body: "\xff\xff"})
	_ = f.Close(t.Context())
	if n := counted(t, r, "posts_unreadable_total"); n != 1 || c.requests.Load() != 0 {
		t.Errorf("%v counted, %d requests", n, c.requests.Load())
	}
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"http://a:4318": "http://a:4318/v1/traces", "https://a/otlp/": "https://a/otlp/", "http://a:4317": "grpc://a:4317",
		"grpcs://a:4317": "grpcs://a:4317", "http://a:4317/v1/traces": "http://a:4317/v1/traces",
	} {
		if u, err := forward.Parse(in); err != nil || u.String() != want {
			t.Errorf("%s: %v, %v; want %s", in, u, err, want)
		}
	}
	for _, bad := range []string{"", "a:4317", "ftp://a", "grpc://a/path", "http://a/?q", "http://a/#f", "http://", "http://a b"} {
		if _, err := forward.Parse(bad); err == nil || !strings.Contains(err.Error(), "grpc://collector:4317") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
