package report

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"example.com/bookinfo/internal/vectors"
)

// TestRecordedPost compares what crosses the wire with the recorded line and headers. Their order is net/http's.
func TestRecordedPost(t *testing.T) {
	for _, r := range runs(t) {
		if r.Case != "five" {
			continue
		}
		t.Run(r.ID, func(t *testing.T) {
			seen := make(chan []vectors.Pair, 1)
			lines := make(chan string, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				body, _ := io.ReadAll(req.Body)
				if n := countSpans(body); n != 5 {
					t.Errorf("%d spans in the body, want 5", n)
				}
				lines <- req.Method + " " + req.URL.Path + " " + req.Proto
				pairs := []vectors.Pair{{"transfer-encoding", strings.Join(req.TransferEncoding, ",")}}
				for name, values := range req.Header {
					pairs = append(pairs, vectors.Pair{strings.ToLower(name), strings.Join(values, ",")})
				}
				seen <- pairs
				w.WriteHeader(http.StatusAccepted)
			}))
			defer server.Close()
			reporter, err := New(r.Format, Options{
				Collector: server.URL, Service: "server.default", Address: "10.0.0.7", Version: "test",
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
			m := vectors.NewMatcher(t, nil, map[string]string{"$local_ip": "10.0.0.7"})
			m.Text("line", r.Post.Line, <-lines)
			want := slices.DeleteFunc(slices.Clone(r.Post.Headers), func(p vectors.Pair) bool { return p[0] == "host" })
			got := <-seen
			for _, lines := range [][]vectors.Pair{want, got} {
				slices.SortFunc(lines, func(a, b vectors.Pair) int { return strings.Compare(a[0], b[0]) })
			}
			m.Lines("headers", want, got)
		})
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
