//go:build cluster

package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"example.com/bookinfo/internal/vectors"
)

// span is one as the console gives it by Zipkin's API, or as a recording has it.
type span struct{ service, kind, name, trace, id, parent string }

// forest writes spans as trees, one line each, without their ids: equal forests are equal strings.
func forest(spans []span) string {
	var tree func(s span) string
	tree = func(s span) string {
		var children []string
		for _, c := range spans {
			if c.parent == s.id && c.trace == s.trace {
				children = append(children, tree(c))
			}
		}
		slices.Sort(children)
		text := s.kind + " " + s.service + " " + strings.ToLower(s.name)
		if len(children) > 0 {
			text += " {" + strings.Join(children, ", ") + "}"
		}
		return text
	}
	var trees []string
	for _, s := range spans {
		known := func(p span) bool { return p.id == s.parent && p.trace == s.trace }
		if !slices.ContainsFunc(spans, known) {
			trees = append(trees, tree(s))
		}
	}
	slices.Sort(trees)
	return strings.Join(trees, "\n")
}

// recorded is the forest of a recorded chain.
func recorded(t *testing.T, id string) string {
	t.Helper()
	var file struct {
		Chains []struct {
			ID    string   `json:"id"`
			Envoy []string `json:"envoy"`
			Spans []struct {
				Service, Kind, Name, Trace, ID string
				Parent                         *string
			} `json:"spans"`
		} `json:"chains"`
	}
	vectors.Load(t, "chains.json", &file)
	for _, c := range file.Chains {
		if c.ID != id || !slices.Contains(c.Envoy, "1.40") {
			continue
		}
		var spans []span
		for _, s := range c.Spans {
			parent := ""
			if s.Parent != nil {
				parent = *s.Parent
			}
			spans = append(spans, span{s.Service, s.Kind, s.Name, s.Trace, s.ID, parent})
		}
		return forest(spans)
	}
	t.Fatalf("no chain %q", id)
	return ""
}

// since asks the console for every span of a trace that began after from.
func since(from time.Time) ([]span, error) {
	lookback := time.Since(from).Milliseconds()
	body, status, err := get(fmt.Sprintf("%s/api/v2/traces?limit=100&endTs=%d&lookback=%d", consoleURL, time.Now().UnixMilli(), lookback))
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("%d %w %s", status, err, body)
	}
	var traces [][]struct {
		TraceID, ID, ParentID, Kind, Name string
		LocalEndpoint                     struct{ ServiceName string }
	}
	if err := json.Unmarshal([]byte(body), &traces); err != nil {
		return nil, err
	}
	var spans []span
	for _, trace := range traces {
		for _, s := range trace {
			spans = append(spans, span{s.LocalEndpoint.ServiceName, s.Kind, s.Name, s.TraceID, s.ID, s.ParentID})
		}
	}
	return spans, nil
}

// traced asks for the page until its spans make the forest. A proxy sends what it has every five seconds.
func traced(t *testing.T, want string) {
	t.Helper()
	const flush = 5 * time.Second
	eventually(t, 60*time.Second, func() error {
		time.Sleep(time.Second) // no span of the request before is within the next window
		from := time.Now()
		body, status, err := get(gatewayURL + "/productpage")
		if err != nil || status != http.StatusOK || !strings.Contains(body, star) {
			return fmt.Errorf("%d %w", status, err)
		}
		var got string
		for deadline := time.Now().Add(flush + 2*time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
			spans, err := since(from)
			if err != nil {
				return err
			}
			if got = forest(spans); got == want {
				return nil
			}
		}
		return fmt.Errorf("spans\n%s\nwant\n%s", got, want)
	})
}

// provider makes the mesh report by one, until the test ends.
func provider(t *testing.T, name string) {
	t.Helper()
	sh(t, "kubectl apply -f "+networking+"telemetry-"+name+".yaml")
	t.Cleanup(func() { sh(t, "kubectl apply -f "+networking+"telemetry-otel.yaml") })
}

