package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/sidecar/trace"
)

// run is an element of reporter.json.
type run struct {
	ID     string   `json:"id"`
	Format string   `json:"format"`
	Case   string   `json:"case"`
	Envoy  []string `json:"envoy"`
	Sent   []struct {
		At       float64 `json:"at_s"`
		Requests int     `json:"requests"`
	} `json:"sent"`
	Posts []struct {
		After float64 `json:"after_s"`
		Spans int     `json:"spans"`
	} `json:"posts"`
	Post *struct {
		Line    string         `json:"line"`
		Headers []vectors.Pair `json:"headers"`
	} `json:"post"`
	Counters map[string]uint64 `json:"counters"`
}

func runs(t *testing.T) []run {
	t.Helper()
	var file struct {
		Runs []run `json:"runs"`
	}
	vectors.Load(t, "reporter.json", &file)
	if len(file.Runs) == 0 {
		t.Fatal("no recorded run")
	}
	return file.Runs
}

// fakeCollector answers without a network, so that time can be faked.
type fakeCollector struct {
	status int // 0: it cannot be reached
	body   string
	delay  time.Duration

	mu    sync.Mutex
	posts []post
}

type post struct {
	at    time.Time
	spans int
	body  []byte
}

func (c *fakeCollector) ask(ctx context.Context, parts [][]byte) (answer, error) {
	body := bytes.Join(parts, nil)
	at := time.Now()
	if c.delay > 0 {
		select {
		case <-time.After(c.delay):
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
	}
	if c.status == 0 {
		return answer{}, errors.New("connect: connection refused")
	}
	c.mu.Lock()
	c.posts = append(c.posts, post{at: at, spans: countSpans(body), body: body})
	c.mu.Unlock()
	return answer{c.status, []byte(c.body)}, nil
}

// countSpans counts the spans of a report in either protocol.
func countSpans(body []byte) int {
	var spans []json.RawMessage
	if json.Unmarshal(body, &spans) == nil {
		return len(spans)
	}
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return -1
	}
	return len(request.ResourceSpans[0].ScopeSpans[0].Spans)
}

// startFake starts a reporter of one of the formats of reporter.json that sends to c.
func startFake(t *testing.T, format string, c *fakeCollector, o Options) *Reporter {
	t.Helper()
	o.Service, o.Address, o.Version = "server.default", "10.0.0.7", "test"
	if format == "zipkin" {
		o.Collector = "http://zipkin.istio-system.svc.cluster.local"
		z, err := newZipkin(&o)
		if err != nil {
			t.Fatal(err)
		}
		z.poster.ask = c.ask
		return start("zipkin", z, o)
	}
	o.Collector = "http://otel-collector.istio-system.svc.cluster.local"
	w, err := newOTLP(&o)
	if err != nil {
		t.Fatal(err)
	}
	w.http.ask = c.ask
	return start("opentelemetry", w, o)
}

func span() *trace.Span {
	return &trace.Span{
		TraceHigh: 0x463ac35c9f6413ad, TraceLow: 0x48485a3953bb6124, ID: 0xa2fb4a1d1a96d312, Kind: trace.Client,
		Name: "details.default.svc.cluster.local:9080/*", Start: time.Now(), Duration: 2100 * time.Microsecond,
		Tags: []trace.Tag{{Key: "component", Value: "proxy"}},
	}
}

// TestRecordedRuns repeats the recorded runs in fake time: when reports are sent, of how many spans, and what the
// counters say. The recorded worker ran for a while before the first request; the ticks of its timer tell how long.
func TestRecordedRuns(t *testing.T) {
	for _, r := range runs(t) {
		if r.Format == "otlp-grpc" {
			continue // TestGRPC
		}
		t.Run(r.ID, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { repeat(t, r) })
		})
	}
}

