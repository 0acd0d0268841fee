package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/cmd/console/pages"
	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/recorded"
	"example.com/bookinfo/services/console/span"
)

// site is a running console with its pages.
type site struct {
	t   testing.TB
	URL string
}

// open starts a console on a free port, as the binary does.
func open(t testing.TB, change ...func(*console.Config)) *site {
	t.Helper()
	cfg := console.Config{Addr: "127.0.0.1:0", Pages: pages.Of, Location: time.UTC, Settle: time.Millisecond, Limits: ingest.DefaultLimits()}
	for _, f := range change {
		f(&cfg)
	}
	c, err := console.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return &site{t, "http://" + c.Addr}
}

// send posts spans as a sidecar does and gives the status.
func (s *site) send(spans []span.Span) int {
	s.t.Helper()
	status := 0
	for len(spans) > 0 {
		n := min(len(spans), 1000)
		body, err := json.Marshal(format.Zipkin(spans[:n]))
		if err != nil {
			s.t.Fatal(err)
		}
		spans = spans[n:]
		answer, err := http.Post(s.URL+"/api/v2/spans", "application/json", bytes.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		_ = answer.Body.Close()
		status = answer.StatusCode
	}
	return status
}

// get reads a page without following redirects.
func (s *site) get(path string) (*http.Response, string) {
	s.t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get(s.URL + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, string(body)
}

// post sends a form as the pages do.
func (s *site) post(path string, form url.Values) (*http.Response, string) {
	s.t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.PostForm(s.URL+path, form)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer, string(body)
}

// bookinfo is an hour of requests: mostly quick, some slow, some failing at ratings, one request in eight broken.
func bookinfo(t testing.TB, n int) (all []span.Span, whole span.TraceID) {
	t.Helper()
	now := time.Now()
	chain := recorded.Find(t, "all/b3/gateway-two-spans")
	broken := recorded.Find(t, "all-but-reviews/b3/gateway-two-spans")
	for i := range n {
		o := recorded.Options{Start: now.Add(-time.Duration(n-i) * 55 * time.Minute / time.Duration(n)).Add(-time.Minute), Seed: uint64(i + 1),
			Reviews: fmt.Sprintf("v%d", i%3+1), Slow: map[string]time.Duration{"reviews.default": time.Duration(i*i%37) * time.Millisecond}}
		if i%9 == 4 {
			o.Fail = "ratings.default"
		}
		if i%11 == 7 {
			o.Slow["ratings.default"] = 7 * time.Second
		}
		c := chain
		if i%8 == 5 {
			c = broken
		}
		spans := c.Spans(o)
		if i%8 != 5 && whole.IsZero() {
			whole = spans[0].TraceID
		}
		all = append(all, spans...)
	}
	return all, whole
}

func TestEveryPageAnswers(t *testing.T) {
	s := open(t)
	spans, id := bookinfo(t, 60)
	if status := s.send(spans); status != http.StatusAccepted {
		t.Fatalf("ingest: %d", status)
	}
	trace := "/traces/" + id.String()
	tests := []struct {
		path string
		want []string
	}{
		{"/", []string{"Applications", "Filter by Tag", "Trace Explorer", "System Configuration", "Application Settings", "Cluster Configuration",
			"productpage.default", "reviews.default", "Region", "<svg class=\"spark"}},
		{"/?sort=-p95&q=reviews", []string{`aria-sort="ascending"`, "reviews.default"}},
		{"/applications/reviews.default", []string{"Overview", "Servers", "v1", "v2", "v3", "Call topology", "Slowest traces"}},
		{"/applications/reviews.default?version=v2", []string{`aria-current="true">v2`}},
		{"/applications/reviews.default/traces", []string{"Start against duration", "By duration"}},
		{"/applications/reviews.default/servers", []string{"reviews-v1-", "reviews-v3-"}},
		{"/topology", []string{`class="edge`, "Traces of productpage.default v1 calling details.default v1"}},
		{"/traces", []string{"IP address", "Trace ID", "chip warn"}},
		{"/traces?status=error&min=1ms&max=30s&order=time", []string{"✕"}},
		{"/traces?tags=http.status_code+%3D+500", []string{"✕ "}},
		{trace, []string{"Log generation time", "Status", "IP address", "Service name", `role="treegrid"`, "critical path", "9</dd>"}},
		{trace + "?q=ratings&level=6", []string{" class=\"k-span match\""}},
		{trace + "?view=table", []string{"Self time"}},
		{trace + "?view=flame", []string{`class="flame"`}},
		{trace + "?view=statistics", []string{"of the trace"}},
		{trace + "?view=headers", []string{"No trace headers were recorded"}},
		{trace + "?halves=joined", []string{"CLIENT &#43; SERVER"}},
		{trace + "/nodes.json", []string{`"depth":[0,1`}},
		{trace + "/matches.json?q=ratings", []string{"[7,8]"}},
		{trace + "/export/otlp", []string{"resourceSpans"}},
		{trace + "/export/zipkin", []string{`"traceId"`}},
		{trace + "/export/html", []string{"<style>", "productpage.default"}},
		{"/compare", []string{"Paste two trace IDs"}},
		{"/compare?a=" + id.String() + "&b=" + id.String(), []string{"Both traces have the same hops"}},
		{"/settings/applications", []string{"Server name"}},
		{"/settings/cluster", []string{"Quota Configuration", "Save", "Push log", "202", "Evicted"}},
		{"/help/no-data", []string{"Nothing stands in the way", "The daily quota"}},
		{"/help/no-data?id=" + id.String(), []string{"Found: trace"}},
		{"/help/trace-id", []string{"x-b3-traceid", "reviews.default", "outbound sidecar"}},
		{"/help/shortcuts", []string{"<kbd>"}},
		{"/complete?prefix=http.s", []string{`["http.status_code"]`}},
	}
	for _, tt := range tests {
		answer, body := s.get(tt.path)
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", tt.path, answer.StatusCode)
		}
		for _, want := range tt.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q", tt.path, want)
			}
		}
		if csp := answer.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("%s: policy %q", tt.path, csp)
		}
	}
}

