//go:build cluster

package cluster

import (
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/clusterdoctor"
)

// examine is `bookinfo doctor cluster`.
func examine(t *testing.T) (results []clusterdoctor.Result, text string, well bool) {
	t.Helper()
	results, err := clusterdoctor.Examine(t.Context(), clusterdoctor.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	well = clusterdoctor.Print(&out, results)
	return results, out.String(), well
}

// healthy waits until the doctor finds nothing.
func healthy(t *testing.T) {
	t.Helper()
	var text string
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(time.Second) {
		var well bool
		if _, text, well = examine(t); well {
			return
		}
	}
	t.Fatalf("not healthy:\n%s", text)
}

const wait = "kubectl rollout status deployment --timeout=180s && "

// TestDoctorFindsEachFault plants one fault at a time. The doctor must name its step and what is wrong, and the command
// that it names must mend it.
func TestDoctorFindsEachFault(t *testing.T) {
	healthy(t)
	for _, fault := range []struct {
		name  string
		plant string
		step  string
		says  string
		also  []string // later steps that the fault makes fail too
		undo  string   // whatever the mend left
	}{
		{name: "no injection label", plant: "kubectl label namespace default istio-injection-",
			step: "namespace", says: "no injection label"},
		{name: "sidecar missing", plant: "kubectl label namespace default istio-injection- && kubectl rollout restart deployment/details-v1 && " + wait +
			"kubectl wait --for=delete pod -l app=details,security.istio.io/tlsMode=istio --timeout=60s && kubectl label namespace default istio-injection=enabled",
			step: "sidecars", says: "no sidecar in details-v1-"},
		{name: "sidecar declined", plant: `kubectl patch deployment details-v1 --type merge -p '{"spec":{"template":{"metadata":{"labels":{"sidecar.istio.io/inject":"false"}}}}}' && ` + wait +
			"kubectl wait --for=delete pod -l app=details,security.istio.io/tlsMode=istio --timeout=60s",
			step: "sidecars", says: "sidecar.istio.io/inject=false"},
		{name: "wrong provider", plant: `kubectl -n istio-system patch telemetry mesh-default --type merge -p '{"spec":{"tracing":[{"providers":[{"name":"nobody"}],"randomSamplingPercentage":100}]}}'`,
			step: "trace provider", says: `provider "nobody" does not exist`, also: []string{"trace"},
			undo: "kubectl apply -f deploy/istio/telemetry-otel.yaml"},
		{name: "no Telemetry", plant: "kubectl -n istio-system delete telemetry mesh-default",
			step: "trace provider", says: "no Telemetry", also: []string{"trace"}},
		{name: "sampling 0", plant: `kubectl -n istio-system patch telemetry mesh-default --type merge -p '{"spec":{"tracing":[{"providers":[{"name":"otel"}],"randomSamplingPercentage":0}]}}'`,
			step: "sampling", says: "0 %", also: []string{"trace"}},
		{name: "format mismatch", plant: "kubectl set env deployment/productpage-v1 FORWARD_HEADERS=request-id,b3 && " + wait + "sleep 6",
			step: "forwarded headers", says: `productpage-v1-`, also: []string{"trace"}},
		{name: "gateway without route", plant: "kubectl delete virtualservice bookinfo",
			step: "gateway", says: "404"},
		{name: "backend down", plant: "kubectl -n observability scale deployment/bookinfo-console --replicas=0 && kubectl -n observability wait --for=delete pod -l app=bookinfo-console --timeout=60s",
			step: "backend", says: "no pod is ready behind observability/otel-collector", also: []string{"trace"}},
		{name: "quota used up", plant: "curl -sSf --retry 5 --retry-connrefused -X PATCH -H 'content-type: application/json' -d '{\"quotaSpans\":1}' CONSOLE/api/bookinfo/v1/settings && curl -s -o /dev/null GATEWAY/productpage && sleep 6",
			step: "trace", says: "the daily quota is used up"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			here := strings.NewReplacer("CONSOLE", consoleURL, "GATEWAY", gatewayURL)
			t.Logf("plant: %s", fault.plant)
			sh(t, here.Replace(fault.plant))
			var found *clusterdoctor.Result
			var text string
			eventually(t, 90*time.Second, func() error {
				var results []clusterdoctor.Result
				results, text, _ = examine(t)
				found = nil
				for i, r := range results {
					if r.Status != clusterdoctor.Failed {
						continue
					}
					if r.Step == fault.step && strings.Contains(r.Text, fault.says) {
						found = &results[i]
					} else if !strings.Contains(strings.Join(fault.also, "\n"), r.Step) {
						return &unexpected{r.Step, text}
					}
				}
				if found == nil {
					return &unexpected{"not " + fault.step, text}
				}
				return nil
			})
			t.Logf("\n%s", text)
			sh(t, found.Mend)
			sh(t, "kubectl rollout status deployment --timeout=180s && kubectl -n observability rollout status deployment --timeout=60s")
			if fault.undo != "" {
				sh(t, fault.undo)
			}
			healthy(t)
		})
	}
}

// unexpected says that the doctor pointed at another step.
type unexpected struct{ step, text string }

func (u *unexpected) Error() string { return "the doctor points at " + u.step + ":\n" + u.text }
