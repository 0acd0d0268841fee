// Package report sends the spans of a proxy to a collector as Envoy does: a report of five spans at once, whatever is
// there when the timer ticks, one attempt each, and never a wait for the request that made the span.
//
// Unlike Envoy it has one report in flight at a time and lets what comes meanwhile grow into the next one. One report
// of five spans after the other would fall behind under load and lose spans.
package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bookinfo/services/sidecar/trace"
)

// Options of a reporter. The zero value of each means the default in brackets, which is Envoy's where it has one.
type Options struct {
	Collector     string        // URL of the collector; empty: spans are counted and thrown away
	Service       string        // service.name, the same as Zipkin's serviceName
	Address       string        // the proxy's own address in localEndpoint and x-forwarded-for
	Version       string        // of this program
	FlushInterval time.Duration // [5s]
	MinFlushSpans int           // [5]
	Timeout       time.Duration // of one report [5s for Zipkin, 10s for OTLP]
	QueueBytes    int           // encoded spans that wait or are in flight; more are dropped [4 MiB]
	Profile       trace.Profile // OTLP's span flags differ
	Headers       http.Header   // sent with every report: a token, for example
	Log           *slog.Logger  // failures, once a minute [none]
}

// Counters are cumulative. Those that Envoy has carry its names, under tracing.zipkin or tracing.opentelemetry.
type Counters struct {
	SpansSent               atomic.Uint64 // spans in reports, whatever became of the report
	TimerFlushed            atomic.Uint64 // ticks of the timer, idle ones included
	ReportsSent             atomic.Uint64 // reports that the collector took
	ReportsDropped          atomic.Uint64 // reports that it refused, or that could not reach it
	ReportsFailed           atomic.Uint64 // reports whose answer broke off
	ReportsSkippedNoCluster atomic.Uint64 // reports without a collector to send them to

	SpansDropped         atomic.Uint64 // spans for which the queue had no room
	ReportsNotAcceptable atomic.Uint64 // reports answered with 406, the quota's status; they are dropped ones too
}

// Reporter queues spans and sends them. It is a [trace.Reporter].
type Reporter struct {
	name     string // of its counters: "zipkin" or "opentelemetry"
	codec    codec
	options  Options
	counters Counters

	mu     sync.Mutex
	queue  []byte // encoded spans
	spans  int    // in queue
	flying int    // bytes of the report in flight
	closed bool

	wake   chan struct{} // a report is due; holds one
	done   chan struct{} // closed when the worker has ended
	stop   context.CancelFunc
	logged time.Time // when the last failure was logged; the worker's
}

// codec writes spans in one protocol and sends a batch of them.
type codec interface {
	// appendSpan appends s to a batch that holds n spans already.
	appendSpan(batch []byte, n int, s *trace.Span) []byte
	// send returns nil if the collector took the batch, and only when nothing reads the batch any more.
	send(ctx context.Context, batch []byte) error
	close() error
}

// refusal is an answer of the collector that is not "taken".
type refusal struct {
	status int // HTTP status
	reason string
}

func (r *refusal) Error() string { return r.reason }

// errBrokenOff is an answer that ended before its end.
var errBrokenOff = errors.New("the collector's answer broke off")

// errNoCollector is a reporter without a collector.
var errNoCollector = errors.New("no collector is configured")

// New returns a running reporter for a Zipkin collector: protocol "zipkin", or an OTLP one: "otlp". Close ends it.
//
// A Zipkin URL without a path gets /api/v2/spans. An OTLP URL's scheme chooses the transport: http and https send
// protobuf over HTTP to the path, /v1/traces by default; grpc and grpcs use gRPC, as does http with the port 4317,
// which is gRPC's by OpenTelemetry's convention, and no path.
func New(protocol string, o Options) (*Reporter, error) {
	switch protocol {
	case "zipkin":
		c, err := newZipkin(&o)
		if err != nil {
			return nil, fmt.Errorf("zipkin %q: %w", Redacted(o.Collector), err)
		}
		return start("zipkin", c, o), nil
	case "otlp":
		c, err := newOTLP(&o)
		if err != nil {
			return nil, fmt.Errorf("otlp %q: %w", Redacted(o.Collector), err)
		}
		return start("opentelemetry", c, o), nil
	}
	return nil, fmt.Errorf("protocol %q: want zipkin or otlp", protocol)
}

// parseCollector accepts an absolute URL with one of the schemes, and fills in the path.
func parseCollector(raw, path string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	for _, scheme := range schemes {
		if u.Scheme != scheme {
			continue
		}
		if u.Hostname() == "" {
			return nil, errors.New("names no host")
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = path
		}
		return u, nil
	}
	return nil, fmt.Errorf("want a URL with the scheme %s", strings.Join(schemes, " or "))
}

