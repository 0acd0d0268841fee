//go:build cluster

package cluster

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Istio's tutorials with Bookinfo: their commands with our files, their expected output.

const (
	kube       = "deploy/kubernetes/platform/"
	networking = "deploy/istio/"
	gatewayAPI = "deploy/gateway-api/"
)

// TestGettingStarted: the output of apply line by line, Services, pods with their sidecars, the title asked for from
// the ratings pod and from outside, and istioctl analyze.
func TestGettingStarted(t *testing.T) {
	want := strings.Fields("service/details serviceaccount/bookinfo-details deployment.apps/details-v1 " +
		"service/ratings serviceaccount/bookinfo-ratings deployment.apps/ratings-v1 " +
		"service/reviews serviceaccount/bookinfo-reviews deployment.apps/reviews-v1 deployment.apps/reviews-v2 deployment.apps/reviews-v3 " +
		"service/productpage serviceaccount/bookinfo-productpage deployment.apps/productpage-v1")
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(sh(t, "kubectl apply -f "+kube+"bookinfo.yaml")), "\n") {
		got = append(got, strings.Fields(line)[0])
	}
	if !slices.Equal(got, want) {
		t.Errorf("apply printed %q, want %q", got, want)
	}
	if services := strings.Fields(sh(t, "kubectl get services -o jsonpath='{.items[*].metadata.name}'")); !slices.Equal(services, []string{"details", "kubernetes", "productpage", "ratings", "reviews"}) {
		t.Errorf("services %q", services)
	}
	pods := strings.Split(strings.TrimSpace(sh(t, "kubectl get pods --no-headers")), "\n")
	if len(pods) != 6 {
		t.Errorf("%d pods, want 6: %q", len(pods), pods)
	}
	for _, pod := range pods {
		if fields := strings.Fields(pod); fields[1] != "2/2" || fields[2] != "Running" {
			t.Errorf("want 2/2 Running: %s", pod)
		}
	}
	const inside = `kubectl exec "$(kubectl get pod -l app=ratings -o jsonpath='{.items[0].metadata.name}')" -c ratings -- curl -sS productpage:9080/productpage | grep -o "<title>.*</title>"`
	if got := strings.TrimSpace(sh(t, inside)); got != title {
		t.Errorf("from the ratings pod: %q", got)
	}
	body, status, err := get(gatewayURL + "/productpage")
	if err != nil || status != http.StatusOK || !strings.Contains(body, title) {
		t.Errorf("through the gateway: %d %v\n%s", status, err, body)
	}
	if body, status, err = get(gatewayURL + "/api/v1/products"); err != nil || status != http.StatusOK || !strings.HasPrefix(body, `[{"id": 0`) {
		t.Errorf("API: %d %v %s", status, err, body)
	}
	for _, path := range []string{"/", "/health", "/metrics"} {
		if _, status, err := get(gatewayURL + path); err != nil || status != http.StatusNotFound {
			t.Errorf("%s is open to the outside: %d %v", path, status, err)
		}
	}
}

// TestLabelSelectors is contract check 63: tutorials apply parts of the file by its labels.
func TestLabelSelectors(t *testing.T) {
	for selector, want := range map[string]int{
		"version!=v2,version!=v3":    12, // all but two Deployments
		"app=reviews,version=v2":     1,
		"account=reviews":            1,
		"service=reviews":            1,
		"app=reviews":                4, // the Service too
		"service in (details,x)":     1,
		"version in (v1), app!=none": 4,
	} {
		out := sh(t, fmt.Sprintf("kubectl apply --dry-run=server -f %sbookinfo.yaml -l '%s'", kube, selector))
		if got := strings.Count(out, "\n"); got != want {
			t.Errorf("-l %s applies %d objects, want %d:\n%s", selector, got, want, out)
		}
	}
}

// TestToolsInside is contract check 58, and what Istio's rate limit and ambient tutorials run inside pods.
func TestToolsInside(t *testing.T) {
	const five = `for i in {1..5}; do curl -s http://productpage:9080/productpage -o /dev/null -w "%{http_code}\n"; sleep 0.1; done`
	if got := sh(t, "kubectl exec deploy/ratings-v1 -c ratings -- bash -c '"+five+"'"); got != strings.Repeat("200\n", 5) {
		t.Errorf("bash and curl in ratings: %q", got)
	}
	if got := sh(t, "kubectl exec deploy/reviews-v1 -c reviews -- curl -s http://productpage:9080/productpage | grep -o '<title>.*</title>'"); strings.TrimSpace(got) != title {
		t.Errorf("curl in reviews: %q", got)
	}
}

