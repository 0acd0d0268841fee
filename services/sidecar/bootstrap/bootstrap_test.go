package bootstrap_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gatewayfiles "example.com/bookinfo/deploy/gateway-api"
	istiofiles "example.com/bookinfo/deploy/istio"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/sidecar/bootstrap"
	"example.com/bookinfo/services/sidecar/compile"
)

// many is a VirtualService with one of everything that a route can do.
const many = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: many}
spec:
  hosts: [details]
  http:
  - match:
    - uri: {prefix: /A}
      ignoreUriCase: true
      method: {exact: GET}
      authority: {prefix: details}
      scheme: {exact: http}
      headers: {end-user: {regex: "j.*"}, x-any: {}}
      withoutHeaders: {x-not: {}, x-other: {exact: b}}
      queryParams: {a: {exact: b}, c: {regex: ".+"}}
    rewrite: {uri: /b, authority: other.example}
    timeout: 1s
    retries: {attempts: 3, perTryTimeout: 200ms, retryOn: "503,reset"}
    mirror: {host: ratings}
    mirrorPercentage: {value: 10}
    corsPolicy: {allowOrigins: [{exact: "https://a.example"}], allowMethods: [GET], maxAge: 60s, allowCredentials: true}
    headers: {request: {set: {x-a: "50%"}, add: {x-b: c}, remove: [x-d]}, response: {set: {x-e: f}}}
    fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {httpStatus: 503, percentage: {value: 5}}}
    route:
    - destination: {host: details}
      weight: 90
      headers: {request: {set: {host: h.example}}}
    - destination: {host: ratings}
      weight: 10
  - match: [{uri: {regex: "/r/.*"}}]
    rewrite: {uriRegexRewrite: {match: "/r/(.*)", rewrite: "/s/\\1"}}
    route: [{destination: {host: details}}]
  - match: [{uri: {exact: /go}}]
    redirect: {authority: other.example, uri: /there, redirectCode: 307}
  - directResponse: {status: 403, body: {string: "no entry"}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: many}
spec:
  host: details
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 2, idleTimeout: 5s}}
    outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100}
    loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: many}
spec:
  action: DENY
  rules:
  - from: [{source: {namespaces: [other], notPrincipals: ["cluster.local/ns/*"], serviceAccounts: ["other/x"], ipBlocks: [10.0.0.0/8]}}]
    to: [{operation: {paths: ["/a*", "*.b"], methods: [GET], notHosts: ["c.example"], ports: ["9080"]}}]
    when: [{key: "request.headers[x-role]", notValues: [admin]}, {key: source.namespace, values: ["o*"]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: many}
spec:
  parentRefs: [{group: "", kind: Service, name: ratings, port: 9080}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /a}, headers: [{name: x, value: y}], method: GET}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    - type: RequestMirror
      requestMirror: {backendRef: {name: ratings-v1, port: 9080}, fraction: {numerator: 1, denominator: 3}}
    timeouts: {request: 10s, backendRequest: 2s}
    backendRefs: [{name: ratings-v1, port: 9080, weight: 3}, {name: ratings, port: 9080}]
`

// A real Envoy accepts what is written for each workload after each file.
func TestEnvoyAccepts(t *testing.T) {
	envoy := need.Tool(t, "envoy")
	if testing.Short() {
		t.Skip("starts Envoy some fifty times")
	}
	check := func(t *testing.T, file, text string) {
		t.Helper()
		m := bookinfo(t)
		applyIstio(t, m, "destination-rule-all.yaml")
		if result := m.Apply([]mesh.File{{Name: file, Data: []byte(text)}}, "default", false); result.Failed() {
			t.Skipf("for a cluster alone: %v", result.Problems[0])
		}
		for _, workload := range []string{"istio-ingressgateway", "productpage-v1"} {
			for _, format := range []string{"b3+w3c", "w3c"} {
				if format == "w3c" && file != "many" {
					continue
				}
				path := write(t, config(t, m, workload, format))
				if out, err := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "-l", "error", "-c", path).CombinedOutput(); err != nil {
					t.Errorf("%s, %s: %v\n%s", workload, format, err, out)
				}
			}
		}
	}
	t.Run("many", func(t *testing.T) { check(t, "many", many) })
	for _, files := range []fs.FS{istiofiles.Files(), gatewayfiles.Files()} {
		names, err := fs.Glob(files, "*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				data, err := fs.ReadFile(files, name)
				if err != nil {
					t.Fatal(err)
				}
				check(t, name, string(data))
			})
		}
	}
}

// The same mesh gives the same bytes, so that a watcher can tell whether anything changed.
func TestStable(t *testing.T) {
	m := bookinfo(t)
	applyIstio(t, m, "destination-rule-all.yaml", "bookinfo-gateway.yaml")
	if result := m.Apply([]mesh.File{{Name: "many", Data: []byte(many)}}, "default", false); result.Failed() {
		t.Fatal(result.Problems)
	}
	first := config(t, m, "productpage-v1", "b3")
	for range 20 {
		if !bytes.Equal(first, config(t, m, "productpage-v1", "b3")) {
			t.Fatal("the configuration differs from one time to the next")
		}
	}
	for _, want := range []string{`"cluster": "productpage.default"`, `"operation": "reviews.default.svc.cluster.local:9080/*"`, `"50%%"`, `"outbound|9080|v2|reviews.default.svc.cluster.local"`} {
		if !strings.Contains(string(first), want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestWrongAddress(t *testing.T) {
	m := bookinfo(t)
	s := m.Snapshot()
	w := s.Workloads[0]
	for _, address := range []string{"nonsense", "127.0.0.1:x", "127.0.0.1:70000"} {
		if _, err := bootstrap.New(bootstrap.Config{Workload: w, Tables: compile.For(s, w), Outbound: address}); err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func bookinfo(t *testing.T) *mesh.Mesh {
	t.Helper()
	m := mesh.New(mesh.Bookinfo())
	for i, w := range m.Snapshot().Workloads {
		if err := m.SetAddress(w.Pod, 9080, mesh.Address{Proxy: fmt.Sprintf("127.0.0.1:%d", 15100+i), App: fmt.Sprintf("127.0.0.1:%d", 15200+i)}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func applyIstio(t *testing.T, m *mesh.Mesh, names ...string) {
	t.Helper()
	for _, name := range names {
		data, err := istiofiles.Files().ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if result := m.Apply([]mesh.File{{Name: name, Data: data}}, "default", false); result.Failed() {
			t.Fatal(result.Problems)
		}
	}
}

func config(t *testing.T, m *mesh.Mesh, workload, format string) []byte {
	t.Helper()
	s := m.Snapshot()
	for _, w := range s.Workloads {
		if w.Name != workload {
			continue
		}
		b, err := bootstrap.New(bootstrap.Config{
			Workload: w, Tables: compile.For(s, w), Format: format, Collector: "127.0.0.1:9411", Sampling: 100,
			Inbound: "127.0.0.1:0", Outbound: "127.0.0.1:0", Gateway: "127.0.0.1:0", Admin: "127.0.0.1:0",
		})
		if err != nil {
			t.Fatal(err)
		}
		data, err := bootstrap.JSON(b)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	t.Fatalf("no workload %s", workload)
	return nil
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