// Redacted returns a collector's URL without the secrets that one may hold, for logs and dumps: user and password, the
// query, and the token that Managed Service for OpenTelemetry has in the path of its endpoints (/adapt_TOKEN/…).
func Redacted(collector string) string {
	if u, err := url.Parse(collector); err == nil && (u.User != nil || u.RawQuery != "") {
		if u.User != nil {
			u.User = url.User("xxx")
		}
		if u.RawQuery != "" {
			u.RawQuery = "xxx"
		}
		collector = u.String()
	}
	before, after, found := strings.Cut(collector, "/adapt_")
	if !found {
		return collector
	}
	if slash := strings.IndexByte(after, '/'); slash >= 0 {
		return before + "/adapt_xxx" + after[slash:]
	}
	return before + "/adapt_xxx"
}

func start(name string, c codec, o Options) *Reporter {
	if o.FlushInterval <= 0 {
		o.FlushInterval = 5 * time.Second
	}
	if o.MinFlushSpans <= 0 {
		o.MinFlushSpans = 5
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 4 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Reporter{
		name: name, codec: c, options: o,
		wake: make(chan struct{}, 1), done: make(chan struct{}), stop: cancel,
	}
	go r.work(ctx)
	return r
}

// Name is "zipkin" or "opentelemetry", as in Envoy's names of the counters.
func (r *Reporter) Name() string { return r.name }

// Counters returns the counters. They go on counting.
func (r *Reporter) Counters() *Counters { return &r.counters }

// Report queues a span, or drops it when the queue is full. It waits for nobody but another span being queued.
func (r *Reporter) Report(s *trace.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.counters.SpansDropped.Add(1)
		return
	}
	if r.queue == nil {
		r.queue = make([]byte, 0, 16<<10) // a report of five spans
	}
	before := len(r.queue)
	r.queue = r.codec.appendSpan(r.queue, r.spans, s)
	if len(r.queue)+r.flying > r.options.QueueBytes {
		r.queue = r.queue[:before]
		r.counters.SpansDropped.Add(1)
		return
	}
	r.spans++
	if r.spans >= r.options.MinFlushSpans {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// Close sends what is queued and ends the reporter. It returns when the last report is answered, or with an error when
// ctx is done first.
func (r *Reporter) Close(ctx context.Context) error {
	r.mu.Lock()
	first := !r.closed
	r.closed = true
	r.mu.Unlock()
	if first {
		close(r.wake)
	}
	defer r.stop()
	select {
	case <-r.done:
		return r.codec.close()
	case <-ctx.Done():
		return fmt.Errorf("spans may be lost: %w", ctx.Err())
	}
}

// work sends reports until Close. The timer is periodic from the start: neither a report nor a span restarts it.
func (r *Reporter) work(ctx context.Context) {
	defer close(r.done)
	timer := time.NewTicker(r.options.FlushInterval)
	defer timer.Stop()
	var spare []byte
	for {
		select {
		case <-timer.C:
			r.counters.TimerFlushed.Add(1)
			spare = r.flush(ctx, spare, 1)
		case _, open := <-r.wake:
			if !open {
				r.flush(ctx, spare, 1)
				return
			}
			spare = r.flush(ctx, spare, r.options.MinFlushSpans)
		}
	}
}

// flush sends the queue if it holds at least so many spans, and puts spare in its place. It returns the buffer that
// the queue had.
func (r *Reporter) flush(ctx context.Context, spare []byte, atLeast int) []byte {
	r.mu.Lock()
	if r.spans < atLeast {
		r.mu.Unlock()
		return spare
	}
	batch, spans := r.queue, r.spans
	r.queue, r.spans, r.flying = spare[:0], 0, len(batch)
	r.mu.Unlock()

	r.counters.SpansSent.Add(uint64(spans))
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	err := r.codec.send(ctx, batch)
	cancel()
	r.count(err)

	r.mu.Lock()
	r.flying = 0
	r.mu.Unlock()
	// After a failure gRPC may still read the buffer; and a burst's is not kept for ever.
	if err != nil && !errors.Is(err, errNoCollector) || cap(batch) > 256<<10 {
		return nil
	}
	return batch
}

// count files the outcome of a report. Envoy counts a collector that cannot be reached as one that refuses, since its
// own 503 is an answer.
func (r *Reporter) count(err error) {
	var answer *refusal
	switch {
	case err == nil:
		r.counters.ReportsSent.Add(1)
		return
	case errors.Is(err, errNoCollector):
		r.counters.ReportsSkippedNoCluster.Add(1)
		return
	case errors.Is(err, errBrokenOff):
		r.counters.ReportsFailed.Add(1)
	case errors.As(err, &answer) && answer.status == 406:
		r.counters.ReportsNotAcceptable.Add(1)
		fallthrough
	default:
		r.counters.ReportsDropped.Add(1)
	}
	if now := time.Now(); r.logged.IsZero() || now.Sub(r.logged) >= time.Minute {
		r.logged = now
		r.options.Log.Warn("the collector did not take the spans",
			"collector", Redacted(r.options.Collector), "reason", err.Error(),
			"reports_dropped", r.counters.ReportsDropped.Load(), "spans_dropped", r.counters.SpansDropped.Load())
	}
}