func repeat(t *testing.T, r run) {
	c := &fakeCollector{status: 202}
	if strings.HasPrefix(r.Format, "otlp") {
		c.status = 200
	}
	switch {
	case r.Case == "collector-down":
		c.status = 0
	case strings.HasPrefix(r.Case, "collector-"):
		fmt.Sscanf(r.Case, "collector-%d", &c.status)
	}
	ahead := 500 * time.Millisecond
	if n := len(r.Posts); n > 0 && r.Posts[n-1].After > 0.1 {
		late := math.Mod(r.Posts[n-1].After, 5)
		ahead = time.Duration((5 - late) * float64(time.Second))
	}
	begin := time.Now()
	reporter := startFake(t, r.Format, c, Options{})
	time.Sleep(ahead)
	first := time.Now()
	for _, s := range r.Sent {
		time.Sleep(time.Until(first.Add(time.Duration(s.At * float64(time.Second)))))
		for range s.Requests {
			reporter.Report(span())
			synctest.Wait()
		}
	}
	prefix := "tracing." + reporter.Name() + "."
	ticks := time.Duration(r.Counters[prefix+"timer_flushed"])
	time.Sleep(time.Until(begin.Add(ticks*5*time.Second + 100*time.Millisecond)))
	synctest.Wait()

	posts := c.seen()
	if len(posts) != len(r.Posts) {
		t.Errorf("%d reports, want %d", len(posts), len(r.Posts))
	}
	for i := range min(len(posts), len(r.Posts)) {
		after := posts[i].at.Sub(first).Seconds()
		if posts[i].spans != r.Posts[i].Spans || math.Abs(after-r.Posts[i].After) > 0.15 {
			t.Errorf("report %d of %d spans after %.2f s, want %d after %.2f s", i, posts[i].spans, after,
				r.Posts[i].Spans, r.Posts[i].After)
		}
	}
	counters := reporter.Counters()
	for name, got := range map[string]uint64{
		"spans_sent": counters.SpansSent.Load(), "timer_flushed": counters.TimerFlushed.Load(),
		"spans_dropped": counters.SpansDropped.Load(), "reports_sent": counters.ReportsSent.Load(),
		"reports_dropped": counters.ReportsDropped.Load(), "reports_failed": counters.ReportsFailed.Load(),
		"reports_skipped_no_cluster": counters.ReportsSkippedNoCluster.Load(),
	} {
		if want, ok := r.Counters[prefix+name]; ok && got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	if err := reporter.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// While a report is in flight, spans gather for the next one instead of making many.
func TestCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{status: 202, delay: time.Second}
		r := startFake(t, "zipkin", c, Options{})
		for range 5 {
			r.Report(span())
		}
		synctest.Wait()
		for range 42 {
			r.Report(span())
		}
		time.Sleep(2500 * time.Millisecond)
		if got := sizes(c.seen()); !slices.Equal(got, []int{5, 42}) {
			t.Errorf("reports of %v spans, want 5 and 42", got)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// seen returns the reports that came so far.
func (c *fakeCollector) seen() []post {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.posts)
}

func sizes(posts []post) (out []int) {
	for _, p := range posts {
		out = append(out, p.spans)
	}
	return out
}

// A collector that does not answer costs spans beyond the queue, and no time.
func TestStuckCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{status: 202, delay: time.Hour}
		r := startFake(t, "zipkin", c, Options{QueueBytes: 10_000})
		before := time.Now()
		const n = 1000
		for range n {
			r.Report(span())
			synctest.Wait()
		}
		if time.Since(before) != 0 {
			t.Errorf("a report held the requests up for %v", time.Since(before))
		}
		r.mu.Lock()
		held := len(r.queue) + r.flying
		queued := r.spans
		r.mu.Unlock()
		if held > 10_000 || held < 9_000 {
			t.Errorf("%d bytes are held, want nearly 10000", held)
		}
		if dropped := r.Counters().SpansDropped.Load(); dropped != uint64(n-5-queued) {
			t.Errorf("%d spans dropped, want %d", dropped, n-5-queued)
		}
		time.Sleep(6 * time.Second) // the first report times out after 5 s, and the next begins
		if got := r.Counters().ReportsDropped.Load(); got != 1 {
			t.Errorf("%d reports dropped, want 1", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v, want a deadline", err)
		}
		synctest.Wait()
	})
}

func TestCloseFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeCollector{status: 202}
		r := startFake(t, "zipkin", c, Options{})
		r.Report(span())
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := sizes(c.seen()); !slices.Equal(got, []int{1}) {
			t.Errorf("reports of %v spans, want one of 1", got)
		}
		r.Report(span())
		if got := r.Counters().SpansDropped.Load(); got != 1 {
			t.Errorf("%d spans dropped after Close, want 1", got)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("the second Close returned %v", err)
		}
	})
}

// A refusal is logged with its reason, once a minute.
func TestRefusalIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := &fakeCollector{status: 406, body: "the quota of today is used up\nsecond line"}
		r := startFake(t, "zipkin", c, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 70 {
			r.Report(span())
			time.Sleep(time.Second)
		}
		// Close makes what the worker wrote readable here.
		_ = r.Close(t.Context())
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("%d lines in 70 seconds, want 2:\n%s", n, &log)
		}
		if !strings.Contains(log.String(), `reason="406 Not Acceptable: the quota of today is used up"`) {
			t.Errorf("the reason is missing:\n%s", &log)
		}
		counters := r.Counters()
		if counters.ReportsNotAcceptable.Load() != uint64(len(c.posts)) ||
			counters.ReportsDropped.Load() != uint64(len(c.posts)) || len(c.posts) < 10 {
			t.Errorf("%d reports: %d dropped, %d not acceptable", len(c.posts), counters.ReportsDropped.Load(),
				counters.ReportsNotAcceptable.Load())
		}
	})
}

func TestNoCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, protocol := range []string{"zipkin", "otlp"} {
			none, err := New(protocol, Options{})
			if err != nil {
				t.Fatal(err)
			}
			none.Report(span())
			if err := none.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if got := none.Counters().ReportsSkippedNoCluster.Load(); got != 1 {
				t.Errorf("%s: %d reports skipped, want 1", protocol, got)
			}
		}
	})
}

func TestCollectorURLs(t *testing.T) {
	for _, tt := range []struct{ protocol, url, want string }{
		{"zipkin", "zipkin:9411", `zipkin "zipkin:9411": want a URL with the scheme http or https`},
		{"zipkin", "http://", `zipkin "http://": names no host`},
		{"zipkin", "http://%zz", `zipkin "http://%zz": not a URL`},
		{"otlp", "ftp://a", `otlp "ftp://a": want a URL with the scheme http or https or grpc or grpcs`},
		{"kafka", "http://a", `protocol "kafka": want zipkin or otlp`},
	} {
		_, err := New(tt.protocol, Options{Collector: tt.url})
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s %s: got %v, want %s", tt.protocol, tt.url, err, tt.want)
		}
	}
}

// BenchmarkEncode writes a span with the tags of a proxy's own.
func BenchmarkEncode(b *testing.B) {
	o := Options{Service: "details.default", Address: "10.0.0.7", Version: "test"}
	z, err := newZipkin(&o)
	if err != nil {
		b.Fatal(err)
	}
	w, err := newOTLP(&o)
	if err != nil {
		b.Fatal(err)
	}
	s := span()
	for _, key := range []string{
		"node_id", "guid:x-request-id", "http.url", "http.method", "downstream_cluster", "user_agent", "http.protocol",
		"peer.address", "request_size", "response_size", "upstream_cluster", "upstream_cluster.name",
		"http.status_code", "response_flags", "istio.canonical_revision", "istio.canonical_service",
		"istio.cluster_id", "istio.mesh_id", "istio.namespace",
	} {
		s.Tags = append(s.Tags, trace.Tag{Key: key, Value: "outbound|9080||details.default"})
	}
	for name, c := range map[string]codec{"zipkin": z, "otlp": w} {
		b.Run(name, func(b *testing.B) {
			var batch []byte
			b.ReportAllocs()
			for b.Loop() {
				batch = c.appendSpan(batch[:0], 0, s)
			}
			b.SetBytes(int64(len(batch)))
		})
	}
}
