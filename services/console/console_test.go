package console_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"golang.org/x/crypto/bcrypt"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/span"
)

// start runs a console on free ports until the test ends.
func start(t *testing.T, cfg console.Config) *console.Console {
	t.Helper()
	cfg.Addr, cfg.OTLPGRPC, cfg.OTLPHTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c, err := console.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

type answer struct {
	status int
	header http.Header
	body   string
}

func send(t *testing.T, method, url, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func zipkinSpans(trace, n int) string {
	var spans []string
	for i := range n {
		spans = append(spans, fmt.Sprintf(`{"traceId":"%016x","id":"%016x","name":"op","kind":"SERVER","timestamp":1700000000000000,"duration":1000,"localEndpoint":{"serviceName":"a.default"},"tags":{"k":"v"}}`, trace, i+1))
	}
	return "[" + strings.Join(spans, ",") + "]"
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func export(trace byte, n int) ptraceotlp.ExportRequest {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "a.default")
	spans := rs.ScopeSpans().AppendEmpty().Spans()
	for i := range n {
		s := spans.AppendEmpty()
		s.SetTraceID([16]byte{15: trace})
		s.SetSpanID([8]byte{7: byte(i + 1)})
		s.SetName("op")
		s.SetKind(ptrace.SpanKindServer)
	}
	return ptraceotlp.NewExportRequestFromTraces(td)
}

func client(t *testing.T, c *console.Console) ptraceotlp.GRPCClient {
	t.Helper()
	conn, err := grpc.NewClient(c.OTLPGRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return ptraceotlp.NewGRPCClient(conn)
}

func held(t *testing.T, c *console.Console, trace uint64) int {
	t.Helper()
	spans, _ := c.Backend().Trace(t.Context(), span.TraceID{Lo: trace})
	return len(spans)
}

func TestZipkinAnswers(t *testing.T) {
	c := start(t, console.Config{Limits: ingest.Limits{Body: 10_000, Decoded: 50_000, Spans: 60}})
	post := c.URL + "api/v2/spans"
	for _, tt := range []struct {
		name, body string
		headers    []string
		want       int
		says       string
		held       int
	}{
		{"json", zipkinSpans(1, 2), nil, 202, "", 2},
		{"the same again", zipkinSpans(1, 2), nil, 202, "", 2},
		{"gzip", zipped(t, zipkinSpans(1, 50)), []string{"Content-Encoding", "gzip"}, 202, "", 50},
		{"an empty array", "[]", nil, 202, "", 50},
		{"no body", "", nil, 400, "byte 0", 50},
		{"malformed", zipkinSpans(1, 55)[:300], nil, 400, "malformed body, byte 300", 50},
		{"not gzip", zipkinSpans(1, 55)[:300], []string{"Content-Encoding", "gzip"}, 400, "gzip", 50},
		{"cut gzip", zipped(t, zipkinSpans(1, 55))[:60], []string{"Content-Encoding", "gzip"}, 400, "gzip", 50},
		{"another encoding", "x", []string{"Content-Encoding", "br"}, 415, "want gzip", 50},
		{"thrift", "x", []string{"Content-Type", "application/x-thrift"}, 415, "application/json", 50},
		{"too large", zipkinSpans(1, 59) + strings.Repeat(" ", 10_000), nil, 413, "10000 bytes on the wire", 50},
		{"too large after decompression", zipped(t, zipkinSpans(1, 59)+strings.Repeat(" ", 60_000)), []string{"Content-Encoding", "gzip"}, 413, "50000 bytes after decompression", 50},
		{"too many spans", zipped(t, zipkinSpans(1, 61)), []string{"Content-Encoding", "gzip"}, 413, "60 spans in one post", 50},
		{"from another site", zipkinSpans(1, 55), []string{"Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, "", 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := send(t, http.MethodPost, post, tt.body, tt.headers...)
			if a.status != tt.want || !strings.Contains(a.body, tt.says) || tt.want == 202 && a.body != "" {
				t.Errorf("%d %q, want %d %q", a.status, a.body, tt.want, tt.says)
			}
			if n := held(t, c, 1); n != tt.held {
				t.Errorf("%d spans held, want %d", n, tt.held)
			}
		})
	}
	metrics := send(t, http.MethodGet, c.URL+"metrics", "").body
	for _, line := range []string{
		`bookinfo_console_posts_over_limit_total{limit="bytes on the wire"} 1`,
		`bookinfo_console_posts_over_limit_total{limit="spans in one post"} 1`,
		`bookinfo_console_posts_malformed_total 4`,
		`bookinfo_console_spans_duplicate_total 4`,
		`bookinfo_console_posts_total{code="413",protocol="zipkin v2 json"} 3`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
	for path, method := range map[string]string{"api/v2/nothing": http.MethodGet, "api/v2/spans": http.MethodDelete} {
		if a := send(t, method, c.URL+path, ""); a.status != 404 || !strings.HasPrefix(a.body, `{"error":"`) {
			t.Errorf("%s %s: %d %.80s", method, path, a.status, a.body)
		}
	}
	if a := send(t, http.MethodPost, c.URL+"api/v1/spans", `[{"traceId":"7","id":"1","annotations":[{"timestamp":1,"value":"sr","endpoint":{"serviceName":"a"}}]}]`); a.status != 202 || held(t, c, 7) != 1 {
		t.Errorf("v1: %d %s", a.status, a.body)
	}
}

// TestGRPCLimits: what is over a limit is refused for good, with the limit's name, counted, and in the push log.
func TestGRPCLimits(t *testing.T) {
	c := start(t, console.Config{Limits: ingest.Limits{Decoded: 4000, Spans: 20}})
	grpcClient := client(t, c)
	if _, err := grpcClient.Export(t.Context(), export(1, 10)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		spans int
		opts  []grpc.CallOption
		says  string
	}{
		"too many spans": {21, nil, "20 spans in one post"},
		// These gRPC answers itself, in its own words.
		"too large":                     {200, nil, "4000"},
		"too large after decompression": {200, []grpc.CallOption{grpc.UseCompressor("gzip")}, "4000"},
	} {
		_, err := grpcClient.Export(t.Context(), export(1, tt.spans), tt.opts...)
		if s := status.Convert(err); s.Code() == codes.OK || len(s.Details()) > 0 || !strings.Contains(s.Message(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		if line := c.Admin().PushLog()[0]; line.Status != http.StatusRequestEntityTooLarge || !strings.Contains(line.Error, tt.says) {
			t.Errorf("%s: push log %+v", name, line)
		}
	}
	if n := held(t, c, 1); n != 10 {
		t.Errorf("%d spans held, want 10", n)
	}
	if metrics := send(t, http.MethodGet, c.URL+"metrics", "").body; !strings.Contains(metrics, `bookinfo_console_posts_over_limit_total{limit="bytes after decompression"} 2`) {
		t.Error("metrics do not count what was over the limit")
	}
}

func TestOTLPAnswers(t *testing.T) {
	c := start(t, console.Config{})
	post := "http://" + c.OTLPHTTP + "/v1/traces"
	proto, err := export(1, 3).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	text, err := export(2, 3).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	req := export(3, 2)
	req.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).SetSpanID([8]byte{})
	partial, err := req.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, body, contentType string
		want                    int
		says                    string
		trace                   uint64
		held                    int
	}{
		{"protobuf", string(proto), "application/x-protobuf", 200, "", 1, 3},
		{"json", string(text), "application/json; charset=utf-8", 200, "{", 2, 3},
		{"partial success", string(partial), "application/json", 200, `"rejectedSpans":"1"`, 3, 1},
		{"malformed protobuf", "\x0a\x05", "application/x-protobuf", 400, "a length of 5", 4, 0},
		{"malformed json", "{", "application/json", 400, `"code":3`, 4, 0},
		{"text", "x", "text/plain", 415, "want application/x-protobuf", 4, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := send(t, http.MethodPost, post, tt.body, "Content-Type", tt.contentType)
			if a.status != tt.want || !strings.Contains(strings.ReplaceAll(a.body, " ", ""), strings.ReplaceAll(tt.says, " ", "")) {
				t.Errorf("%d %q, want %d %q", a.status, a.body, tt.want, tt.says)
			}
			if got := a.header.Get("Content-Type"); tt.want != 415 && !strings.HasPrefix(tt.contentType, got) {
				t.Errorf("content-type %q", got)
			}
			if n := held(t, c, tt.trace); n != tt.held {
				t.Errorf("%d spans held, want %d", n, tt.held)
			}
		})
	}
	resp, err := client(t, c).Export(t.Context(), req)
	if err != nil || resp.PartialSuccess().RejectedSpans() != 1 || !strings.Contains(resp.PartialSuccess().ErrorMessage(), "span_id") {
		t.Errorf("%v %v", resp, err)
	}
}

// TestQuota uses the day's quota up over each protocol, then raises it.
func TestQuota(t *testing.T) {
	c := start(t, console.Config{QuotaSpans: 3})
	grpcClient := client(t, c)
	proto, err := export(9, 1).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	posts := map[string]func() int{
		"zipkin": func() int { return send(t, http.MethodPost, c.URL+"api/v2/spans", zipkinSpans(1, 1)).status },
		"otlp http": func() int {
			return send(t, http.MethodPost, "http://"+c.OTLPHTTP+"/v1/traces", string(proto), "Content-Type", "application/x-protobuf").status
		},
		"otlp grpc": func() int {
			_, err := grpcClient.Export(t.Context(), export(8, 1))
			s := status.Convert(err)
			for _, d := range s.Details() {
				if _, ok := d.(*errdetails.RetryInfo); ok {
					t.Error("the refusal asks the sender to try again")
				}
			}
			return int(s.Code())
		},
	}
	for name, post := range posts {
		if got := post(); got != 202 && got != 200 && got != int(codes.OK) {
			t.Errorf("%s within the quota: %d", name, got)
		}
	}
	for name, want := range map[string]int{"zipkin": 406, "otlp http": 406, "otlp grpc": int(codes.ResourceExhausted)} {
		if got := posts[name](); got != want {
			t.Errorf("%s over the quota: %d, want %d", name, got, want)
		}
	}
	u := c.Admin().Usage()
	if u.Spans != 3 || u.Refused != 3 || u.QuotaSpans != 3 || u.HeldSpans != 3 {
		t.Errorf("usage %+v", u)
	}
	statuses := map[string]int{}
	for _, p := range c.Admin().PushLog()[:3] {
		statuses[p.Protocol] = p.Status
		if p.Bytes == 0 || p.Sender == "" || p.Time.IsZero() || !strings.Contains(p.Error, "quota") {
			t.Errorf("push log line %+v", p)
		}
	}
	if fmt.Sprint(statuses) != "map[otlp grpc:429 otlp http protobuf:406 zipkin v2 json:406]" {
		t.Errorf("push log %v", statuses)
	}
	if err := c.Admin().Update(func(s *backend.Settings) error { s.QuotaSpans = 10; return nil }); err != nil {
		t.Fatal(err)
	}
	for name, post := range posts {
		if got := post(); got != 202 && got != 200 && got != int(codes.OK) {
			t.Errorf("%s after the quota was raised: %d", name, got)
		}
	}
}

func TestGuards(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("# users\n\nann:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, console.Config{AuthFile: file, IngestToken: "t0ken"})
	get := func(path, user, password string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for _, tt := range []struct {
		path, user, password string
		want                 int
	}{
		{"api/v2/services", "", "", 401}, {"api/v2/services", "ann", "wrong", 401}, {"api/v2/services", "bob", "secret", 401},
		{"api/v2/services", "ann", "secret", 200}, {"api/v2/services", "ann", "secret", 200}, {"metrics", "", "", 401}, {"", "", "", 401},
		{"livez", "", "", 200}, {"readyz", "", "", 200},
	} {
		if got := get(tt.path, tt.user, tt.password); got != tt.want {
			t.Errorf("GET /%s as %q: %d, want %d", tt.path, tt.user, got, tt.want)
		}
	}
	if a := send(t, http.MethodPost, c.URL+"api/v2/spans", zipkinSpans(1, 1)); a.status != 401 || a.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("a post without the token: %d", a.status)
	}
	if a := send(t, http.MethodPost, c.URL+"api/v2/spans", zipkinSpans(1, 1), "Authorization", "Bearer t0ken"); a.status != 202 {
		t.Errorf("a post with the token: %d", a.status)
	}
	if _, err := client(t, c).Export(t.Context(), export(1, 1)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("gRPC without the token: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer t0ken")
	if _, err := client(t, c).Export(ctx, export(1, 1)); err != nil {
		t.Errorf("gRPC with the token: %v", err)
	}
}

func TestWrongSettings(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("ann:plain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]console.Config{
		"addr: want an address":          {},
		`addr: "here": want HOST:PORT`:   {Addr: "here"},
		"max-memory: 5 bytes":            {Addr: "127.0.0.1:0", MaxMemory: 5},
		"auth-file: ":                    {Addr: "127.0.0.1:0", AuthFile: filepath.Join(dir, "none")},
		"line 1: the password of":        {Addr: "127.0.0.1:0", AuthFile: bad},
		"data-dir: ":                     {Addr: "127.0.0.1:0", DataDir: bad},
		"sync-interval: want a positive": {Addr: "127.0.0.1:0", SyncInterval: -1},
	} {
		c, err := console.Start(t.Context(), cfg)
		if err == nil {
			_ = c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestRestart finds spans, usage, quota and settings again.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	cfg := console.Config{DataDir: dir, QuotaSpans: 100, Addr: "127.0.0.1:0", OTLPHTTP: "127.0.0.1:0", OTLPGRPC: "127.0.0.1:0"}
	c, err := console.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if a := send(t, http.MethodPost, c.URL+"api/v2/spans", zipkinSpans(5, 4)); a.status != 202 {
		t.Fatal(a)
	}
	if _, err := client(t, c).Export(t.Context(), export(6, 2)); err != nil {
		t.Fatal(err)
	}
	if err := c.Admin().Update(func(s *backend.Settings) error {
		s.QuotaSpans = 50
		s.Applications["a.default"] = backend.ApplicationSettings{ShowServerName: true}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	before, err := c.Backend().Trace(t.Context(), span.TraceID{Lo: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, cfg)
	after, err := again.Backend().Trace(t.Context(), span.TraceID{Lo: 5})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(before)
	b, _ := json.Marshal(after)
	if string(a) != string(b) || held(t, again, 6) != 2 {
		t.Errorf("spans were\n%s\nand are\n%s", a, b)
	}
	if u := again.Admin().Usage(); u.Spans != 6 || u.QuotaSpans != 50 || u.HeldSpans != 6 {
		t.Errorf("usage %+v", u)
	}
	if !again.Admin().Settings().Applications["a.default"].ShowServerName {
		t.Error("settings are gone")
	}
}

func TestReadiness(t *testing.T) {
	c := start(t, console.Config{})
	if a := send(t, http.MethodGet, c.URL+"readyz", ""); a.status != 200 {
		t.Error(a)
	}
	c.Drain()
	if a := send(t, http.MethodGet, c.URL+"readyz", ""); a.status != 503 {
		t.Error(a)
	}
	if a := send(t, http.MethodPost, c.URL+"api/v2/spans", zipkinSpans(1, 1)); a.status != 202 {
		t.Errorf("a post while draining: %v", a)
	}
	if a := send(t, http.MethodGet, c.URL+"health", ""); a.body != "{\"status\":\"UP\"}\n" {
		t.Error(a)
	}
}

// TestSearchableAtOnce finds a span as soon as its post is acknowledged.
func TestSearchableAtOnce(t *testing.T) {
	c := start(t, console.Config{})
	for i := 1; i <= 20; i++ {
		send(t, http.MethodPost, c.URL+"api/v2/spans", zipkinSpans(i, 1))
		if n := held(t, c, uint64(i)); n != 1 {
			t.Fatalf("trace %d: %d spans", i, n)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	res, err := c.Backend().Search(ctx, backend.Query{Tags: "k = v"})
	if err != nil || len(res.Traces) != 20 {
		t.Errorf("%d traces, %v", len(res.Traces), err)
	}
}
