package clusterdoctor_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/clusterdoctor"
)

// cluster is what a stand-in for kubectl answers: file names to what `get` prints, and an HTTP server in place of
// gateway and backend.
type cluster map[string]string

func healthy() cluster {
	return cluster{
		"readyz":    "ok",
		"namespace": `{"metadata":{"labels":{"istio-injection":"enabled"}}}`,
		"pods": podList(
			pod("productpage", `[{"name":"istio-proxy"}]`, ""), pod("details", `[{"name":"istio-proxy"}]`, ""),
			pod("reviews", `[{"name":"istio-proxy"}]`, ""), pod("ratings", `[{"name":"istio-proxy"}]`, "")),
		"configmap":     `{"data":{"mesh":"extensionProviders:\n- name: otel\n  opentelemetry: {service: otel-collector.observability.svc.cluster.local, port: 4317}\n- name: zipkin\n  zipkin: {service: zipkin.observability.svc.cluster.local, port: 9411}\n"}}`,
		"telemetries":   `{"items":[{"metadata":{"name":"default","namespace":"istio-system"},"spec":{"tracing":[{"providers":[{"name":"otel"}],"randomSamplingPercentage":100}]}}]}`,
		"service":       `{"spec":{"ports":[{"port":4317},{"port":9411}]}}`,
		"endpointslice": `{"items":[{"endpoints":[{"conditions":{"ready":true}}]}]}`,
		"virtual":       "bookinfo ",
	}
}

