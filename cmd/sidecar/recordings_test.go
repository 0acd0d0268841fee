package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.com/bookinfo/internal/vectors"
)

const recordedHost = "server.default.svc.cluster.local"

// TestRecordings replays the recordings of headers as a user of the command would: settings as flags, requests through
// the printed addresses, spans as they reach a collector.
func TestRecordings(t *testing.T) {
	for _, file := range []string{"b3.json", "b3-w3c.json", "otel.json", "hcm.json"} {
		entries := map[string][]vectors.Entry{} // by the flags that they need
		flags := map[string][]string{}
		for _, e := range vectors.Entries(t, file) {
			for _, profile := range e.Envoy {
				args := recordedFlags(&e, profile)
				key := strings.Join(args, " ")
				entries[key], flags[key] = append(entries[key], e), args
			}
		}
		for key, group := range entries {
			t.Run(file+"/"+key, func(t *testing.T) {
				t.Parallel()
				replay(t, flags[key], group)
			})
		}
	}
}

// recordedFlags writes what differs from the defaults of the recordings as flags of the same names.
func recordedFlags(e *vectors.Entry, profile string) []string {
	format := map[string]string{"b3": "b3", "b3-w3c": "b3+w3c", "otel": "w3c"}[e.Format]
	args := []string{"--format", format, "--profile", profile}
	var names []string
	for name := range e.Config {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch value := e.Config[name].(type) {
		case []any:
			var ranges []string
			for _, v := range value {
				ranges = append(ranges, v.(string))
			}
			args = append(args, "--"+name, strings.Join(ranges, ","))
		default:
			if name != "direction" && name != "upstream" { // which listener is asked; what the application does
				args = append(args, "--"+name, fmt.Sprint(value))
			}
		}
	}
	return args
}

func replay(t *testing.T, args []string, entries []vectors.Entry) {
	app, spans := newRecorder(t), newCollector(t)
	collector := "--zipkin"
	if entries[0].Format == "otel" {
		collector = "--otlp"
	}
	ready := running(t, append(args, "--service", "server", "--version", "v1", "--pod-ip", "10.0.0.7",
		"--inbound", "127.0.0.1:0="+app.addr, "--outbound", "127.0.0.1:0", "--gateway", "127.0.0.1:0=server",
		"--endpoint", "server="+app.addr, "--flush-interval", "2ms", collector, spans.url)...)
	for _, e := range entries {
		t.Run(e.ID, func(t *testing.T) {
			app.behave(e.Text("upstream"))
			status, response := ask(t, ready[e.Text("direction")].(string), &e)
			m := vectors.NewMatcher(t, e.Fresh, map[string]string{"$local_ip": "10.0.0.7"})
			if status != e.Status {
				t.Errorf("status %d, want %d", status, e.Status)
			}
			saw := app.took()
			want := append([][]vectors.Pair{e.Out}, e.RetriesOut...)
			if len(saw) != len(want) {
				t.Fatalf("the application saw %d requests, want %d", len(saw), len(want))
			}
			for i := range want {
				m.Lines(fmt.Sprintf("request %d", i), want[i], saw[i])
			}
			m.Lines("response", e.Response, response)
			m.Spans(e.Spans, spans.took(t, len(e.Spans)))
		})
	}
}

// ask sends the recorded request and returns what the recording lists of the answer.
func ask(t *testing.T, addr string, e *vectors.Entry) (int, []vectors.Pair) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n", e.Path, recordedHost)
	for _, line := range e.In {
		fmt.Fprintf(c, "%s: %s\r\n", line[0], line[1])
	}
	fmt.Fprint(c, "\r\n")
	br := bufio.NewReader(c)
	line, lines, err := readHead(br)
	if err != nil {
		t.Fatal(err)
	}
	var status int
	fmt.Sscanf(line, "HTTP/1.1 %d", &status)
	return status, recordedLines(lines)
}