// TestChaos ends every details process by the chaos tutorial's command: the container is started again.
func TestChaos(t *testing.T) {
	const restarts = "kubectl get pods -l app=details -o jsonpath='{.items[0].status.containerStatuses[?(@.name==\"details\")].restartCount}'"
	before := sh(t, restarts)
	sh(t, `for pod in $(kubectl get pods -l app=details -o jsonpath='{.items[*].metadata.name}'); do echo terminating "$pod"; kubectl exec "$pod" -c details -- pkill ruby; done`)
	eventually(t, 60*time.Second, func() error {
		if now := sh(t, restarts); now == before {
			return fmt.Errorf("details was started again %s times, as before", now)
		}
		return nil
	})
	sh(t, "kubectl wait --for=condition=ready pod -l app=details --timeout=60s")
	shows(t, gatewayURL, "", "Book Details", "!Error fetching product details")
}

// TestProbesDoNotFollowBackends: productpage stays ready, and is not started again, while everything behind it is gone.
func TestProbesDoNotFollowBackends(t *testing.T) {
	const backends = "kubectl scale deployment details-v1 reviews-v1 reviews-v2 reviews-v3 --replicas="
	const state = "kubectl get pods -l app=productpage -o jsonpath='{.items[0].status.containerStatuses[*].restartCount} {.items[0].status.conditions[?(@.type==\"Ready\")].status}'"
	before := sh(t, state)
	t.Cleanup(func() { sh(t, backends+"1 && kubectl rollout status deployment --timeout=120s") })
	sh(t, backends+"0 && kubectl wait --for=delete pod -l 'app in (details,reviews)' --timeout=60s")
	shows(t, gatewayURL, "", title, "Error fetching product details", "Error fetching product reviews")
	// Longer than it takes three probes of either kind to fail.
	for range 10 {
		time.Sleep(3500 * time.Millisecond)
		if now := sh(t, state); now != before {
			t.Fatalf("restarts and readiness of productpage: %q, were %q", now, before)
		}
	}
}

func TestRequestRouting(t *testing.T) {
	apply(t, networking+"destination-rule-all.yaml", networking+"virtual-service-all-v1.yaml")
	shows(t, gatewayURL, "", "!"+star, "!"+noReviews)
	sh(t, "kubectl apply -f "+networking+"virtual-service-reviews-test-v2.yaml")
	shows(t, gatewayURL, "jason", star)
	shows(t, gatewayURL, "", "!"+star)
}

func TestFaultInjection(t *testing.T) {
	apply(t, networking+"destination-rule-all.yaml", networking+"virtual-service-all-v1.yaml")
	sh(t, "kubectl apply -f "+networking+"virtual-service-reviews-test-v2.yaml")
	shows(t, gatewayURL, "jason", star)
	sh(t, "kubectl apply -f "+networking+"virtual-service-ratings-test-abort.yaml")
	shows(t, gatewayURL, "jason", noRatings)
	shows(t, gatewayURL, "", "!"+noRatings)
	// ratings is held back for 7 s; reviews would wait 10 s, but productpage waits 3 s, twice.
	sh(t, "kubectl apply -f "+networking+"virtual-service-ratings-test-delay.yaml")
	eventually(t, 60*time.Second, func() error {
		body, _, d, err := visit(gatewayURL, "jason")
		if err != nil || !strings.Contains(body, noReviews) || d < 6*time.Second || d > 8*time.Second {
			return fmt.Errorf("%w: want %q after 6 s, came after %s:\n%s", err, noReviews, d, body)
		}
		return nil
	})
	took(t, gatewayURL, "", 0, 3*time.Second)
}

func TestTrafficShifting(t *testing.T) {
	apply(t, networking+"destination-rule-all.yaml", networking+"virtual-service-all-v1.yaml")
	shows(t, gatewayURL, "", "!"+star)
	sh(t, "kubectl apply -f "+networking+"virtual-service-reviews-50-v3.yaml")
	eventually(t, 20*time.Second, func() error {
		if stars(t, gatewayURL, 4) == 0 {
			return fmt.Errorf("no page with stars among four")
		}
		return nil
	})
	// Contract check 69: 40 to 60 of 100, which a fair coin misses once in 35 runs; of 200 the same share, once in 500.
	if got := stars(t, gatewayURL, 200); got < 80 || got > 120 {
		t.Errorf("%d of 200 pages have stars, want 80 to 120", got)
	}
	sh(t, "kubectl apply -f "+networking+"virtual-service-reviews-v3.yaml")
	// After the half, some pages in a row have stars by chance.
	eventually(t, 20*time.Second, func() error {
		if got := stars(t, gatewayURL, 20); got != 20 {
			return fmt.Errorf("%d of 20 pages have stars", got)
		}
		return nil
	})
	if got := stars(t, gatewayURL, 100); got != 100 {
		t.Errorf("%d of 100 pages have stars", got)
	}
}

