package clusterdoctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"example.com/bookinfo/propagation"
)

func (e *examination) apiServer(ctx context.Context) (Result, bool) {
	if _, err := e.kubectl(ctx, "get", "--raw", "/readyz"); err != nil {
		return failed("kubectl config get-contexts; kubectl config use-context NAME", "it does not answer: %v", err), false
	}
	return ok("it answers"), true
}

func (e *examination) namespace(ctx context.Context) (Result, bool) {
	var ns struct {
		Metadata struct{ Labels map[string]string }
	}
	if err := e.get(ctx, &ns, "namespace", e.cfg.Namespace); err != nil {
		return failed("kubectl create namespace "+e.cfg.Namespace, "%v", err), false
	}
	labels := ns.Metadata.Labels
	switch {
	case labels["istio.io/dataplane-mode"] == "ambient":
		return ok("%s is in ambient mode: ztunnel makes no spans, a waypoint makes one a request", e.cfg.Namespace), true
	case labels["istio-injection"] == "enabled":
		return ok("%s is labelled istio-injection=enabled", e.cfg.Namespace), true
	case labels["istio.io/rev"] != "" && labels["istio-injection"] == "":
		return ok("%s is labelled istio.io/rev=%s", e.cfg.Namespace, labels["istio.io/rev"]), true
	}
	return failed(fmt.Sprintf("kubectl label namespace %s istio-injection=enabled --overwrite && kubectl -n %[1]s rollout restart deployment", e.cfg.Namespace),
		"%s has no injection label, so new pods get no sidecar", e.cfg.Namespace), true
}

type pod struct {
	Metadata struct {
		Name        string
		Labels      map[string]string
		Annotations map[string]string
	}
	Spec struct {
		Containers     []container
		InitContainers []container `json:"initContainers"`
	}
	Status struct {
		Phase             string
		Conditions        []struct{ Type, Status, Message string }
		ContainerStatuses []struct {
			Name  string
			State struct {
				Waiting *struct{ Reason, Message string }
			}
		} `json:"containerStatuses"`
	}
}

type container struct {
	Name string
	Env  []struct{ Name, Value string }
}

func (p *pod) ready() bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c struct{ Type, Status, Message string }) bool {
		return c.Type == "Ready" && c.Status == "True"
	})
}

// hasSidecar looks among init containers too: a native sidecar is one that restarts always.
func (p *pod) hasSidecar() bool {
	proxy := func(c container) bool { return c.Name == "istio-proxy" }
	return slices.ContainsFunc(p.Spec.Containers, proxy) || slices.ContainsFunc(p.Spec.InitContainers, proxy)
}

func (e *examination) pods(ctx context.Context) (Result, bool) {
	var list struct{ Items []pod }
	if err := e.get(ctx, &list, "pods", "-n", e.cfg.Namespace, "-l", "app in (productpage,details,reviews,ratings)"); err != nil {
		return failed("", "%v", err), false
	}
	e.workload = list.Items
	for _, app := range []string{"productpage", "details", "reviews", "ratings"} {
		if !slices.ContainsFunc(e.workload, func(p pod) bool { return p.Metadata.Labels["app"] == app }) {
			return failed("kubectl -n "+e.cfg.Namespace+" apply -f deploy/kubernetes/platform/bookinfo.yaml", "no pod of %s in %s", app, e.cfg.Namespace), false
		}
	}
	for _, p := range e.workload {
		if p.ready() {
			continue
		}
		why := p.Status.Phase
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Waiting != nil {
				why = c.Name + ": " + c.State.Waiting.Reason + " " + c.State.Waiting.Message
			}
		}
		return failed(fmt.Sprintf("kubectl -n %s describe pod %s", e.cfg.Namespace, p.Metadata.Name), "%s is not ready (%s)", p.Metadata.Name, strings.TrimSpace(why)), false
	}
	return ok("%d pods, all ready", len(e.workload)), true
}

func (e *examination) sidecars(context.Context) (Result, bool) {
	var without, optedOut []string
	revisions := map[string]bool{}
	for _, p := range e.workload {
		if !p.hasSidecar() {
			without = append(without, p.Metadata.Name)
			if p.Metadata.Labels["sidecar.istio.io/inject"] == "false" {
				optedOut = append(optedOut, p.Metadata.Name)
			}
			continue
		}
		revision := p.Metadata.Labels["istio.io/rev"]
		if revision == "" {
			revision = p.Metadata.Annotations["istio.io/rev"]
		}
		if revision != "" {
			revisions[revision] = true
		}
	}
	if len(optedOut) > 0 {
		return failed(fmt.Sprintf(`kubectl -n %s get deployments -o name | xargs -I{} kubectl -n %[1]s patch {} --type merge -p '{"spec":{"template":{"metadata":{"labels":{"sidecar.istio.io/inject":null}}}}}'`, e.cfg.Namespace),
			"no sidecar in %s: the label sidecar.istio.io/inject=false asks for none", strings.Join(optedOut, ", ")), true
	}
	if len(without) > 0 {
		return failed(fmt.Sprintf("kubectl -n %s rollout restart deployment", e.cfg.Namespace), "no sidecar in %s", strings.Join(without, ", ")), true
	}
	if len(revisions) > 1 {
		names := []string{}
		for r := range revisions {
			names = append(names, r)
		}
		slices.Sort(names)
		return Result{Status: Warning, Text: "sidecars of several revisions: " + strings.Join(names, ", "),
			Mend: fmt.Sprintf("kubectl -n %s rollout restart deployment", e.cfg.Namespace)}, true
	}
	return ok("every pod has one"), true
}

