package endtoend

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/sidecar/envoy"
	"example.com/bookinfo/tracetest"
)

// scenario is something that a learner does, and what is asked for then.
type scenario struct {
	name    string
	rules   string              // Istio's, in force from now on
	broken  map[string][]string // as tracetest.Options.Break, until the next one
	path    string              // /productpage if empty
	headers []string
	status  int // 200 if 0
}

// client contexts that a gateway may be sent; each scenario needs an id of its own.
const (
	theirs = "463ac35c9f6413ad48485a3953bb6124"
	parent = "a2fb4a1d1a96d312"
)

// tracing are the scenarios of every format of trace headers.
func tracing() []scenario {
	nothing := []string{"drop=request-id,w3c,b3,b3-single"}
	return []scenario{
		{name: "whole page"},
		{name: "nothing forwarded by reviews", broken: map[string][]string{"reviews": nothing}},
		{name: "nothing forwarded by anybody", broken: map[string][]string{"reviews": nothing, "productpage": nothing}},
		{name: "x-request-id dropped", broken: map[string][]string{"reviews": {"drop=request-id"}}},
		{name: "spans that nobody reports", broken: map[string][]string{"reviews": {"hidden-sdk"}}},
		{name: "empty span id", broken: map[string][]string{"reviews": {"empty=x-b3-spanid"}}},
		{name: "client with traceparent", headers: []string{"traceparent", "00-" + theirs + "-" + parent + "-01"}},
		{name: "client with traceparent, not sampled", headers: []string{"traceparent", "00-" + theirs[:31] + "5-" + parent + "-00"}},
		{name: "client with B3", headers: []string{"x-b3-traceid", theirs[:31] + "6", "x-b3-spanid", parent, "x-b3-sampled", "1"}},
		{name: "client with half of B3", headers: []string{"x-b3-traceid", theirs[:31] + "7"}},
		{name: "client with single b3", headers: []string{"b3", theirs[:31] + "8-" + parent + "-1"}},
		{name: "client with a traceparent that cannot be read", headers: []string{"traceparent", "00-zz-01"}},
		{name: "client with x-request-id", headers: []string{"x-request-id", "00000000-0000-4000-8000-000000000001"}},
	}
}

const (
	toReviews = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n  hosts: [reviews]\n  http:\n"
	toRatings = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ratings}\nspec:\n  hosts: [ratings]\n  http:\n"
	byGateway = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bookinfo}\nspec:\n  hosts: ['*']\n  gateways: [bookinfo-gateway]\n  http:\n"

	subsets = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: only, labels: {version: v3}}]
---
`
)

// routing are the scenarios of Istio's files. Those of a service stay in force until the next ones of the same.
func routing(flakyPort int) []scenario {
	agent := "  - match: [{headers: {user-agent: {prefix: learner}}}]\n    route: [{destination: {host: reviews, subset: v2}}]\n"
	page := "  - route: [{destination: {host: productpage, port: {number: 9080}}}]\n"
	return []scenario{
		{name: "subsets", rules: subsets + toReviews + agent + "  - route: [{destination: {host: reviews, subset: v1}}]\n"},
		{name: "matched header", headers: []string{"user-agent", "learner/1"}},
		{name: "all of the weight", rules: toReviews + "  - route: [{destination: {host: reviews, subset: v1}, weight: 0}, {destination: {host: reviews, subset: only}, weight: 100}]\n"},
		{name: "abort", rules: toRatings + "  - fault: {abort: {httpStatus: 503, percentage: {value: 100}}}\n    route: [{destination: {host: ratings}}]\n"},
		{name: "delay", rules: toRatings + "  - fault: {delay: {fixedDelay: 0.2s, percentage: {value: 100}}}\n    route: [{destination: {host: ratings}}]\n"},
		{name: "timeout", rules: toRatings + "  - fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}\n    route: [{destination: {host: ratings}}]\n---\n" +
			toReviews + "  - timeout: 0.5s\n    route: [{destination: {host: reviews, subset: only}}]\n"},
		{name: "subset without instances", rules: toRatings + "  - route: [{destination: {host: ratings}}]\n---\n" +
			strings.Replace(subsets, "version: v1", "version: none", 1) + toReviews + "  - route: [{destination: {host: reviews, subset: v1}}]\n"},
		{name: "redirect", path: "/old?x=1", status: http.StatusMovedPermanently, rules: subsets + toReviews + "  - route: [{destination: {host: reviews, subset: only}}]\n---\n" +
			byGateway + "  - match: [{uri: {exact: /old}}]\n    redirect: {uri: /productpage, authority: books.example}\n" +
			"  - match: [{uri: {prefix: /shop/}}]\n    rewrite: {uri: /}\n    route: [{destination: {host: productpage, port: {number: 9080}}}]\n" +
			"  - match: [{uri: {exact: /closed}}]\n    directResponse: {status: 418, body: {string: closed}}\n" +
			"  - match: [{uri: {prefix: /flaky}}]\n    retries: {attempts: 3, retryOn: \"503\"}\n    route: [{destination: {host: flaky, port: {number: " + fmt.Sprint(flakyPort) + "}}}]\n" +
			"  - match: [{uri: {prefix: /api}}]\n" + strings.Replace(page, "  - ", "    ", 1)},
		{name: "rewrite", path: "/shop/productpage"},
		{name: "direct response", path: "/closed", status: http.StatusTeapot},
		{name: "no route", path: "/nowhere", status: http.StatusNotFound},
		{name: "retried until it answers", path: "/flaky/twice"},
		{name: "retried in vain", path: "/flaky/always", status: http.StatusServiceUnavailable},
		{name: "API", path: "/api/v1/products/0/reviews"},
		{name: "denied", path: "/api/v1/products/0", status: http.StatusForbidden, rules: `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: productpage}
