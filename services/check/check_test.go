package check

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/server"
)

// examine checks an app in this process.
func examine(t *testing.T, build app, args ...string) Report {
	t.Helper()
	cfg, err := parse(append([]string{"--url", "http://to-be-replaced/", "--grace", "100ms", "--upstream-listen", "127.0.0.1:1"}, args...), nil)
	if err != nil {
		t.Fatal(err)
	}
	up, err := startUpstream(t.Context(), "127.0.0.1:0", "{}")
	if err != nil {
		t.Fatal(err)
	}
	defer up.close()
	service := httptest.NewUnstartedServer(build(up.fill("{url}/")))
	service.Config.Protocols = new(http.Protocols)
	service.Config.Protocols.SetHTTP1(true)
	service.Config.Protocols.SetUnencryptedHTTP2(true)
	service.Start()
	defer service.Close()
	cfg.url = service.URL + "/"
	report, err := probeAll(t.Context(), cfg, up, ids{rand.NewChaCha8([32]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func errorsOf(r Report) []string {
	var list []string
	for _, f := range r.Findings {
		if f.Level == "error" {
			list = append(list, f.Rule)
		}
	}
	slices.Sort(list)
	return list
}

func text(t *testing.T, r Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.write(&out, "text"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestGoodServicePasses(t *testing.T) {
	for _, protocol := range []string{"http", "h2c"} {
		r := examine(t, good, "--protocol", protocol)
		if !r.OK || len(r.Findings) > 0 {
			t.Errorf("over %s:\n%s", protocol, text(t, r))
		}
		if protocol != "http" {
			continue
		}
		for _, c := range r.Cases {
			if c.Skipped != "" {
				t.Errorf("case %s was skipped: %s", c.Name, c.Skipped)
			}
		}
	}
}

// TestBrokenServices has an app for each failure that a probe from outside can see.
func TestBrokenServices(t *testing.T) {
	upstreamID := "0123456789abcdef0123456789abcdef"
	for _, tt := range []struct {
		name string
		app  app
		want []string // rules that are errors
	}{
		{"forwards nothing", forwarding(func(*http.Request) http.Header { return nil }), []string{ruleNothing}},
		{"forwards x-request-id only", forwarding(func(r *http.Request) http.Header {
			return http.Header{"X-Request-Id": right(r)["X-Request-Id"]}
		}), []string{ruleRequestIDOnly}},
		{"drops x-request-id", without("request-id"), []string{ruleRequestIDLost}},
		{"replaces x-request-id", but(func(h http.Header, _ *http.Request) {
			h.Set("X-Request-Id", "00000000-0000-4000-8000-000000000000")
		}), []string{ruleRequestIDReplaced}},
		{"half a context", without("x-b3-spanid"), []string{ruleHalf}},
		{"the other half", without("x-b3-traceid"), []string{ruleHalf}},
		{"drops x-b3-sampled", without("x-b3-sampled"), []string{ruleSampledLost}},
		{"denies sampling in B3", but(func(h http.Header, _ *http.Request) {
			if h.Get("X-B3-Sampled") != "" {
				h.Set("X-B3-Sampled", "0")
			}
		}), []string{ruleSampledChanged}},
		{"denies sampling in W3C", but(func(h http.Header, _ *http.Request) {
			if v := h.Get("Traceparent"); v != "" {
				h.Set("Traceparent", strings.TrimSuffix(v, "01")+"00")
			}
		}), []string{ruleMalformed, ruleSampledChanged}}, // malformed for the denied one, which has no 01
		{"forwards empty values", forwarding(func(r *http.Request) http.Header {
			h := http.Header{}
			for _, name := range headerNames()[:24] {
				if lines := r.Header.Values(name); len(lines) > 0 {
					h.Set(name, strings.Join(lines[:1], ""))
				}
			}
			if lines := r.Header["Tracestate"]; len(lines) > 0 {
				h.Set("Tracestate", strings.Join(lines, ","))
			}
			return h
		}), []string{ruleEmpty}},
		{"adds in place of set", forwarding(func(r *http.Request) http.Header {
			h := right(r)
			for name, lines := range h {
				h[name] = append(lines, r.Header[name]...)
			}
			return h
		}), []string{ruleDuplicated}},
		{"joins lines with a comma", but(func(h http.Header, r *http.Request) {
			for name := range h {
				h.Set(name, strings.Join(r.Header[name], ", "))
			}
		}), []string{ruleDuplicated}},
		{"takes the last line", but(func(h http.Header, r *http.Request) {
			for _, name := range []string{"X-B3-Traceid", "X-B3-Spanid", "Traceparent"} {
				if lines := r.Header[name]; len(lines) > 0 {
					h.Set(name, lines[len(lines)-1])
				}
			}
		}), []string{ruleLastLine}},
		{"writes ids that nobody can read", but(func(h http.Header, _ *http.Request) {
			if v := h.Get("X-B3-Traceid"); v != "" {
				h.Set("X-B3-Traceid", "{"+v+"}")
			}
		}), []string{ruleMalformed}},
		{"cuts trace ids to 64 bits", but(func(h http.Header, _ *http.Request) {
			if v := h.Get("X-B3-Traceid"); len(v) == 32 {
				h.Set("X-B3-Traceid", v[16:])
			}
		}), []string{ruleTruncated}},
		{"turns B3 into W3C", but(func(h http.Header, _ *http.Request) {
			if trace := h.Get("X-B3-Traceid"); len(trace) == 32 {
				h.Set("Traceparent", "00-"+trace+"-"+h.Get("X-B3-Spanid")+"-01")
				for _, name := range []string{"Traceid", "Spanid", "Parentspanid", "Sampled"} {
					h.Del("X-B3-" + name)
				}
			}
		}), []string{ruleLost, ruleSampledLost, ruleWrongFamily}},
		{"an SDK beside raw headers", but(func(h http.Header, _ *http.Request) {
			if v := h.Get("Traceparent"); len(v) == 55 {
				h.Set("Traceparent", v[:36]+"1111111111111111"+v[52:])
			}
		}), []string{ruleOwnSpans, ruleTwoContexts}},
		{"begins a trace of its own", but(func(h http.Header, _ *http.Request) {
			h.Set("X-B3-Traceid", upstreamID)
			h.Set("X-B3-Spanid", "0123456789abcdef")
		}), []string{ruleNewTrace, ruleOwnSpans, ruleTwoContexts}},
		{"copies the parent into the span", but(func(h http.Header, _ *http.Request) {
			if v := h.Get("X-B3-Parentspanid"); v != "" {
				h.Set("X-B3-Spanid", v)
			}
		}), []string{ruleTwoContexts, ruleWrongSpan}},
		{"loses tracestate", without("tracestate"), []string{ruleLost}},
		{"loses b3", without("b3-single"), []string{ruleLost}},
		{"forwards everything", but(func(h http.Header, r *http.Request) {
			for name, lines := range r.Header {
				if strings.HasPrefix(name, "X-Envoy-") {
					h[name] = lines
				}
			}
		}), []string{ruleHop}},
		{"keeps headers as defaults of the client", sticky, []string{ruleLeak}},
		{"keeps headers in a shared variable", shared, []string{ruleLeak}},
		{"loses the context in a pool", pooled, []string{ruleAsync}},
		{"retries without headers", retrying, []string{ruleLostAfterError}},
		{"follows redirects without headers", redirecting, []string{ruleLostOnRedirect}},
		{"refuses an empty tracestate", choosy, []string{ruleRejected}},
		{"forwards on GET only", fallbackOn(func(r *http.Request) bool { return r.Method == http.MethodGet }), []string{ruleLostOnPost}},
		{"forwards on HTTP/1.1 only", fallbackOn(func(r *http.Request) bool { return r.ProtoMajor == 1 }), []string{ruleLostOnH2C}},
		{"calls nobody", func(string) http.Handler { return http.NotFoundHandler() }, []string{ruleNotCalled}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := examine(t, tt.app)
			if got := errorsOf(r); !slices.Equal(got, tt.want) {
				t.Errorf("errors %q, want %q\n%s", got, tt.want, text(t, r))
			}
			if r.OK {
				t.Error("the report says that all is well")
			}
			for _, f := range r.Findings {
				for _, language := range languages() {
					if f.Mend[language] == "" {
						t.Errorf("%s has no mend in %s", f.Rule, language)
					}
				}
			}
		})
	}
}

// TestCaseSensitive needs an app that sees the names as they were written, which Go's server hides.
func TestCaseSensitive(t *testing.T) {
	r := examine(t, fallbackOn(func(r *http.Request) bool {
		return r.Header.Get("X-B3-Parentspanid") != "" || r.Header.Get("Traceparent") == ""
	}))
	if r.OK {
		t.Fatal("an app that forwards by chance passes")
	}
	f := &findings{required: mustParse(t, "")}
	o := outcome{probe: probe{name: "mixed-case"}, exchanges: []exchange{{sent: map[string][]string{"x-b3-traceid": {"1"}}, calls: []call{{}}}}}
	o.judge(nil)
	judgeBeyond(f, o, map[string]bool{})
	if len(f.list) != 1 || f.list[0].Rule != ruleCase {
		t.Errorf("found %v, want %s", f.list, ruleCase)
	}
}

func TestLeafProfile(t *testing.T) {
	leaf := func(string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	}
	if r := examine(t, leaf, "--profile", "leaf"); !r.OK {
		t.Errorf("a leaf does not pass:\n%s", text(t, r))
	}
	if r := examine(t, choosy, "--profile", "leaf"); !slices.Equal(errorsOf(r), []string{ruleRejected}) {
		t.Errorf("errors %q, want %s", errorsOf(r), ruleRejected)
	}
}

func TestNotesDoNotFail(t *testing.T) {
	r := examine(t, without("datadog,sw8,x-b3-parentspanid"))
	if !r.OK || len(r.Findings) == 0 {
		t.Errorf("want notes only:\n%s", text(t, r))
	}
	if r := examine(t, without("datadog"), "--require", "datadog"); r.OK {
		t.Error("the loss of a required header is not an error")
	}
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "--url is missing"},
		{[]string{"--url", "localhost:80"}, `--url "localhost:80": want http://`},
		{[]string{"--url", "https://h/"}, "want http://"},
		{[]string{"--url", "http://h/"}, "--upstream-listen HOST:PORT"},
		{[]string{"--url", "http://h/", "--profile", "x"}, `--profile "x": want forward, sdk, leaf`},
		{[]string{"--url", "http://h/", "--protocol", "http3"}, `--protocol "http3": want`},
		{[]string{"--url", "http://h/", "-o", "yaml"}, `-o "yaml": want text, json, junit, sarif`},
		{[]string{"--url", "http://h/", "--require", "zipkin", "--", "x"}, "--require: unknown header"},
		{[]string{"--url", "http://h/", "--upstream-env", "X"}, "--upstream-env is for a command"},
		{[]string{"--url", "http://h:{port}/", "--upstream-listen", "127.0.0.1:1"}, "{port} in --url"},
		{[]string{"--url", "http://h/", "--timeout", "0s", "--", "x"}, "want more than 0"},
		{[]string{"--nonsense"}, "nonsense"},
	} {
		err := Run(t.Context(), tt.args, &bytes.Buffer{}, &bytes.Buffer{})
		var usage *server.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want one of usage with %q", tt.args, err, tt.want)
		}
	}
	var out bytes.Buffer
	if err := Run(t.Context(), []string{"-h"}, &out, &out); err != nil || !strings.Contains(out.String(), "--upstream-env BACKEND_URL") {
		t.Errorf("-h: %v, %s", err, out.String())
	}
}

// TestRun goes through the command with each output, against a service that runs and is good or broken.
func TestRun(t *testing.T) {
	port, err := freePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	service := func(a app) string {
		s := httptest.NewServer(a("http://127.0.0.1:" + port + "/"))
		t.Cleanup(s.Close)
		return s.URL
	}
	run := func(a app, format string) ([]byte, error) {
		var out bytes.Buffer
		err := Run(t.Context(), []string{"--url", service(a), "--upstream-listen", "127.0.0.1:" + port, "-o", format, "--grace", "100ms"}, &out, &out)
		return out.Bytes(), err
	}
	if out, err := run(good, "text"); err != nil || !bytes.Contains(out, []byte("The headers pass.")) || !bytes.Contains(out, []byte("x-b3-traceid")) {
		t.Errorf("good: %v\n%s", err, out)
	}
	out, err := run(sticky, "json")
	var report Report
	if jsonErr := json.Unmarshal(out, &report); !errors.Is(err, ErrFailed) || jsonErr != nil || report.OK || len(report.Cases) == 0 {
		t.Errorf("json: %v, %v\n%s", err, jsonErr, out)
	}
	out, err = run(sticky, "junit")
	var suite junitSuite
	if xmlErr := xml.Unmarshal(out, &suite); !errors.Is(err, ErrFailed) || xmlErr != nil || suite.Failures == 0 || suite.Tests != len(suite.Cases) {
		t.Errorf("junit: %v, %v\n%s", err, xmlErr, out)
	}
	out, err = run(sticky, "sarif")
	var sarif struct {
		Version string
		Runs    []struct {
			Results []struct{ RuleID, Level string }
		}
	}
	if jsonErr := json.Unmarshal(out, &sarif); !errors.Is(err, ErrFailed) || jsonErr != nil || sarif.Version != "2.1.0" || sarif.Runs[0].Results[0].RuleID != ruleLeak {
		t.Errorf("sarif: %v, %v\n%s", err, jsonErr, out)
	}
}

func TestPortIsTaken(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	err := Run(t.Context(), []string{"--url", other.URL, "--", "sleep", "60"}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "listens on "+strings.TrimPrefix(other.URL, "http://")+" already") {
		t.Errorf("error %v, want that the port is taken", err)
	}
}

func TestServiceThatDoesNotStart(t *testing.T) {
	for _, tt := range []struct {
		command []string
		want    string
	}{
		{[]string{"/no/such/program"}, "start the service"},
		{[]string{"false"}, "ended before it listened"},
		{[]string{"sleep", "60"}, "did not listen"},
	} {
		args := append([]string{"--url", "http://127.0.0.1:{port}/", "--start-timeout", "200ms", "--"}, tt.command...)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err := Run(ctx, args, &bytes.Buffer{}, &bytes.Buffer{})
		cancel()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q", tt.command, err, tt.want)
		}
	}
}