// provider is an extension provider that traces.
type provider struct {
	Name   string `json:"name"`
	Zipkin *struct {
		Service            string `json:"service"`
		Port               int    `json:"port"`
		TraceContextOption string `json:"traceContextOption"`
	} `json:"zipkin"`
	OpenTelemetry *struct {
		Service string `json:"service"`
		Port    int    `json:"port"`
	} `json:"opentelemetry"`
}

// format is which context the sidecars of a mesh with that provider read and write.
func (p *provider) format() string {
	switch {
	case p.Zipkin != nil && p.Zipkin.TraceContextOption == "USE_B3_WITH_W3C_PROPAGATION":
		return "b3+w3c"
	case p.Zipkin != nil:
		return "b3"
	}
	return "w3c"
}

func (p *provider) address() (service string, port int) {
	if p.Zipkin != nil {
		return p.Zipkin.Service, p.Zipkin.Port
	}
	return p.OpenTelemetry.Service, p.OpenTelemetry.Port
}

// telemetry is Istio's or ASM's resource, as far as it matters here.
type telemetry struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Selector *struct {
			MatchLabels map[string]string `json:"matchLabels"`
		}
		Tracing []struct {
			Providers                []struct{ Name string }
			RandomSamplingPercentage *float64 `json:"randomSamplingPercentage"`
			DisableSpanReporting     *bool    `json:"disableSpanReporting"`
		}
	}
}

func (e *examination) telemetries(ctx context.Context) (inForce *telemetry, err error) {
	var list struct{ Items []telemetry }
	if err := e.getMesh(ctx, &list, "telemetries.telemetry.istio.io", "-A"); err != nil {
		return nil, err
	}
	// A namespace's default overrides that of the root namespace.
	for _, namespace := range []string{e.cfg.GatewayNamespace, e.cfg.Namespace} {
		for i := range list.Items {
			t := &list.Items[i]
			if t.Metadata.Namespace == namespace && t.Spec.Selector == nil && len(t.Spec.Tracing) > 0 {
				inForce = t
			}
		}
	}
	return inForce, nil
}

func (e *examination) provider(ctx context.Context) (Result, bool) {
	const apply = "kubectl[mesh] apply -f deploy/istio/telemetry-otel.yaml   # or telemetry-zipkin.yaml; with ASM those of deploy/asm"
	known, defaults, err := e.providers(ctx)
	if err != nil {
		return failed("istioctl version   # with ASM: bookinfo doctor cluster --mesh-kubeconfig FILE", "the mesh's configuration cannot be read: %v", err), true
	}
	t, err := e.telemetries(ctx)
	if err != nil {
		return failed(apply, "%v", err), true
	}
	e.inForce = t
	var wanted []string
	e.percent = 1
	if t != nil {
		for _, tracing := range t.Spec.Tracing {
			for _, p := range tracing.Providers {
				wanted = append(wanted, p.Name)
			}
			if tracing.RandomSamplingPercentage != nil {
				e.percent = *tracing.RandomSamplingPercentage
			}
			if tracing.DisableSpanReporting != nil && *tracing.DisableSpanReporting {
				return failed(fmt.Sprintf("kubectl[mesh] -n %s edit telemetry %s", t.Metadata.Namespace, t.Metadata.Name),
					"Telemetry %s/%s sets disableSpanReporting: nothing is reported, and headers pass unchanged", t.Metadata.Namespace, t.Metadata.Name), true
			}
		}
	}
	if len(wanted) == 0 {
		wanted = defaults
	}
	if len(wanted) == 0 {
		return failed(apply, "no Telemetry and no default chooses a provider: since Istio 1.22 there is none unless asked for"), true
	}
	var names []string
	for i := range known {
		names = append(names, known[i].Name)
		if known[i].Name == wanted[0] {
			e.found = &known[i]
		}
	}
	if e.found == nil {
		return failed(e.chooseProvider(names),
			"provider %q does not exist; the mesh has %s", wanted[0], orNone(names)), true
	}
	service, port := e.found.address()
	return ok("%s sends to %s:%d, so the mesh traces with %s", e.found.Name, service, port, e.found.format()), true
}

