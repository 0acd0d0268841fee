package report

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"example.com/bookinfo/internal/vectors"
)

// TestRecordedPost compares what crosses the wire with the recorded line and headers, in order.
func TestRecordedPost(t *testing.T) {
	for _, r := range runs(t) {
		if r.Case != "five" {
			continue
		}
		t.Run(r.ID, func(t *testing.T) {
			collector := newRawCollector(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n") })
			reporter, err := New(r.Format, Options{
				Collector: collector.url, Service: "server.default", Address: "10.0.0.7", Version: "test",
			})
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				reporter.Report(span())
			}
			if err := reporter.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := reporter.Counters().ReportsSent.Load(); got != 1 {
				t.Errorf("%d reports sent, want 1", got)
			}
			got := <-collector.reports
			if n := countSpans(got.body); n != 5 {
				t.Errorf("%d spans in the body, want 5", n)
			}
			m := vectors.NewMatcher(t, nil, map[string]string{"$local_ip": "10.0.0.7"})
			m.Text("line", r.Post.Line, got.line)
			want := slices.Clone(r.Post.Headers)
			want[0][1] = strings.TrimPrefix(collector.url, "http://")
			m.Lines("headers", want, got.fields)
		})
	}
}

// rawCollector shows what crosses the wire.
type rawCollector struct {
	url     string
	reports chan rawReport
	conns   atomic.Int64
}

type rawReport struct {
	line   string
	fields []vectors.Pair
	body   []byte
}

// newRawCollector answers every report by reply.
func newRawCollector(t *testing.T, reply func(net.Conn)) *rawCollector {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	c := &rawCollector{url: "http://" + ln.Addr().String(), reports: make(chan rawReport, 100)}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c.conns.Add(1)
			go c.serve(nc, reply)
		}
	}()
	return c
}

func (c *rawCollector) serve(nc net.Conn, reply func(net.Conn)) {
	defer nc.Close()
	br := bufio.NewReader(nc)
	for {
		var r rawReport
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			if line = strings.TrimRight(line, "\r\n"); line == "" {
				break
			}
			if name, value, ok := strings.Cut(line, ": "); ok {
				r.fields = append(r.fields, vectors.Pair{name, value})
			} else {
				r.line = line
			}
		}
		body, err := io.ReadAll(httputil.NewChunkedReader(br))
		if err != nil {
			return
		}
		br.ReadString('\n') // the end of the trailers
		r.body = body
		c.reports <- r
		reply(nc)
	}
}

// Reports share a connection; one that the collector closed meanwhile costs none of them.
func TestKeptConnection(t *testing.T) {
	const taken = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
	var answered atomic.Int64
	settled := make(chan struct{}) // a report sent while its connection is being closed is lost, as Envoy's
	c := newRawCollector(t, func(nc net.Conn) {
		io.WriteString(nc, taken)
		if answered.Add(1)%10 == 0 {
			nc.Close()
		}
		settled <- struct{}{}
	})
	r, err := New("zipkin", Options{Collector: c.url, Service: "a", FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		r.Report(span())
		<-c.reports
		<-settled
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sent, conns := r.Counters().ReportsSent.Load(), c.conns.Load(); sent != 40 || conns > 8 {
		t.Errorf("%d of 40 reports were sent over %d connections, want all over four or five", sent, conns)
	}
}

// What a collector may do wrong.
func TestOddAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		reply                 string
		sent, dropped, failed uint64
	}{
		"interim answer":       {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", 1, 0, 0},
		"until the end":        {"HTTP/1.0 202 Accepted\r\n\r\nthank you", 1, 0, 0},
		"redirect":             {"HTTP/1.1 307 Temporary Redirect\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", 0, 1, 0},
		"no HTTP":              {"thank you\r\n\r\n", 0, 1, 0},
		"nothing":              {"", 0, 1, 0},
		"a body that is cut":   {"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\nhalf", 0, 0, 1},
		"a body without bound": {"HTTP/1.1 406 Not Acceptable\r\ncontent-length: 1000000\r\n\r\n" + strings.Repeat("x", 1000000), 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := newRawCollector(t, func(nc net.Conn) {
				io.WriteString(nc, tt.reply)
				nc.(*net.TCPConn).CloseWrite()
			})
			r, err := New("zipkin", Options{Collector: c.url, Service: "a"})
			if err != nil {
				t.Fatal(err)
			}
			r.Report(span())
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			n := r.Counters()
			if n.ReportsSent.Load() != tt.sent || n.ReportsDropped.Load() != tt.dropped || n.ReportsFailed.Load() != tt.failed {
				t.Errorf("%d sent, %d dropped, %d failed; want %d, %d, %d", n.ReportsSent.Load(), n.ReportsDropped.Load(),
					n.ReportsFailed.Load(), tt.sent, tt.dropped, tt.failed)
			}
			if len(c.reports) != 1 {
				t.Errorf("the report was sent %d times", len(c.reports))
			}
		})
	}
}

