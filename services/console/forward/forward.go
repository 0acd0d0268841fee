// Package forward sends on what a console takes in: each post goes, as it came, to a collector or another console,
// through the OpenTelemetry exporter with its retry. A bounded queue stands between, so that a collector which is slow
// or away costs the senders nothing: what does not fit is dropped and counted.
package forward

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/journal"
)

const (
	// DefaultQueueBytes bounds the posts that wait; a gateway's post of 5 spans has some 5 KB.
	DefaultQueueBytes = 32 << 20
	maxPosts          = 100_000
	// workers send at the same time, since a collector's answer takes a round trip.
	workers = 4
	// batchSpans and batchPosts are how much one request takes along of what waits.
	batchSpans = 2000
	batchPosts = 200
	timeout    = 10 * time.Second
)

// Options configure a Forwarder.
type Options struct {
	// URL is where OTLP is taken in: http:// or https:// (path /v1/traces when it has none), grpc:// or grpcs://; port
	// 4317 without a path is gRPC too. OTEL_EXPORTER_OTLP_HEADERS and the other variables of the exporter apply.
	URL        string
	QueueBytes int64 // default DefaultQueueBytes
	Limits     ingest.Limits
	Log        *slog.Logger
	Registry   prometheus.Registerer
	// MaxElapsed is how long one request is tried again; default a minute.
	MaxElapsed time.Duration
}

// Forwarder sends posts on. It is an ingest.Journal. Create it by New.
type Forwarder struct {
	opts   Options
	client otlptrace.Client
	queue  chan journal.Frame
	bytes  atomic.Int64
	done   sync.WaitGroup
	cancel context.CancelFunc
	// closing is closed when no more posts come.
	closing chan struct{}
	once    sync.Once

	sent, failed, dropped, unreadable prometheus.Counter
	ailing                            atomic.Bool
}

// Parse reads the address of a collector. The error says what would be right.
func Parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err == nil && u.Host != "" && u.RawQuery == "" && u.Fragment == "" {
		switch u.Scheme {
		case "grpc", "grpcs":
			if u.Path == "" {
				return u, nil
			}
		case "http", "https":
			if u.Port() == "4317" && u.Path == "" {
				u.Scheme = map[string]string{"http": "grpc", "https": "grpcs"}[u.Scheme]
			} else if u.Path == "" || u.Path == "/" {
				u.Path = "/v1/traces"
			}
			return u, nil
		}
	}
	return nil, fmt.Errorf("%q: want an address of OTLP such as http://collector:4318 or grpc://collector:4317", address)
}

func newClient(u *url.URL, elapsed time.Duration) otlptrace.Client {
	const first, longest = time.Second, 15 * time.Second
	if u.Scheme == "grpc" || u.Scheme == "grpcs" {
		opts := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(u.Host), otlptracegrpc.WithTimeout(timeout), otlptracegrpc.WithCompressor("gzip"),
			otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: first, MaxInterval: longest, MaxElapsedTime: elapsed})}
		if u.Scheme == "grpc" {
			opts = append(opts, otlptracegrpc.WithInsecure())
		}
		return otlptracegrpc.NewClient(opts...)
	}
	return otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithTimeout(timeout),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: first, MaxInterval: longest, MaxElapsedTime: elapsed}))
}

// New starts forwarding. An error is a wrong address.
func New(ctx context.Context, o Options) (*Forwarder, error) {
	u, err := Parse(o.URL)
	if err != nil {
		return nil, err
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = DefaultQueueBytes
	}
	if o.MaxElapsed == 0 {
		o.MaxElapsed = time.Minute
	}
	f := &Forwarder{opts: o, client: newClient(u, o.MaxElapsed), queue: make(chan journal.Frame, maxPosts), closing: make(chan struct{})}
	f.register(o.Registry)
	if err := f.client.Start(ctx); err != nil {
		return nil, err
	}
	ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for range workers {
		f.done.Go(func() { f.work(ctx) })
	}
	return f, nil
}

func (f *Forwarder) register(r prometheus.Registerer) {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "bookinfo_console", Name: "forward_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	f.sent = counter("spans_total", "Spans that the collector of --forward-otlp took.")
	f.failed = counter("spans_failed_total", "Spans that it did not take, tries again included.")
	f.dropped = counter("posts_dropped_total", "Posts that were not forwarded because the queue was full.")
	f.unreadable = counter("posts_unreadable_total", "Posts that could not be turned into OTLP.")
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "bookinfo_console", Name: "forward_queue_bytes",
		Help: "Posts that wait to be forwarded."}, func() float64 { return float64(f.bytes.Load()) }))
}

// Append queues a post, or drops it when the queue is full. It never waits.
func (f *Forwarder) Append(p journal.Frame) {
	size := int64(len(p.Body))
	if f.bytes.Add(size) <= f.opts.QueueBytes {
		p.Body = strings.Clone(p.Body) // whose memory is the caller's
		select {
		case f.queue <- p:
			return
		default:
		}
	}
	f.bytes.Add(-size)
	f.dropped.Inc()
}

// work sends until Close was called and nothing waits any more.
func (f *Forwarder) work(ctx context.Context) {
	for {
		select {
		case p := <-f.queue:
			f.send(ctx, f.gather(p))
			continue
		default:
		}
		select {
		case p := <-f.queue:
			f.send(ctx, f.gather(p))
		case <-f.closing:
			return
		}
	}
}

// gather turns a post and some that wait behind it into one request.
func (f *Forwarder) gather(p journal.Frame) []*tracepb.ResourceSpans {
	var batch []*tracepb.ResourceSpans
	for posts := 1; ; posts++ {
		part, err := resourceSpans(p, f.opts.Limits)
		f.bytes.Add(-int64(len(p.Body)))
		if err != nil {
			f.unreadable.Inc()
		}
		batch = append(batch, part...)
		if posts >= batchPosts || spansOf(batch) >= batchSpans {
			return batch
		}
		select {
		case p = <-f.queue:
		default:
			return batch
		}
	}
}

func (f *Forwarder) send(ctx context.Context, batch []*tracepb.ResourceSpans) {
	n := spansOf(batch)
	if n == 0 {
		return
	}
	err := f.client.UploadTraces(ctx, batch)
	if err != nil {
		f.failed.Add(float64(n))
		if !f.ailing.Swap(true) {
			f.opts.Log.Error("spans are not forwarded; bookinfo_console_forward_spans_failed_total counts them", "to", f.opts.URL, "error", err.Error())
		}
		return
	}
	f.sent.Add(float64(n))
	if f.ailing.Swap(false) {
		f.opts.Log.Info("spans are forwarded again", "to", f.opts.URL)
	}
}

func spansOf(batch []*tracepb.ResourceSpans) (n int) {
	for _, r := range batch {
		for _, s := range r.ScopeSpans {
			n += len(s.Spans)
		}
	}
	return n
}

// Close sends what waits, until ctx ends.
func (f *Forwarder) Close(ctx context.Context) (err error) {
	f.once.Do(func() { err = f.close(ctx) })
	return err
}

func (f *Forwarder) close(ctx context.Context) error {
	close(f.closing)
	done := make(chan struct{})
	go func() {
		f.done.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		f.cancel() // the rest counts as failed
		<-done
	}
	f.cancel()
	return f.client.Stop(context.WithoutCancel(ctx))
}
