package clusterdoctor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// backend looks whether somebody listens where the provider sends.
func (e *examination) backend(ctx context.Context) (Result, bool) {
	if e.found == nil {
		return Result{Status: Skipped, Text: "no provider says where spans go"}, true
	}
	service, port := e.found.address()
	host, _, _ := strings.Cut(strings.TrimSuffix(service, ".svc.cluster.local"), "/")
	name, namespace, inCluster := strings.Cut(host, ".")
	namespace, _, _ = strings.Cut(namespace, ".")
	if !inCluster {
		return Result{Status: Warning, Text: service + " is outside of the cluster and was not looked at"}, true
	}
	const deploy = "kubectl apply -k deploy/kubernetes/overlays/console"
	var endpoints struct {
		Items []struct {
			Ports     []struct{ Port int }
			Endpoints []struct {
				Conditions struct{ Ready *bool }
			}
		}
	}
	var svc struct {
		Spec struct{ Ports []struct{ Port int } }
	}
	if err := e.get(ctx, &svc, "service", name, "-n", namespace); err != nil {
		return failed(deploy, "%v", err), true
	}
	listed := false
	for _, p := range svc.Spec.Ports {
		listed = listed || p.Port == port
	}
	if !listed {
		return failed(fmt.Sprintf("kubectl -n %s edit service %s", namespace, name), "Service %s/%s has no port %d", namespace, name, port), true
	}
	if err := e.get(ctx, &endpoints, "endpointslices", "-n", namespace, "-l", "kubernetes.io/service-name="+name); err != nil {
		return failed(deploy, "%v", err), true
	}
	for _, s := range endpoints.Items {
		for _, endpoint := range s.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				return ok("%s/%s has a ready endpoint", namespace, name), true
			}
		}
	}
	return failed(fmt.Sprintf("kubectl -n %s get pods; %s", namespace, deploy), "no pod is ready behind %s/%s: sidecars drop what they cannot send", namespace, name), true
}

func (e *examination) gateway(ctx context.Context) (Result, bool) {
	var svc struct {
		Spec   struct{ ClusterIP string }
		Status struct {
			LoadBalancer struct {
				Ingress []struct{ IP, Hostname string }
			} `json:"loadBalancer"`
		}
	}
	if err := e.get(ctx, &svc, "service", e.cfg.Gateway, "-n", e.cfg.GatewayNamespace); err != nil {
		return failed("istioctl install   # with ASM: kubectl[mesh] apply -f deploy/asm/istiogateway.yaml", "%v", err), false
	}
	routes, err := e.run(ctx, append(e.meshGlobals(), "get", "virtualservices.networking.istio.io", "-n", e.cfg.Namespace, "-o", `jsonpath={range .items[?(@.spec.gateways)]}{.metadata.name}{" "}{end}`))
	if err != nil {
		return failed("", "%v", err), false
	}
	httpRoutes, _ := e.kubectl(ctx, "get", "httproutes.gateway.networking.k8s.io", "-n", e.cfg.Namespace, "-o", "name") // its CRD may be missing
	if strings.TrimSpace(string(routes)) == "" && strings.TrimSpace(string(httpRoutes)) == "" {
		return failed(meshKubectl+" -n "+e.cfg.Namespace+" apply -f deploy/istio/bookinfo-gateway.yaml   # with ASM deploy/asm/bookinfo-gateway.yaml",
			"no VirtualService in %s is bound to a gateway, so it answers 404", e.cfg.Namespace), false
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		return ok("its address is %s", in.IP+in.Hostname), true
	}
	return ok("it has no address outside of the cluster; asked by port-forward"), true
}

