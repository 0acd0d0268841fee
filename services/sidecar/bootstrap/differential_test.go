package bootstrap_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/bootstrap"
	"example.com/bookinfo/services/sidecar/compile"
	"example.com/bookinfo/services/sidecar/report"
	"example.com/bookinfo/services/sidecar/trace"
)

// lessons is a mesh in which the requests below meet everything that needs no dice.
const lessons = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /STATIC}, ignoreUriCase: true}, {uri: {regex: "/r[0-9]+/.*"}}]
    rewrite: {uri: /new, authority: other.example}
    route: [{destination: {host: reviews, subset: v3}}]
  - match: [{queryParams: {v: {exact: "3"}}, withoutHeaders: {x-no: {}}}]
    headers: {request: {set: {x-set: "100%"}, add: {x-add: b}, remove: [x-gone]}, response: {set: {x-answer: c}, remove: [x-pod]}}
    route: [{destination: {host: reviews, subset: v3}}]
  - match: [{uri: {exact: /go}}]
    redirect: {authority: other.example, uri: /there, redirectCode: 307}
  - match: [{uri: {exact: /https}}]
    redirect: {scheme: https}
  - match: [{uri: {exact: /direct}}]
    directResponse: {status: 403, body: {string: "no entry"}}
  - match: [{uri: {exact: /abort}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /slow}}]
    timeout: 0.1s
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /retry}}]
    retries: {attempts: 2, retryOn: "503"}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /cors}}]
    corsPolicy: {allowOrigins: [{exact: "https://a.example"}], allowMethods: [GET, POST], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 60s, allowCredentials: true}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /reviews}, method: {regex: "GET|POST"}}]
    route: [{destination: {host: reviews, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http: [{route: [{destination: {host: ratings, subset: v2-mysql}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: productpage}
spec:
  host: productpage
  trafficPolicy:
    loadBalancer: {consistentHash: {httpCookie: {name: user, path: /, ttl: 60s}}}
    connectionPool: {http: {maxRequestsPerConnection: 1}, tcp: {connectTimeout: 0.5s}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: books}
spec:
  hosts: [books.example]
  location: MESH_EXTERNAL
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: BOOKS}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: gone}
spec:
  hosts: [gone.example]
  location: MESH_EXTERNAL
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: 1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: books}
spec:
  host: books.example
  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: tags}
spec:
  tracing:
  - customTags:
      lesson: {literal: {value: tags}}
      user: {header: {name: end-user, defaultValue: nobody}}
      host: {environment: {name: NO_SUCH_VARIABLE, defaultValue: none}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: details}
spec:
  parentRefs: [{group: "", kind: Service, name: details, port: 9080}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /a}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: details-v1, port: 9080}]
  - matches: [{path: {type: PathPrefix, value: /a/b}, headers: [{name: x-b, value: "1"}]}]
    backendRefs: [{name: ratings-v1, port: 9080}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - from: [{source: {principals: ["cluster.local/ns/default/sa/bookinfo-productpage"]}}]
    to: [{operation: {methods: [GET], paths: ["/reviews/*"]}}]
  - from: [{source: {namespaces: ["o*"]}}]
    when: [{key: "request.headers[x-role]", notValues: [guest]}]
`

// sent is one request of the comparison.
type sent struct {
	direction, method, host, path string
	headers                       []string // "name: value"
}

func requests() []sent {
	out := func(host, path string, headers ...string) sent {
		return sent{"outbound", "GET", host, path, headers}
	}
	in := func(method, path string, headers ...string) sent {
		return sent{"inbound", method, "reviews:9080", path, headers}
	}
	const cert = "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/"
	list := []sent{
		out("reviews:9080", "/reviews/0"), out("reviews.default:9080", "/reviews/0"), out("reviews.default.svc.cluster.local:9080", "/reviews/0?x=1"),
		out("reviews:9080", "/reviews/0", "end-user: jason"), out("reviews:9080", "/", "end-user: jason"), out("reviews:9080", "/", "end-user: jasonx"),
		out("reviews:9080", "/static/x?y"), out("reviews:9080", "/Staticx"), out("reviews:9080", "/r12/x"), out("reviews:9080", "/r/x"),
		out("reviews:9080", "/?v=3", "x-gone: 1", "x-set: old", "x-add: a"), out("reviews:9080", "/?v=3", "x-no: 1"), out("reviews:9080", "/?v=33"),
		out("reviews:9080", "/go"), out("reviews:9080", "/https?q"), out("reviews:9080", "/direct"), out("reviews:9080", "/abort"),
		out("reviews:9080", "/slow"), out("reviews:9080", "/retry"), out("reviews:9080", "/cors", "origin: https://a.example"), out("reviews:9080", "/cors", "origin: https://b.example"),
		out("nowhere:9080", "/"), out("reviews:1", "/reviews/0"), out("ratings:9080", "/ratings/0"),
		out("details:9080", "/a/x"), out("details:9080", "/a"), out("details:9080", "/ab"), out("details:9080", "/a/b/c", "x-b: 1"),
		out("productpage:9080", "/productpage"), out("productpage:9080", "/productpage", "cookie: a=b; user=x"),
		out("books.example:9080", "/volumes?q=1"), out("books.example", "/"), out("gone.example:9080", "/"),
		out("reviews:9080", "/reviews/0", "x-forwarded-proto:"), out("reviews:9080", "/reviews/0", "x-forwarded-proto: https"),
		in("GET", "/reviews/0"), in("GET", "/reviews/0", cert+"default/sa/bookinfo-productpage"), in("POST", "/reviews/0", cert+"default/sa/bookinfo-productpage"),
		in("GET", "/health", cert+"default/sa/bookinfo-productpage"), in("GET", "/reviews/0", cert+"default/sa/bookinfo-productpage2"),
		in("GET", "/x", cert+"other/sa/x"), in("GET", "/x", cert+"other/sa/x", "x-role: guest"), in("GET", "/x", cert+"other/sa/x", "x-role: admin"),
	}
	for _, origin := range []string{"https://a.example", "https://b.example"} {
		list = append(list, sent{"outbound", "OPTIONS", "reviews:9080", "/cors", []string{"origin: " + origin, "access-control-request-method: GET"}})
	}
	return list
}

// The same files and requests through the sidecar and through a real Envoy: the same answers, from the same instances,
// which saw the same requests.
func TestSameAsEnvoy(t *testing.T) {
	t.Run("1.36", func(t *testing.T) { compare(t, need.Tool(t, "envoy"), trace.Envoy136) })
	t.Run("1.40", func(t *testing.T) {
		path, err := exec.LookPath("envoy-140")
		if err != nil {
			need.Missing(t, "envoy-140", "no executable of this name is on the PATH")
		}
		compare(t, path, trace.Envoy140)
	})
}

func compare(t *testing.T, envoy string, profile trace.Profile) {
	t.Helper()
	m := mesh.New(mesh.Bookinfo())
	for _, w := range m.Snapshot().Workloads {
		address := echo(t, w.Name)
		if err := m.SetAddress(w.Pod, 9080, mesh.Address{Proxy: address, App: address}); err != nil {
			t.Fatal(err)
		}
	}
	applyIstio(t, m, "destination-rule-all.yaml")
	_, books, _ := net.SplitHostPort(echo(t, "books"))
	files := []mesh.File{{Name: "lessons.yaml", Data: []byte(strings.Replace(lessons, "BOOKS", books, 1))}}
	if result := m.Apply(files, "default", false); result.Failed() {
		t.Fatal(result.Problems)
	}
	ourSpans, theirSpans := newSpans(t), newSpans(t)
	ours := map[string]string{
		"outbound": startOurs(t, m, "productpage-v1", trace.Outbound, profile, ourSpans.url),
		"inbound":  startOurs(t, m, "reviews-v1", trace.Inbound, profile, ourSpans.url),
	}
	theirs := map[string]string{
		"outbound": startEnvoy(t, envoy, m, "productpage-v1", "outbound", theirSpans.url),
		"inbound":  startEnvoy(t, envoy, m, "reviews-v1", "inbound", theirSpans.url),
	}
	list := requests()
	for i, r := range list {
		r.headers = append(r.headers, fmt.Sprintf("x-client-trace-id: %d", i))
		got, want := exchange(t, ours[r.direction], r), exchange(t, theirs[r.direction], r)
		if got != want {
			t.Errorf("%s %s %s%s %q\n--- sidecar\n%s\n--- Envoy\n%s", r.direction, r.method, r.host, r.path, r.headers, got, want)
		}
	}
	list = append(list, sent{"outbound", "GET", "books.example:9080", "/one-too-many", nil})
	last := list[len(list)-1]
	last.headers = []string{fmt.Sprintf("x-client-trace-id: %d", len(list)-1)}
	if got, want := overflow(t, ours["outbound"], last), overflow(t, theirs["outbound"], last); got != want {
		t.Errorf("over the limit\n--- sidecar\n%s\n--- Envoy\n%s", got, want)
	}
	for direction := range ours { // five spans make a report: these let the last ones go
		for range 5 {
			exchange(t, ours[direction], sent{direction, "GET", "reviews:9080", "/reviews/0", nil})
			exchange(t, theirs[direction], sent{direction, "GET", "reviews:9080", "/reviews/0", nil})
		}
	}
	for i, r := range list {
		got, want := ourSpans.of(t, i), theirSpans.of(t, i)
		if got != want {
			t.Errorf("spans of %s %s %s%s %q\n--- sidecar\n%s\n--- Envoy\n%s", r.direction, r.method, r.host, r.path, r.headers, got, want)
		}
	}
}

// overflow keeps the one request that the limit allows under way and returns the answer to a second one.
func overflow(t *testing.T, address string, r sent) string {
	t.Helper()
	first, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	fmt.Fprintf(first, "GET /slow HTTP/1.1\r\nHost: %s\r\n\r\n", r.host)
	probe := r
	probe.headers = nil
	for deadline := time.Now().Add(4 * time.Second); !strings.HasPrefix(exchange(t, address, probe), "503"); {
		if time.Now().After(deadline) {
			t.Fatal("no request is refused while another is under way")
		}
	}
	return exchange(t, address, r)
}

// echo is an application that answers with its name and what it was asked.
func echo(t *testing.T, name string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-pod", name)
		if r.URL.Path == "/slow" {
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
		}
		if r.URL.Path == "/retry" && r.Header.Get("x-envoy-attempt-count") != "3" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "%s %s %s%s\n", name, r.Method, r.Host, r.RequestURI)
		var lines []string
		for key, values := range r.Header {
			// The peer's metadata is written by a filter of Istio's own, which a plain Envoy does not have.
			if !slices.Contains([]string{"X-Request-Id", "X-Forwarded-For", "X-Envoy-Peer-Metadata", "X-B3-Traceid", "X-B3-Spanid"}, key) {
				lines = append(lines, strings.ToLower(key)+": "+strings.Join(values, " | "))
			}
		}
		slices.Sort(lines)
		io.WriteString(w, strings.Join(lines, "\n"))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func workload(t *testing.T, s *mesh.Snapshot, name string) *mesh.Workload {
	t.Helper()
	i := slices.IndexFunc(s.Workloads, func(w *mesh.Workload) bool { return w.Name == name })
	if i < 0 {
		t.Fatalf("no workload %s", name)
	}
	return s.Workloads[i]
}

func startOurs(t *testing.T, m *mesh.Mesh, name string, direction trace.Direction, profile trace.Profile, collector string) string {
	t.Helper()
	w := workload(t, m.Snapshot(), name)
	tables := compile.For(m.Snapshot(), w)
	table := tables.Outbound
	if direction == trace.Inbound {
		table = tables.Inbound
	}
	reporter, err := report.New("zipkin", report.Options{Collector: collector, Service: w.App() + "." + w.Namespace, Address: w.IP, Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reporter.Close(context.Background()) })
	tracing := trace.Defaults(direction)
	tracing.Format, tracing.Profile = trace.B3, profile
	s, err := sidecar.Start(t.Context(), sidecar.Config{
		Identity:  sidecar.Identity{Service: w.App(), Version: w.Version(), Namespace: w.Namespace, Pod: w.Pod, PodIP: w.IP, ServiceAccount: w.ServiceAccount},
		Listeners: []sidecar.Listener{{Direction: direction, Addr: "127.0.0.1:0", Table: table}},
		Tracing:   tracing, Reporter: reporter,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.Addrs(direction)[0]
}

func startEnvoy(t *testing.T, envoy string, m *mesh.Mesh, name, direction, collector string) string {
	t.Helper()
	s := m.Snapshot()
	c := bootstrap.Config{Workload: workload(t, s, name), Tables: compile.For(s, workload(t, s, name)), Format: "b3", Admin: "127.0.0.1:0",
		Collector: strings.TrimPrefix(collector, "http://"), Sampling: 100}
	if direction == "inbound" {
		c.Inbound = "127.0.0.1:0"
	} else {
		c.Outbound = "127.0.0.1:0"
	}
	b, err := bootstrap.New(c)
	if err != nil {
		t.Fatal(err)
	}
	data, err := bootstrap.JSON(b)
	if err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(t.TempDir(), "admin")
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	process := exec.CommandContext(ctx, envoy, "-c", write(t, data), "--admin-address-path", admin, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning")
	process.Stderr = &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = process.Wait()
	})
	var address string
	deadline := time.Now().Add(30 * time.Second)
	for ; address == ""; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("Envoy does not listen:\n%s", log.String())
		}
		address = listening(admin)
	}
	return address
}

// listening asks Envoy's admin page for the address of its one listener, "" if it is not up yet.
func listening(adminFile string) string {
	admin, err := os.ReadFile(adminFile)
	if err != nil {
		return ""
	}
	resp, err := http.Get("http://" + strings.TrimSpace(string(admin)) + "/listeners?format=json")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var answer struct {
		ListenerStatuses []struct {
			LocalAddress struct {
				SocketAddress struct {
					PortValue int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if json.NewDecoder(resp.Body).Decode(&answer) != nil || len(answer.ListenerStatuses) == 0 {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", answer.ListenerStatuses[0].LocalAddress.SocketAddress.PortValue)
}

var cookieValue = regexp.MustCompile(`"[0-9a-f]{16}"`)

// exchange sends a request over a connection of its own and returns status, headers and body, without what differs from
// one request to the next.
func exchange(t *testing.T, address string, r sent) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.path, r.host)
	for _, line := range r.headers {
		fmt.Fprintf(conn, "%s\r\n", line)
	}
	fmt.Fprint(conn, "\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.method})
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	var lines []string
	for key, values := range resp.Header {
		if !slices.Contains([]string{"Date", "Content-Length", "X-Envoy-Upstream-Service-Time"}, key) {
			// Which cookie a connection gets is the proxy's to choose.
			lines = append(lines, strings.ToLower(key)+": "+cookieValue.ReplaceAllString(strings.Join(values, " | "), `"$$"`))
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%s\n%s\n\n%s", resp.Status, strings.Join(lines, "\n"), body)
}