func pod(app, initContainers, forward string) string {
	return fmt.Sprintf(`{"metadata":{"name":"%[1]s-v1-x","labels":{"app":"%[1]s"}},"spec":{"containers":[{"name":"%[1]s","env":[{"name":"FORWARD_HEADERS","value":"%[3]s"}]}],"initContainers":%[2]s},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, app, initContainers, forward)
}

func podList(pods ...string) string { return `{"items":[` + strings.Join(pods, ",") + `]}` }

const traceID = "463ac35c9f6413ad48485a3953bb6124"

// backend answers as gateway, Zipkin and console at once.
func backend(t *testing.T, mux map[string]string) string {
	t.Helper()
	answers := map[string]string{
		"/productpage":             "<title>Simple Bookstore App</title>",
		"/api/v2/trace/" + traceID: `[{"localEndpoint":{"serviceName":"productpage.default"}},{"localEndpoint":{"serviceName":"details.default"}},{"localEndpoint":{"serviceName":"reviews.default"}}]`,
		"/api/bookinfo/v1/usage":   `{"spans":10,"quotaSpans":0}`,
	}
	for path, body := range mux {
		answers[path] = body
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := answers[r.URL.Path]
		if !ok || body == "404" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("traceresponse", "00-"+traceID+"-a2fb4a1d1a96d312-01")
		fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// kubectl writes a program that answers from the cluster.
func (c cluster) kubectl(t *testing.T, port string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range c {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := `#!/bin/sh
cd "` + dir + `"
answer() { [ -f "$1" ] && cat "$1" && exit 0; echo "Error from server (NotFound): $1 not found" >&2; exit 1; }
mesh=no
while [ "${1#--}" != "$1" ]; do [ "$2" = /mesh.yaml ] && mesh=yes; shift 2; done
[ $mesh = no ] && [ -f mesh-apart ] && case "$*" in "get telemetries"*|"get asm"*|"get virtual"*) echo "error: the server doesn't have a resource type" >&2; exit 1 ;; esac
case "$*" in
"get --raw /readyz") answer readyz ;;
"get namespace"*) answer namespace ;;
"get pods"*) answer pods ;;
"get configmap istio"*) answer configmap ;;
"get asmextensionproviders"*) answer asm ;;
"get telemetries"*) answer telemetries ;;
"get endpointslices"*) answer endpointslice ;;
"get service"*) answer service ;;
"get virtualservices"*) answer virtual ;;
"get httproutes"*) answer httproutes ;;
port-forward*) echo "Forwarding from 127.0.0.1:` + port + ` -> 80"; exec sleep 60 ;;
esac
echo "unexpected: $*" >&2
exit 1
`
	path := filepath.Join(dir, "kubectl")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEachFaultIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("runs shell scripts in place of kubectl")
	}
	for _, test := range []struct {
		name    string
		change  func(cluster)
		answers map[string]string
		step    string // that must fail; "" none
		says    string
		mends   string
	}{
		{name: "healthy"},
		{"no API server", func(c cluster) { delete(c, "readyz") }, nil, "API server", "does not answer", "use-context"},
		{"no injection label", func(c cluster) { c["namespace"] = `{"metadata":{"labels":{}}}` }, nil, "namespace", "no injection label", "istio-injection=enabled"},
		{"no pods", func(c cluster) { c["pods"] = podList() }, nil, "pods", "no pod of productpage", "bookinfo.yaml"},
		{"no sidecar", func(c cluster) {
			c["pods"] = podList(pod("productpage", `[]`, ""), pod("details", `[]`, ""), pod("reviews", `[]`, ""), pod("ratings", `[]`, ""))
		}, nil, "sidecars", "productpage-v1-x", "rollout restart"},
		{"wrong provider", func(c cluster) { c["telemetries"] = strings.ReplaceAll(c["telemetries"], `"otel"`, `"nobody"`) }, nil, "trace provider", `"nobody" does not exist`, `"name":"otel"`},
		{"no telemetry", func(c cluster) { c["telemetries"] = `{"items":[]}` }, nil, "trace provider", "no default chooses", "telemetry-otel.yaml"},
		{"sampling 0", func(c cluster) { c["telemetries"] = strings.ReplaceAll(c["telemetries"], ":100", ":0") }, nil, "sampling", "0 %", "randomSamplingPercentage"},
		{"B3 application in a W3C mesh", func(c cluster) {
			c["pods"] = podList(pod("productpage", `[{"name":"istio-proxy"}]`, "b3,request-id"), pod("details", `[{"name":"istio-proxy"}]`, ""), pod("reviews", `[{"name":"istio-proxy"}]`, ""), pod("ratings", `[{"name":"istio-proxy"}]`, ""))
		}, nil, "forwarded headers", "without traceparent", "FORWARD_HEADERS-"},
		{"backend down", func(c cluster) { c["endpointslice"] = `{"items":[{"endpoints":[{"conditions":{"ready":false}}]}]}` }, nil, "backend", "no pod is ready", "overlays/console"},
		{"gateway without route", func(c cluster) { c["virtual"] = "" }, nil, "gateway", "404", "bookinfo-gateway.yaml"},
		{"page not routed", nil, map[string]string{"/productpage": "404"}, "request", "404", "bookinfo-gateway.yaml"},
		{"quota used up", nil, map[string]string{"/api/bookinfo/v1/usage": `{"spans":20,"quotaSpans":20,"refused":7}`}, "trace", "quota is used up", "Quota Configuration"},
		{"no span", nil, map[string]string{"/api/v2/trace/" + traceID: "404"}, "trace", "no span of trace", "stats"},
		{"context lost", nil, map[string]string{"/api/v2/trace/" + traceID: `[{"localEndpoint":{"serviceName":"productpage.default"}}]`}, "trace", "lost at productpage", "propagation.md"},
		{"one service does not report", nil, map[string]string{"/api/v2/trace/" + traceID: `[{"localEndpoint":{"serviceName":"productpage.default"}},{"localEndpoint":{"serviceName":"reviews.default"}}]`}, "trace", "none of details", "deploy/details-v1"},
		{"a service declines its sidecar", func(c cluster) {
			c["pods"] = strings.Replace(c["pods"], `"labels":{"app":"details"}},"spec":{"containers":[{"name":"details","env":[{"name":"FORWARD_HEADERS","value":""}]}],"initContainers":[{"name":"istio-proxy"}]`,
				`"labels":{"app":"details","sidecar.istio.io/inject":"false"}},"spec":{"containers":[{"name":"details"}]`, 1)
		}, map[string]string{"/api/v2/trace/" + traceID: `[{"localEndpoint":{"serviceName":"productpage.default"}},{"localEndpoint":{"serviceName":"reviews.default"}}]`}, "sidecars", "asks for none", `"sidecar.istio.io/inject":null`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := healthy()
			if test.change != nil {
				test.change(c)
			}
			results, err := clusterdoctor.Examine(context.Background(), clusterdoctor.Config{
				Kubectl: c.kubectl(t, backend(t, test.answers)), Wait: 100 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			well := clusterdoctor.Print(&text, results)
			if well != (test.step == "") {
				t.Fatalf("well = %v\n%s", well, &text)
			}
			for _, r := range results {
				if r.Status != clusterdoctor.Failed {
					continue
				}
				if r.Step != test.step || !strings.Contains(r.Text, test.says) || !strings.Contains(r.Mend, test.mends) {
					t.Errorf("%s: %s (mend: %s), want %s saying %q, mended by %q", r.Step, r.Text, r.Mend, test.step, test.says, test.mends)
				}
			}
		})
	}
}

func TestWithoutKubectl(t *testing.T) {
	_, err := clusterdoctor.Examine(context.Background(), clusterdoctor.Config{Kubectl: filepath.Join(t.TempDir(), "kubectl")})
	if err == nil || !strings.Contains(err.Error(), "--kubectl") {
		t.Errorf("error %v, want one that names --kubectl", err)
	}
}

// TestMeshElsewhere: Istio's resources of an ASM instance are read, and mended, with its own kubeconfig, and everything
// else with the cluster's.
func TestMeshElsewhere(t *testing.T) {
	c := healthy()
	c["mesh-apart"] = ""
	delete(c, "configmap")
	c["asm"] = `{"items":[{"metadata":{"name":"otel"},"spec":{"opentelemetry":{"service":"otel-collector.observability.svc.cluster.local","port":4317}}}]}`
	kubectl := c.kubectl(t, backend(t, nil))
	examine := func(cfg clusterdoctor.Config) string {
		cfg.Kubectl, cfg.Kubeconfig, cfg.Wait = kubectl, "/the cluster.yaml", 100*time.Millisecond
		results, err := clusterdoctor.Examine(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		clusterdoctor.Print(&text, results)
		return text.String()
	}
	if text := examine(clusterdoctor.Config{MeshKubeconfig: "/mesh.yaml"}); strings.Contains(text, "✗") {
		t.Errorf("not well:\n%s", text)
	}
	if text := examine(clusterdoctor.Config{}); !strings.Contains(text, "✗ trace provider") {
		t.Errorf("the mesh was found in the cluster:\n%s", text)
	}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(filepath.Dir(kubectl), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("telemetries", strings.ReplaceAll(c["telemetries"], ":100", ":0"))
	write("namespace", `{"metadata":{"labels":{}}}`)
	text := examine(clusterdoctor.Config{MeshKubeconfig: "/mesh.yaml"})
	for _, want := range []string{
		"kubectl --kubeconfig /mesh.yaml -n istio-system patch telemetries",
		"kubectl --kubeconfig '/the cluster.yaml' label namespace default istio-injection=enabled --overwrite && kubectl --kubeconfig '/the cluster.yaml' -n default rollout",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no mend has %q:\n%s", want, text)
		}
	}
}