spec:
  selector: {matchLabels: {app: productpage}}
  action: DENY
  rules: [{to: [{operation: {paths: ["/api/*"]}}]}]
`},
	}
}

// flaky answers 503 twice and then 200, over and over, and always 503 below /flaky/always.
func flaky() http.Handler {
	var asked atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/flaky/always" || asked.Add(1)%3 != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
}

// TestSameBehindEnvoy plays the same scenarios behind the stand-in and behind real Envoys: the answers and the traces
// are the same. The stand-in behaves as the version that is on the PATH.
func TestSameBehindEnvoy(t *testing.T) {
	version, err := envoy.Version(t.Context(), need.Tool(t, "envoy"))
	if err != nil {
		t.Fatal(err)
	}
	profile, _, _ := strings.Cut(version, ".")
	if minor, _, _ := strings.Cut(strings.TrimPrefix(version, profile+"."), "."); minor == "36" || minor == "40" {
		profile += "." + minor
	} else {
		need.Missing(t, "envoy", "it is neither 1.36 nor 1.40: "+version)
	}
	for _, format := range []string{"w3c", "b3", "b3+w3c"} {
		t.Run(format, func(t *testing.T) {
			real, ours := newStage(t, "envoy", format, profile), newStage(t, "builtin", format, profile)
			list := tracing()
			if format == "w3c" {
				list = append(list, routing(0)...)
			}
			for i, s := range list {
				t.Run(s.name, func(t *testing.T) {
					if format == "w3c" && i >= len(tracing()) {
						got, want := ours.play(t, routing(ours.flaky)[i-len(tracing())]), real.play(t, routing(real.flaky)[i-len(tracing())])
						same(t, got, want)
						return
					}
					same(t, ours.play(t, s), real.play(t, s))
				})
			}
		})
	}
}

// same compares line by line and tells the lines that only one of them has.
func same(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	lines := func(of, without string) (text string) {
		others := strings.Split(without, "\n")
		for line := range strings.SplitSeq(of, "\n") {
			if i := slices.Index(others, line); i >= 0 {
				others = slices.Delete(others, i, i+1)
				continue
			}
			text += line + "\n"
		}
		return text
	}
	t.Errorf("--- behind the sidecar alone\n%s\n--- behind Envoy alone\n%s", lines(got, want), lines(want, got))
}

// stage is a running suite with the traces that earlier scenarios left.
type stage struct {
	*tracetest.Suite
	flaky int // port of the service that fails
	seen  map[string]bool
}

func newStage(t *testing.T, proxy, format, profile string) *stage {
	t.Helper()
	s := &stage{Suite: tracetest.Start(t, tracetest.Options{Proxy: proxy, Format: format, Profile: profile, Reviews: "v3"}), seen: make(map[string]bool)}
	if format == "w3c" {
		s.flaky = s.Join("flaky", flaky())
	}
	return s
}

// play returns what the scenario's request got and left, without what differs from one run to the next.
func (s *stage) play(t *testing.T, what scenario) string {
	t.Helper()
	if what.rules != "" {
		s.Apply(what.rules)
	}
	for service, changes := range what.broken {
		s.Break(service, changes...)
	}
	path, status := what.path, what.status
	if path == "" {
		path = "/productpage"
	}
	if status == 0 {
		status = http.StatusOK
	}
	response := s.Get(path, what.headers...)
	if response.Status != status {
		t.Errorf("%s answers %d, want %d: %s", s.URL(), response.Status, status, response.Body)
	}
	var left []string
	for _, trace := range s.Traces() {
		if !s.seen[trace.ID] {
			s.seen[trace.ID] = true
			left = append(left, shape(trace, ids(what.headers)))
		}
	}
	if len(what.broken) > 0 {
		s.Mend()
	}
	slices.Sort(left)
	text := fmt.Sprintf("%d\n%s\n%s\n%s", response.Status, fields(response.Header), response.Body, strings.Join(left, "\n"))
	text = strings.ReplaceAll(text, strings.TrimPrefix(s.URL(), "http://"), "GATEWAY")
	// Addresses have ports of four or of five digits, and pages have addresses.
	for _, name := range []string{"Content-Length: ", "response_size="} {
		text = strings.ReplaceAll(text, fmt.Sprintf("%s%d", name, len(response.Body)), name+"that of the body")
	}
	if s.flaky != 0 {
		text = strings.ReplaceAll(text, fmt.Sprint(s.flaky), "FLAKY")
	}
	for id := range s.seen {
		text = strings.ReplaceAll(text, id, "TRACE")
	}
	return drawn.ReplaceAllString(text, "DRAWN")
}

// drawn is an address that the system has picked, or an x-request-id.
var drawn = regexp.MustCompile(`127\.0\.0\.1:[0-9]+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// fields are the header lines of an answer, without those that differ from one to the next.
func fields(h http.Header) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		value := strings.Join(h[name], " | ")
		switch name {
		case "Date", "X-Envoy-Upstream-Service-Time", "X-Request-Id", "Traceresponse", "X-B3-Traceid", "B3":
			value = "…"
		}
		lines = append(lines, name+": "+value)
	}
	return strings.Join(lines, "\n")
}