// meshConfig changes the mesh's configuration until the test ends. istiod reads it again by itself.
func meshConfig(t *testing.T, change func(mesh map[string]any)) {
	t.Helper()
	before := sh(t, "kubectl get configmap istio -n istio-system -o jsonpath='{.data.mesh}'")
	var mesh map[string]any
	if err := yaml.Unmarshal([]byte(before), &mesh); err != nil {
		t.Fatal(err)
	}
	change(mesh)
	after, err := yaml.Marshal(mesh)
	if err != nil {
		t.Fatal(err)
	}
	set := func(text string) {
		patch, err := json.Marshal(map[string]any{"data": map[string]string{"mesh": text}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := run("", "kubectl", "patch", "configmap", "istio", "-n", "istio-system", "--type=merge", "-p", string(patch)); err != nil {
			t.Fatal(err)
		}
	}
	set(string(after))
	t.Cleanup(func() { set(before) })
}

// zipkinProvider finds its settings in the mesh's configuration.
func zipkinProvider(t *testing.T, mesh map[string]any) map[string]any {
	t.Helper()
	for _, p := range mesh["extensionProviders"].([]any) {
		if p := p.(map[string]any); p["name"] == "zipkin" {
			return p["zipkin"].(map[string]any)
		}
	}
	t.Fatalf("the mesh has no provider named zipkin: %v", slices.Collect(maps.Keys(mesh)))
	return nil
}

// TestTraces compares the trees of spans with those of recorded chains: each format, with forwarding whole, off, and
// of the other format only.
func TestTraces(t *testing.T) {
	apply(t, networking+"destination-rule-all.yaml", networking+"virtual-service-reviews-v3.yaml")
	shows(t, gatewayURL, "", star)
	const restore = "kubectl set env deployment -l 'app in (productpage,reviews)' FORWARD_HEADERS- && kubectl rollout status deployment --timeout=180s"
	t.Cleanup(func() { sh(t, restore) })
	for _, forward := range []struct {
		headers string            // FORWARD_HEADERS
		chains  map[string]string // provider and format to the recorded scenario
	}{
		{"", map[string]string{"otel": "all/otel", "zipkin b3": "all/b3", "zipkin b3-w3c": "all/b3-w3c"}},
		{"none", map[string]string{"otel": "none/otel", "zipkin b3": "none/b3", "zipkin b3-w3c": "none/b3-w3c"}},
		{"request-id,b3", map[string]string{"otel": "b3-only/otel", "zipkin b3": "b3-only/b3"}},
		{"request-id,w3c", map[string]string{"otel": "w3c-only/otel", "zipkin b3": "w3c-only/b3", "zipkin b3-w3c": "w3c-only/b3-w3c"}},
	} {
		if forward.headers != "" {
			sh(t, "kubectl set env deployment -l 'app in (productpage,reviews)' FORWARD_HEADERS="+forward.headers+" && kubectl rollout status deployment --timeout=180s")
		}
		for _, by := range slices.Sorted(maps.Keys(forward.chains)) {
			t.Run(by+" forwarding "+forward.headers, func(t *testing.T) {
				name, format, _ := strings.Cut(by, " ")
				if format == "b3-w3c" {
					meshConfig(t, func(mesh map[string]any) {
						zipkinProvider(t, mesh)["traceContextOption"] = "USE_B3_WITH_W3C_PROPAGATION"
					})
				}
				provider(t, name)
				traced(t, recorded(t, forward.chains[by]+"/gateway-two-spans"))
			})
		}
	}
}

// quota sets how many spans a day the console takes, 0 for any number.
func quota(t *testing.T, spans int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, consoleURL+"/api/bookinfo/v1/settings", strings.NewReader(fmt.Sprintf(`{"quotaSpans":%d}`, spans)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("PATCH settings: %s", resp.Status)
	}
}

// TestRelayShowsRefusedPushes: spans go through tracing-on-external-zipkin, and the FAQ's own command shows 406 when
// the console's quota is used up.
func TestRelayShowsRefusedPushes(t *testing.T) {
	apply(t, "deploy/asm/tracing-on-external-zipkin.yaml")
	sh(t, "kubectl -n istio-system rollout status deployment/tracing-on-external-zipkin --timeout=60s")
	meshConfig(t, func(mesh map[string]any) {
		zipkinProvider(t, mesh)["service"] = "zipkin.istio-system.svc.cluster.local" // what provider-relay.yaml says to ASM
	})
	provider(t, "zipkin")
	const faq = `kubectl logs "$(kubectl get pods -n istio-system -l app=tracing -o jsonpath='{.items[0].metadata.name}')" -n istio-system -c nginx`
	pushed := func(status string) {
		t.Helper()
		eventually(t, 60*time.Second, func() error {
			if _, _, err := get(gatewayURL + "/productpage"); err != nil {
				return err
			}
			if log := sh(t, faq); !strings.Contains(log, `"POST /api/v2/spans HTTP/1.1" status=`+status) {
				return fmt.Errorf("no push with status %s:\n%s", status, log)
			}
			return nil
		})
	}
	pushed("202")
	quota(t, 1)
	// Not t.Context: it is over when clean-ups run.
	t.Cleanup(func() {
		sh(t, "curl -sS -X PATCH -H 'content-type: application/json' -d '{\"quotaSpans\":0}' "+consoleURL+"/api/bookinfo/v1/settings")
	})
	pushed("406")
}

// TestTelemetryFiles applies what deploy/istio has beside the defaults of the mesh, one after the other.
func TestTelemetryFiles(t *testing.T) {
	apply(t, networking+"destination-rule-all.yaml", networking+"virtual-service-reviews-v3.yaml")
	shows(t, gatewayURL, "", star)
	t.Run("custom tags", func(t *testing.T) {
		apply(t, networking+"telemetry-custom-tags.yaml")
		eventually(t, 60*time.Second, func() error {
			if _, _, err := get(gatewayURL + "/productpage"); err != nil {
				return err
			}
			found, err := tagged("lesson=tracing and end_user=nobody")
			if err == nil && found == 0 {
				err = fmt.Errorf("no trace has the tags")
			}
			return err
		})
	})
	t.Run("disable", func(t *testing.T) {
		apply(t, networking+"telemetry-disable.yaml")
		eventually(t, 60*time.Second, func() error {
			time.Sleep(time.Second)
			from := time.Now()
			if _, _, err := get(gatewayURL + "/productpage"); err != nil {
				return err
			}
			time.Sleep(7 * time.Second) // every proxy has sent what it has
			spans, err := since(from)
			if err != nil {
				return err
			}
			services := map[string]int{}
			for _, s := range spans {
				services[s.service]++
			}
			if services["ratings.default"] > 0 || services["reviews.default"] != 2 || services["productpage.default"] != 3 {
				return fmt.Errorf("spans %v, want 2 of reviews, 3 of productpage and none of ratings", services)
			}
			return nil
		})
	})
	t.Run("sampling", func(t *testing.T) {
		// The gateway decides by its own namespace's percentage, so that the requests begin within.
		apply(t, networking+"telemetry-sampling-10.yaml")
		const ask = `kubectl exec deploy/ratings-v1 -c ratings -- bash -c 'for i in {1..60}; do curl -s -o /dev/null productpage:9080/productpage; done'`
		eventually(t, 90*time.Second, func() error {
			time.Sleep(time.Second)
			from := time.Now()
			sh(t, ask)
			time.Sleep(7 * time.Second)
			spans, err := since(from)
			if err != nil {
				return err
			}
			traces := map[string]bool{}
			for _, s := range spans {
				if s.service == "productpage.default" {
					traces[s.trace] = true
				}
			}
			if n := len(traces); n == 0 || n > 18 { // six are expected; either happens once in 500 runs or more
				return fmt.Errorf("%d of 60 requests are traced, want about 6", n)
			}
			return nil
		})
	})
	t.Run("sidecar", func(t *testing.T) {
		program := istioctl(t)
		s := newSpace(t, "bookinfo-elsewhere")
		s.sh("kubectl create service clusterip stranger --tcp=80")
		knows := func() bool {
			return strings.Contains(sh(t, program+" proxy-config clusters deploy/productpage-v1"), "stranger.bookinfo-elsewhere")
		}
		eventually(t, 30*time.Second, func() error {
			if !knows() {
				return fmt.Errorf("productpage's proxy does not know the other namespace")
			}
			return nil
		})
		apply(t, networking+"sidecar-bookinfo.yaml")
		eventually(t, 30*time.Second, func() error {
			if knows() {
				return fmt.Errorf("productpage's proxy still knows the other namespace")
			}
			return nil
		})
		shows(t, gatewayURL, "", star, "Book Details")
	})
}

// tagged counts the traces of the last minutes with a span that the expression matches.
func tagged(expression string) (int, error) {
	body, status, err := get(consoleURL + "/api/bookinfo/v1/traces?from=-5m&tags=" + url.QueryEscape(expression))
	if err != nil || status != http.StatusOK {
		return 0, fmt.Errorf("%d %w %s", status, err, body)
	}
	var answer struct{ Traces []any }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return 0, err
	}
	return len(answer.Traces), nil
}