// A collector that takes a connection and says nothing is given up after the time that a report has.
func TestSilentCollector(t *testing.T) {
	c := newRawCollector(t, func(net.Conn) {})
	r, err := New("zipkin", Options{Collector: c.url, Service: "a", Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.Report(span())
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.Counters().ReportsDropped.Load(); got != 1 {
		t.Errorf("%d reports dropped, want 1", got)
	}
}

// TestTLSCollector: a collector's certificate is verified.
func TestTLSCollector(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	r, err := New("zipkin", Options{Collector: server.URL, Service: "a"})
	if err != nil {
		t.Fatal(err)
	}
	r.Report(span())
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.Counters(); n.ReportsDropped.Load() != 1 || n.ReportsSent.Load() != 0 {
		t.Errorf("%d reports went to a collector that nobody vouches for", n.ReportsSent.Load())
	}
}

// grpcCollector is a collector built from OpenTelemetry's generated code.
type grpcCollector struct {
	collector.UnimplementedTraceServiceServer
	refuse   error
	requests chan *collector.ExportTraceServiceRequest
	metadata chan metadata.MD
}

func (c *grpcCollector) Export(ctx context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.metadata <- md
	c.requests <- r
	return &collector.ExportTraceServiceResponse{}, c.refuse
}

func serveGRPC(t *testing.T, refuse error) (string, *grpcCollector) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &grpcCollector{
		refuse: refuse, requests: make(chan *collector.ExportTraceServiceRequest, 9), metadata: make(chan metadata.MD, 9),
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	return "grpc://" + ln.Addr().String(), c
}

func TestGRPC(t *testing.T) {
	for _, r := range runs(t) {
		if r.Format != "otlp-grpc" {
			continue
		}
		t.Run(r.ID, func(t *testing.T) {
			address, c := serveGRPC(t, nil)
			reporter, err := New("otlp", Options{
				Collector: address, Service: "server.default", Address: "10.0.0.7", Version: "test",
			})
			if err != nil {
				t.Fatal(err)
			}
			for range r.Sent[0].Requests {
				reporter.Report(span())
			}
			if err := reporter.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := reporter.Counters().ReportsSent.Load(); got != 1 {
				t.Fatalf("%d reports sent, want 1", got)
			}
			request := <-c.requests
			if n := len(request.ResourceSpans[0].ScopeSpans[0].Spans); n != r.Posts[0].Spans {
				t.Errorf("%d spans, want %d", n, r.Posts[0].Spans)
			}
			md := <-c.metadata
			m := vectors.NewMatcher(t, nil, map[string]string{"$local_ip": "10.0.0.7"})
			for _, want := range r.Post.Headers {
				got := strings.Join(md.Get(want[0]), ",")
				if want[0] == "user-agent" {
					got = strings.Fields(got)[0] // grpc-go adds its own behind ours
				}
				m.Text(want[0], want[1], got)
			}
			for name := range maps.Keys(md) {
				if strings.HasPrefix(name, "x-") && !slices.ContainsFunc(r.Post.Headers, func(p vectors.Pair) bool { return p[0] == name }) {
					t.Errorf("%s was sent, but not recorded", name)
				}
			}
		})
	}
}

func TestGRPCRefusal(t *testing.T) {
	address, c := serveGRPC(t, status.Error(codes.ResourceExhausted, "quota"))
	reporter, err := New("otlp", Options{Collector: address, Service: "a", Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	reporter.Report(span())
	if err := reporter.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := reporter.Counters().ReportsDropped.Load(); got != 1 || len(c.requests) != 1 {
		t.Errorf("%d reports dropped after %d tries, want 1 and no second try", got, len(c.requests))
	}
}

// A token goes out with every report, over HTTP and gRPC, and stays out of the log.
func TestHeadersAndSecrets(t *testing.T) {
	o := Options{Service: "a", Version: "test", Headers: http.Header{"Authentication": {"secret"}}}
	got := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		got <- r.URL.Path + " " + r.Header.Get("Authentication") + " " + user + ":" + password
	}))
	defer server.Close()
	var log strings.Builder
	o.Collector, o.Log = strings.Replace(server.URL, "//", "//me:secret@", 1)+"/adapt_secret/api/v2/spans", slog.New(slog.NewTextHandler(&log, nil))
	reporter, err := New("zipkin", o)
	if err != nil {
		t.Fatal(err)
	}
	reporter.Report(span())
	if err := reporter.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen := <-got; seen != "/adapt_secret/api/v2/spans secret me:secret" {
		t.Errorf("the collector saw %q", seen)
	}
	if !strings.Contains(log.String(), "adapt_xxx") || strings.Contains(log.String(), "secret") {
		t.Errorf("logged: %s", &log)
	}
	var c *grpcCollector
	o.Collector, c = serveGRPC(t, nil)
	if reporter, err = New("otlp", o); err != nil {
		t.Fatal(err)
	}
	reporter.Report(span())
	if err := reporter.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if md := <-c.metadata; strings.Join(md.Get("authentication"), ",") != "secret" {
		t.Errorf("the metadata are %v", md)
	}
	if got := Redacted("http://host/adapt_secret"); got != "http://host/adapt_xxx" {
		t.Errorf("redacted to %s", got)
	}
	if got := Redacted("https://user:secret@host:1/v1/traces?key=secret"); got != "https://xxx@host:1/v1/traces?xxx" {
		t.Errorf("redacted to %s", got)
	}
}

// A host that asks for gRPC by its port needs no scheme of its own.
func TestTransportOfURL(t *testing.T) {
	for collector, wantGRPC := range map[string]bool{
		"http://otel:4317": true, "http://otel:4317/": true, "grpc://otel": true, "grpcs://otel:443": true,
		"http://otel:4318": false, "http://otel:4317/v1/traces": false, "https://otel/adapt/api/otlp/traces": false,
	} {
		w, err := newOTLP(&Options{Collector: collector})
		if err != nil {
			t.Errorf("%s: %v", collector, err)
			continue
		}
		if got := w.grpc != nil; got != wantGRPC || (w.http != nil) == wantGRPC {
			t.Errorf("%s: gRPC is %v, want %v", collector, got, wantGRPC)
		}
		_ = w.close()
	}
}