// request asks for the page as a user does.
func (e *examination) request(ctx context.Context) (Result, bool) {
	address, stop, err := e.forward(ctx, e.cfg.GatewayNamespace, e.cfg.Gateway, "80")
	if err != nil {
		return failed("", "%v", err), false
	}
	defer stop()
	resp, err := fetch(ctx, address+"/productpage")
	if err != nil {
		return failed(fmt.Sprintf("kubectl -n %s logs deploy/%s", e.cfg.GatewayNamespace, e.cfg.Gateway), "the gateway does not answer: %v", err), false
	}
	switch {
	case resp.code == http.StatusNotFound:
		return failed("kubectl[mesh] -n "+e.cfg.Namespace+" apply -f deploy/istio/bookinfo-gateway.yaml; istioctl analyze", "/productpage is 404 at the gateway: no route, or a Gateway with another port or selector"), false
	case resp.code != http.StatusOK:
		return failed("istioctl proxy-config routes deploy/"+e.cfg.Gateway+" -n "+e.cfg.GatewayNamespace, "/productpage answers %s: %.120s", resp.status, resp.body), false
	case !strings.Contains(string(resp.body), "Simple Bookstore App"):
		return failed("", "/productpage is not Bookinfo's page"), false
	}
	e.traceID = traceID(resp.header)
	if e.traceID == "" {
		return Result{Status: Warning, Text: "the page came; it names no trace, so its sidecar made none"}, true
	}
	return ok("the page came, as trace %s", e.traceID), true
}

// traceID reads what productpage says of its trace: traceresponse, or the B3 id.
func traceID(h http.Header) string {
	if parts := strings.Split(h.Get("traceresponse"), "-"); len(parts) == 4 {
		return parts[1]
	}
	return h.Get("x-b3-traceid")
}