func ids(headers []string) string { return strings.Join(headers, " ") }

// shape draws the tree with every span's name and tags, siblings in the order of their text. sent are the headers whose
// ids are worth telling.
func shape(trace *tracetest.Trace, sent string) string {
	known := make(map[string]bool)
	for _, s := range trace.All() {
		known[s.ID] = true
	}
	var below func(parent, indent string) string
	below = func(parent, indent string) string {
		var list []string
		for _, s := range trace.All() {
			if s.ParentID == parent {
				list = append(list, indent+describe(s)+below(s.ID, indent+"  "))
			}
		}
		slices.Sort(list)
		return strings.Join(list, "")
	}
	text := "trace\n"
	if strings.Contains(sent, trace.ID) {
		text = "trace of the client\n"
	}
	text += below("", "  ")
	orphans := make(map[string]bool)
	for _, s := range trace.All() {
		if s.ParentID != "" && !known[s.ParentID] && !orphans[s.ParentID] {
			orphans[s.ParentID] = true
			text += "  below a span that is not there\n" + below(s.ParentID, "    ")
		}
	}
	return text
}

// describe writes a span. What is left out is argued in docs/differences.md, or drawn by lot.
func describe(s tracetest.Span) string {
	var tags []string
	for _, name := range slices.Sorted(maps.Keys(s.Tags)) {
		value := s.Tags[name]
		switch {
		case strings.HasPrefix(name, "bookinfo."):
			continue // the stand-in's record of headers
		case name == "peer.address", name == "guid:x-request-id", name == "telemetry.sdk.version":
			value = "…"
		}
		tags = append(tags, name+"="+value)
	}
	return fmt.Sprintf("%s %s %s %s\n", s.Local.ServiceName, s.Kind, s.Name, strings.Join(tags, " "))
}