func TestErrorsNameTheParameter(t *testing.T) {
	s := open(t)
	spans, id := bookinfo(t, 3)
	s.send(spans)
	tests := []struct {
		path   string
		status int
		want   string
	}{
		{"/?sort=color", 400, "sort &#34;color&#34;"},
		{"/?range=5y", 400, "range &#34;5y&#34;"},
		{"/traces?min=fast", 400, "min &#34;fast&#34;"},
		{"/traces?status=maybe", 400, "status"},
		{"/traces?tags=a+%3D%3D%3D", 400, "tag expression"},
		{"/traces/xyz", 400, "trace id"},
		{"/traces/" + id.String() + "?view=cloud", 400, "view"},
		{"/traces/" + id.String() + "?level=-1", 400, "level"},
		{"/traces/" + id.String() + "/spans/1", 404, "no span"},
		{"/traces/" + id.String() + "/export/pdf", 404, "otlp"},
		{"/compare?t=1&t=2&t=3", 400, "two traces"},
		{"/applications/nobody", 404, "nobody"},
		{"/settings/applications/nobody", 404, "nobody"},
		{"/nowhere", 404, "no such page"},
		{"/assets/000000000000/console.js", 404, "no such file"},
	}
	for _, tt := range tests {
		answer, body := s.get(tt.path)
		if answer.StatusCode != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d, want %d with %q", tt.path, answer.StatusCode, tt.status, tt.want)
		}
	}
}

// upload imports a file through the form of the Trace Explorer.
func (s *site) upload(content string) *http.Response {
	s.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, err := form.CreateFormFile("file", "trace.json")
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.WriteString(file, content)
	_ = form.Close()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Post(s.URL+"/traces", form.FormDataContentType(), &body)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer
}

// The table of a trace says how it is sorted, keeps what else the view has when sorted anew, and says what it leaves out.
func TestSpanTable(t *testing.T) {
	s := open(t, func(c *console.Config) { c.Limits = ingest.DefaultLimits() })
	spans := large(t, 5003)
	s.send(spans)
	_, body := s.get("/traces/" + spans[0].TraceID.String() + "?view=table&fold=0&sort=duration")
	for _, want := range []string{`<th scope="col" class="n" aria-sort="descending">`, "Duration ▼", "?fold=0&amp;sort=self&amp;view=table", "3 more spans are left out"} {
		if !strings.Contains(body, want) {
			t.Errorf("the table lacks %s", want)
		}
	}
}

// A page names the modules that its modules import, so that a browser fetches all of them at once.
func TestModulesAreNamed(t *testing.T) {
	s := open(t)
	spans, id := bookinfo(t, 1)
	s.send(spans)
	_, body := s.get("/traces/" + id.String())
	for _, name := range []string{"live.js", "charts.js", "forms.js", "rows.js", "details.js", "zoom.js"} {
		if n := strings.Count(body, name+`">`); n != 1 {
			t.Errorf("%s is named %d times", name, n)
		}
	}
}