// trace looks for the spans of that request.
func (e *examination) trace(ctx context.Context) (Result, bool) {
	service, port, err := net.SplitHostPort(e.cfg.Backend)
	if err != nil {
		return failed("", "backend %q: want SERVICE.NAMESPACE:PORT", e.cfg.Backend), false
	}
	name, namespace, _ := strings.Cut(service, ".")
	address, stop, err := e.forward(ctx, namespace, name, port)
	if err != nil {
		return failed("kubectl apply -k deploy/kubernetes/overlays/console", "the backend cannot be asked: %v", err), false
	}
	defer stop()
	if quota := quotaUsed(ctx, address); quota != "" {
		return failed(fmt.Sprintf(`kubectl -n %s port-forward service/%s 19411:%s & sleep 3; curl -sS -X PATCH -H 'content-type: application/json' -d '{"quotaSpans":0,"quotaBytes":0}' localhost:19411/api/bookinfo/v1/settings; kill $!   # or raise it under Quota Configuration of http://localhost:19411/settings/cluster`, namespace, name, port), "%s", quota), false
	}
	if e.traceID == "" {
		return Result{Status: Skipped, Text: "no trace to look for"}, false
	}
	deadline := time.Now().Add(e.cfg.Wait)
	var services map[string]int
	var missing []string
	var spans int
	for {
		spans, services = spansOf(ctx, address, e.traceID)
		missing = e.missing(services)
		if len(missing) == 0 || time.Now().After(deadline) || ctx.Err() != nil {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	switch {
	case spans == 0:
		return failed(fmt.Sprintf("kubectl -n %s exec deploy/productpage-v1 -c istio-proxy -- pilot-agent request GET stats | grep tracing", e.cfg.Namespace),
			"the backend has no span of trace %s after %s: not sampled, refused, or sent elsewhere", e.traceID, e.cfg.Wait), false
	case services["details"]+services["reviews"] == 0 && len(missing) > 0:
		return failed("bookinfo check --help   # and docs/propagation.md", "only %d spans of trace %s came, none of %s: the context is lost at productpage", spans, e.traceID, strings.Join(missing, " or ")), false
	case len(missing) > 0:
		return failed(fmt.Sprintf("kubectl -n %s exec deploy/%s-v1 -c istio-proxy -- pilot-agent request GET stats | grep tracing", e.cfg.Namespace, missing[0]),
			"%d spans of trace %s came, none of %s: its sidecar reports elsewhere or not at all", spans, e.traceID, strings.Join(missing, " or ")), false
	}
	return ok("%d spans of %d services", spans, len(services)), true
}

// missing are the services on the way of every page that have sidecars, and no span among those that came.
func (e *examination) missing(services map[string]int) []string {
	var names []string
	for _, app := range []string{"productpage", "details", "reviews"} {
		meshed := slices.ContainsFunc(e.workload, func(p pod) bool { return p.Metadata.Labels["app"] == app && p.hasSidecar() })
		if meshed && services[app] == 0 {
			names = append(names, app)
		}
	}
	return names
}

// quotaUsed asks a console of ours; another backend has no such page.
func quotaUsed(ctx context.Context, address string) string {
	resp, err := fetch(ctx, address+"/api/bookinfo/v1/usage")
	if err != nil || resp.code != http.StatusOK {
		return ""
	}
	var u struct{ Spans, Bytes, QuotaSpans, QuotaBytes, Refused int64 }
	if json.Unmarshal(resp.body, &u) != nil {
		return ""
	}
	if u.QuotaSpans > 0 && u.Spans >= u.QuotaSpans {
		return fmt.Sprintf("the daily quota is used up: %d of %d spans, %d refused with 406", u.Spans, u.QuotaSpans, u.Refused)
	}
	if u.QuotaBytes > 0 && u.Bytes >= u.QuotaBytes {
		return fmt.Sprintf("the daily quota is used up: %d of %d bytes, %d spans refused with 406", u.Bytes, u.QuotaBytes, u.Refused)
	}
	return ""
}

// spansOf counts the spans of a trace by Zipkin's API, which the console has too, in all and by workload.
func spansOf(ctx context.Context, address, id string) (int, map[string]int) {
	resp, err := fetch(ctx, address+"/api/v2/trace/"+id)
	if err != nil || resp.code != http.StatusOK {
		return 0, nil
	}
	var spans []struct {
		LocalEndpoint struct{ ServiceName string }
	}
	if json.Unmarshal(resp.body, &spans) != nil {
		return 0, nil
	}
	services := map[string]int{}
	for _, s := range spans {
		workload, _, _ := strings.Cut(s.LocalEndpoint.ServiceName, ".")
		services[workload]++
	}
	return len(spans), services
}

const maxAnswer = 16 << 20

// answer is a response that was read to its end.
type answer struct {
	code   int
	status string
	header http.Header
	body   []byte
}

func fetch(ctx context.Context, url string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return answer{resp.StatusCode, resp.Status, resp.Header, body}, err
}

// forward runs kubectl port-forward to a Service until stop is called.
func (e *examination) forward(ctx context.Context, namespace, service, port string) (address string, stop func(), err error) {
	if _, err := strconv.Atoi(port); err != nil {
		return "", nil, fmt.Errorf("port %q: want a number", port)
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, e.cfg.Kubectl, append(e.globals(), "port-forward", "-n", namespace, "service/"+service, ":"+port)...)
	cmd.WaitDelay = time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return "", nil, err
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		cancel()
		return "", nil, err
	}
	stop = func() { cancel(); _ = cmd.Wait() } // killed on purpose
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		local := regexp.MustCompile(`Forwarding from 127\.0\.0\.1:(\d+)`)
		for lines.Scan() {
			if m := local.FindStringSubmatch(lines.Text()); m != nil {
				ready <- "http://127.0.0.1:" + m[1]
			}
		}
		close(ready)
	}()
	select {
	case address, running := <-ready:
		if !running {
			stop()
			return "", nil, errors.New(lastLine(strings.TrimSpace(stderr.String())))
		}
		return address, stop, nil
	case <-time.After(15 * time.Second):
		stop()
		return "", nil, fmt.Errorf("kubectl port-forward to %s/%s did not begin within 15 s", namespace, service)
	}
}