// readHead reads a first line and fields as they come.
func readHead(br *bufio.Reader) (first string, lines []vectors.Pair, err error) {
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		switch line = strings.TrimRight(line, "\r\n"); {
		case line == "":
			return first, lines, nil
		case first == "":
			first = line
		default:
			name, value, _ := strings.Cut(line, ":")
			lines = append(lines, vectors.Pair{name, strings.TrimPrefix(value, " ")})
		}
	}
}

func recordedLines(lines []vectors.Pair) []vectors.Pair {
	return slices.DeleteFunc(lines, func(l vectors.Pair) bool { return !vectors.Recorded(l[0]) })
}

// recorder is the application of the recordings.
type recorder struct {
	addr string
	mu   sync.Mutex
	seen [][]vectors.Pair
	do   string
}

func newRecorder(t *testing.T) *recorder {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{addr: ln.Addr().String()}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go r.serve(c)
		}
	}()
	return r
}

func (r *recorder) behave(do string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.do = do
}

func (r *recorder) took() [][]vectors.Pair {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

func (r *recorder) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		_, lines, err := readHead(br)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.seen = append(r.seen, recordedLines(lines))
		answer := "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
		switch {
		case r.do == "fail:2" && len(r.seen) <= 2:
			answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
		case r.do == "decorator":
			answer = "HTTP/1.1 200 OK\r\nx-envoy-decorator-operation: named.by.upstream\r\ncontent-length: 2\r\n\r\nok"
		}
		r.mu.Unlock()
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// spanCollector takes Zipkin's and OTLP's reports.
type spanCollector struct {
	url   string
	mu    sync.Mutex
	spans []timedSpan
}

type timedSpan struct {
	vectors.Span
	start uint64
}

func newCollector(t *testing.T) *spanCollector {
	c := &spanCollector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			if err = c.read(r.URL.Path, body); err != nil {
				t.Errorf("report to %s: %v", r.URL.Path, err)
			}
		}
		if r.URL.Path == "/api/v2/spans" {
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *spanCollector) read(path string, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if path == "/v1/traces" {
		return c.readOTLP(body)
	}
	var spans []struct {
		TraceID, ID, Name, Kind string
		ParentID                *string
		Shared                  bool
		Timestamp               uint64
		Tags                    map[string]string
	}
	if err := json.Unmarshal(body, &spans); err != nil {
		return err
	}
	for _, s := range spans {
		c.spans = append(c.spans, timedSpan{vectors.Span{
			Kind: s.Kind, Name: s.Name, Trace: s.TraceID, ID: s.ID, Parent: s.ParentID, Shared: s.Shared, Tags: s.Tags,
		}, s.Timestamp})
	}
	return nil
}

func (c *spanCollector) readOTLP(body []byte) error {
	var request tracepb.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		return err
	}
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				span := vectors.Span{
					Kind: strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_"), Name: s.Name, Trace: hex.EncodeToString(s.TraceId),
					ID: hex.EncodeToString(s.SpanId), TraceState: &s.TraceState, Tags: map[string]string{},
				}
				if len(s.ParentSpanId) > 0 {
					parent := hex.EncodeToString(s.ParentSpanId)
					span.Parent = &parent
				}
				for _, a := range s.Attributes {
					span.Tags[a.Key] = a.Value.GetStringValue()
				}
				c.spans = append(c.spans, timedSpan{span, s.StartTimeUnixNano})
			}
		}
	}
	return nil
}

// took returns all spans once there are n, the proxy's own first. None more may come: the next entry would see them.
func (c *spanCollector) took(t *testing.T, n int) []vectors.Span {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		spans := c.spans
		if len(spans) < n && time.Now().Before(deadline) {
			c.mu.Unlock()
			continue
		}
		c.spans = nil
		c.mu.Unlock()
		own := func(s timedSpan) bool {
			return !slices.ContainsFunc(spans, func(o timedSpan) bool { return s.Parent != nil && *s.Parent == o.ID })
		}
		slices.SortStableFunc(spans, func(a, b timedSpan) int {
			if own(a) != own(b) {
				if own(a) {
					return -1
				}
				return 1
			}
			return int(int64(a.start) - int64(b.start))
		})
		var out []vectors.Span
		for _, s := range spans {
			out = append(out, s.Span)
		}
		return out
	}
}