func TestRequestTimeouts(t *testing.T) {
	const route = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: %s
spec:
  hosts:
  - %[1]s
  http:
  - route:
    - destination:
        host: %[1]s
        subset: %s
%s`
	apply(t, networking+"destination-rule-all.yaml", networking+"virtual-service-all-v1.yaml")
	applyText(t, fmt.Sprintf(route, "reviews", "v2", ""))
	applyText(t, fmt.Sprintf(route, "ratings", "v1", "    fault:\n      delay:\n        percentage:\n          value: 100\n        fixedDelay: 2s\n"))
	eventually(t, 40*time.Second, func() error {
		body, _, d, err := visit(gatewayURL, "")
		if err != nil || !strings.Contains(body, star) || d < 2*time.Second {
			return fmt.Errorf("%w: want stars after 2 s, came after %s", err, d)
		}
		return nil
	})
	applyText(t, fmt.Sprintf(route, "reviews", "v2", "    timeout: 0.5s\n"))
	shows(t, gatewayURL, "", noReviews)
	took(t, gatewayURL, "", time.Second, 2*time.Second) // two tries of half a second
}

func TestHTTPAuthorization(t *testing.T) {
	apply(t, networking+"destination-rule-all.yaml", networking+"virtual-service-reviews-v3.yaml", networking+"authorization-strict-mtls.yaml")
	shows(t, gatewayURL, "", star)
	apply(t, networking+"authorization-allow-nothing.yaml")
	shows(t, gatewayURL, "", "RBAC: access denied")
	if _, status, err := get(gatewayURL + "/productpage"); err != nil || status != http.StatusForbidden {
		t.Errorf("denied: %d %v", status, err)
	}
	apply(t, networking+"authorization-productpage.yaml")
	shows(t, gatewayURL, "", "William Shakespeare", "Error fetching product details", "Error fetching product reviews")
	apply(t, networking+"authorization-details.yaml")
	shows(t, gatewayURL, "", "!Error fetching product details", "Error fetching product reviews")
	apply(t, networking+"authorization-reviews.yaml")
	shows(t, gatewayURL, "", "!Error fetching product", noRatings)
	apply(t, networking+"authorization-ratings.yaml")
	shows(t, gatewayURL, "", "Book Details", "Book Reviews", star, "!"+noRatings)
	// An edge that is none stays shut: ratings may be called by reviews alone.
	out := sh(t, "kubectl exec deploy/reviews-v1 -c reviews -- curl -s details:9080/details/0")
	if out != "RBAC: access denied" {
		t.Errorf("reviews asking details: %q", out)
	}
}

// TestGatewayAPI: the gateway that Istio deploys for it, then routes of the request routing and traffic shifting
// tutorials in their Gateway API form.
func TestGatewayAPI(t *testing.T) {
	// Its pod goes a while after the Gateway.
	t.Cleanup(func() {
		sh(t, "kubectl wait --for=delete pod -l gateway.networking.k8s.io/gateway-name=bookinfo-gateway --timeout=90s")
	})
	apply(t, kube+"bookinfo-versions.yaml", gatewayAPI+"bookinfo-gateway.yaml")
	// No cloud gives the Service a load balancer here; the tutorials say what to do then.
	sh(t, "kubectl annotate gateways.gateway.networking.k8s.io bookinfo-gateway networking.istio.io/service-type=ClusterIP --overwrite")
	sh(t, "kubectl wait --for=condition=programmed --timeout=90s gateways.gateway.networking.k8s.io bookinfo-gateway")
	var base string
	eventually(t, 90*time.Second, func() (err error) {
		base, err = address(namespace, "bookinfo-gateway-istio", "80", "BOOKINFO_TEST_GATEWAY_API")
		return err
	})
	apply(t, gatewayAPI+"route-reviews-v1.yaml")
	shows(t, base, "", title, "!"+star)
	applyText(t, `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: reviews
spec:
  parentRefs:
  - group: ""
    kind: Service
    name: reviews
    port: 9080
  rules:
  - matches:
    - headers:
      - name: end-user
        value: jason
    backendRefs:
    - name: reviews-v2
      port: 9080
  - backendRefs:
    - name: reviews-v1
      port: 9080
`)
	shows(t, base, "jason", star)
	shows(t, base, "", "!"+star)
	sh(t, "kubectl apply -f "+gatewayAPI+"route-reviews-50-v3.yaml")
	eventually(t, 20*time.Second, func() error {
		if stars(t, base, 4) == 0 {
			return fmt.Errorf("no page with stars among four")
		}
		return nil
	})
	if got := stars(t, base, 200); got < 80 || got > 120 {
		t.Errorf("%d of 200 pages have stars, want 80 to 120", got)
	}
	sh(t, "kubectl apply -f "+gatewayAPI+"route-reviews-v3.yaml")
	shows(t, base, "", star)
	// Contract check 70, as far as it needs no waypoint: the pods' names of both versions, never of the third.
	sh(t, "kubectl apply -f "+gatewayAPI+"route-reviews-90-10.yaml")
	shows(t, base, "", "!reviews-v3-")
	seen := map[string]bool{}
	for range 100 {
		body, _, err := get(base + "/productpage")
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range []string{"reviews-v1-", "reviews-v2-", "reviews-v3-"} {
			if strings.Contains(body, version) {
				seen[version] = true
			}
		}
	}
	if !seen["reviews-v1-"] || !seen["reviews-v2-"] || seen["reviews-v3-"] {
		t.Errorf("pods seen: %v", seen)
	}
	apply(t, gatewayAPI+"route-all-v1.yaml")
	shows(t, base, "", "!"+star)
}

// istioctl is the program, ISTIOCTL or that of the PATH.
func istioctl(t *testing.T) string {
	t.Helper()
	program := os.Getenv("ISTIOCTL")
	if program == "" {
		program = "istioctl"
	}
	if _, err := run("", program, "version", "--remote=false"); err != nil {
		t.Skipf("no istioctl; ISTIOCTL names it: %v", err)
	}
	return program
}

// TestIstioctl runs istioctl's analyze and describe (contract checks 64 and 65), as the tutorials on them do.
func TestIstioctl(t *testing.T) {
	istioctl := istioctl(t)
	if out := sh(t, istioctl+" analyze 2>&1"); !strings.Contains(out, "No validation issues found when analyzing namespace: default.") {
		t.Errorf("analyze: %s", out)
	}
	if out := sh(t, istioctl+" analyze --all-namespaces 2>&1"); !strings.Contains(out, "No validation issues found") {
		t.Errorf("analyze --all-namespaces: %s", out)
	}
	out := sh(t, istioctl+` x describe pod "$(kubectl get pod -l app=ratings -o jsonpath='{.items[0].metadata.name}')"`)
	for _, want := range []string{"Pod Ports: 9080 (ratings)", "Service: ratings", "Port: http 9080/HTTP targets pod port 9080"} {
		if !strings.Contains(out, want) {
			t.Errorf("describe lacks %q:\n%s", want, out)
		}
	}
	// Each file beside what its tutorial has applied before. Without the cluster: destination-rule-all.yaml has subsets
	// of versions that only later tutorials deploy, and istioctl finds no pods of them.
	suite := kube + "bookinfo.yaml " + kube + "bookinfo-versions.yaml " + networking + "bookinfo-gateway.yaml " + networking + "destination-rule-all.yaml"
	files := strings.Fields(sh(t, "ls "+networking+"*.yaml "+gatewayAPI+"*.yaml"))
	for _, file := range files {
		if installed[strings.TrimPrefix(file, networking)] != "" {
			continue
		}
		if out, err := run("", "bash", "-c", istioctl+" analyze --use-kube=false "+suite+" "+file+" 2>&1"); err != nil || strings.Contains(out, "IST0") {
			t.Errorf("%s: %v %s", file, err, out)
		}
	}
	for file, holds := range installed {
		out := sh(t, istioctl+" manifest generate -f "+networking+file)
		text, not := strings.CutPrefix(holds, "!")
		if strings.Contains(out, text) == not || !strings.Contains(out, "kind: Deployment") {
			t.Errorf("%s: an installation by it should hold %q (! is not)", file, holds)
		}
	}
}

// installed are files for istioctl install, each with what an installation by it holds.
var installed = map[string]string{
	"demo-profile-no-gateways.yaml":  "!name: istio-ingressgateway\n",
	"mesh-config-otel.yaml":          "service: otel-collector.observability.svc.cluster.local",
	"mesh-config-zipkin-b3.yaml":     "traceContextOption: USE_B3\n",
	"mesh-config-zipkin-b3-w3c.yaml": "traceContextOption: USE_B3_WITH_W3C_PROPAGATION",
}