// providers reads MeshConfig's and ASM's.
func (e *examination) providers(ctx context.Context) (known []provider, defaults []string, err error) {
	var config struct{ Data map[string]string }
	var mesh struct {
		ExtensionProviders []provider                 `json:"extensionProviders"`
		DefaultProviders   struct{ Tracing []string } `json:"defaultProviders"`
	}
	configErr := e.get(ctx, &config, "configmap", "istio", "-n", e.cfg.GatewayNamespace)
	if configErr == nil {
		if err := yaml.Unmarshal([]byte(config.Data["mesh"]), &mesh); err != nil {
			return nil, nil, err
		}
		for _, p := range mesh.ExtensionProviders {
			if p.Zipkin != nil || p.OpenTelemetry != nil {
				known = append(known, p)
			}
		}
	}
	var asm struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     provider
		}
	}
	asmErr := e.getMesh(ctx, &asm, "asmextensionproviders.istio.alibabacloud.com", "-A")
	for _, item := range asm.Items {
		item.Spec.Name = item.Metadata.Name
		if item.Spec.Zipkin != nil || item.Spec.OpenTelemetry != nil {
			known = append(known, item.Spec)
		}
	}
	if configErr != nil && asmErr != nil {
		return nil, nil, configErr
	}
	return known, mesh.DefaultProviders.Tracing, nil
}

// chooseProvider is the command that mends a provider which does not exist: another one that does, or a new one.
func (e *examination) chooseProvider(names []string) string {
	if len(names) == 0 {
		return "istioctl install -f deploy/istio/mesh-config-otel.yaml   # with ASM: kubectl[mesh] apply -f deploy/asm/provider-otel.yaml"
	}
	return e.patchTelemetry(names[0], e.percent)
}

// patchTelemetry is the command that makes the Telemetry in force choose that provider and percentage.
func (e *examination) patchTelemetry(provider string, percent float64) string {
	if e.inForce == nil {
		return "kubectl[mesh] apply -f deploy/istio/telemetry-otel.yaml   # or telemetry-zipkin.yaml; with ASM those of deploy/asm"
	}
	return fmt.Sprintf(`kubectl[mesh] -n %s patch telemetries.telemetry.istio.io %s --type merge -p '{"spec":{"tracing":[{"providers":[{"name":"%s"}],"randomSamplingPercentage":%g}]}}'`,
		e.inForce.Metadata.Namespace, e.inForce.Metadata.Name, provider, percent)
}

func (e *examination) sampling(context.Context) (Result, bool) {
	mend := e.patchTelemetry(e.providerName(), 100)
	switch {
	case e.percent <= 0:
		return failed(mend, "0 %%: no request is traced unless x-client-trace-id or a sampled context forces it"), true
	case e.percent < 100:
		return Result{Status: Warning, Text: fmt.Sprintf("%g %% of the requests are traced; 1 %% is the default", e.percent), Mend: mend}, true
	}
	return ok("100 %%"), true
}

func (e *examination) providerName() string {
	if e.found == nil {
		return "otel"
	}
	return e.found.Name
}

func (e *examination) forwarded(context.Context) (Result, bool) {
	if e.found == nil {
		return Result{Status: Skipped, Text: "the mesh's format is not known"}, true
	}
	needed := map[string][]string{"b3": {"x-b3-traceid", "x-b3-spanid"}, "w3c": {"traceparent"}, "b3+w3c": {"x-b3-traceid", "x-b3-spanid"}}[e.found.format()]
	for _, p := range e.workload {
		app := p.Metadata.Labels["app"]
		if app != "productpage" && app != "reviews" {
			continue // the others call nobody
		}
		list := ""
		for _, c := range p.Spec.Containers {
			for _, v := range c.Env {
				if c.Name == app && v.Name == "FORWARD_HEADERS" {
					list = v.Value
				}
			}
		}
		set, err := propagation.Parse(list)
		if err != nil {
			return failed("", "%s: FORWARD_HEADERS: %v", p.Metadata.Name, err), true
		}
		for _, h := range needed {
			if !set.Has(h) {
				return failed(fmt.Sprintf("kubectl -n %s set env deployment -l app=%s FORWARD_HEADERS-", e.cfg.Namespace, app),
					"the mesh traces with %s, and %s forwards %q, without %s", e.found.format(), p.Metadata.Name, list, h), true
			}
		}
		if !set.Has("x-request-id") {
			return Result{Status: Warning, Text: p.Metadata.Name + " does not forward x-request-id, by which proxies agree on sampling",
				Mend: fmt.Sprintf("kubectl -n %s set env deployment -l app=%s FORWARD_HEADERS-", e.cfg.Namespace, app)}, true
		}
	}
	return ok("the services forward what a %s mesh reads", e.found.format()), true
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
