//go:build cluster

package cluster

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/load"
)

// TestNoRequestIsLost rolls, evicts and deletes pods of the overlay "production" behind the gateway under load. Every
// page must come, and with its reviews. BOOKINFO_TEST_RATE sets another rate than 200 a second.
func TestNoRequestIsLost(t *testing.T) {
	rate := 200.0
	if given := os.Getenv("BOOKINFO_TEST_RATE"); given != "" {
		var err error
		if rate, err = strconv.ParseFloat(given, 64); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, "kubectl apply -k deploy/kubernetes/overlays/production")
	t.Cleanup(func() {
		sh(t, "kubectl delete -k deploy/kubernetes/overlays/production --wait=false && kubectl wait --for=delete pod -l 'app in (productpage,details,reviews,ratings)' --timeout=90s")
		sh(t, "kubectl apply -f deploy/kubernetes/platform/bookinfo.yaml && kubectl rollout status deployment --timeout=180s")
	})
	sh(t, "kubectl rollout status deployment --timeout=180s")
	// At 100 % the spans of this load would be 1,800 a second: a console of one core is not what is tested.
	sh(t, `kubectl -n istio-system patch telemetry mesh-default --type merge -p '{"spec":{"tracing":[{"providers":[{"name":"otel"}],"randomSamplingPercentage":1}]}}'`)
	t.Cleanup(func() { sh(t, "kubectl apply -f deploy/istio/telemetry-otel.yaml") })
	shows(t, gatewayURL, "", title, "Book Details", "Book Reviews")
	const one = `kubectl get pods -l app=%s,version=%s --field-selector=status.phase=Running -o jsonpath='{.items[0].metadata.name}'`
	workloads := [][2]string{{"productpage", "v1"}, {"details", "v1"}, {"reviews", "v1"}, {"reviews", "v2"}, {"reviews", "v3"}, {"ratings", "v1"}}
	each := func(t *testing.T, act string) {
		for _, w := range workloads {
			pod := sh(t, fmt.Sprintf(one, w[0], w[1]))
			sh(t, strings.ReplaceAll(act, "POD", pod))
			sh(t, fmt.Sprintf("kubectl wait --for=delete pod/%s --timeout=60s && kubectl rollout status deployment/%s-%s --timeout=90s", pod, w[0], w[1]))
		}
	}
	for _, phase := range []struct {
		name string
		act  func(*testing.T)
	}{
		{"rolling update", func(t *testing.T) {
			sh(t, "kubectl rollout restart deployment && kubectl rollout status deployment --timeout=300s")
		}},
		{"eviction", func(t *testing.T) {
			each(t, `echo '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"POD","namespace":"default"}}' | kubectl create --raw /api/v1/namespaces/default/pods/POD/eviction -f -`)
		}},
		{"deletion", func(t *testing.T) { each(t, "kubectl delete pod POD --wait=false") }},
	} {
		t.Run(phase.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			type outcome struct {
				result *load.Result
				err    error
			}
			done := make(chan outcome, 1)
			go func() {
				result, err := load.Run(ctx, load.Config{URL: gatewayURL, Rate: rate, Duration: 10 * time.Minute, Seed: 1, InFlight: 1000, Personas: []string{load.Anonymous}})
				done <- outcome{result, err}
			}()
			begin := time.Now()
			phase.act(t)
			acted := time.Since(begin)
			select {
			case <-time.After(10 * time.Second): // the last pods that go still drain
			case <-t.Context().Done():
			}
			stop()
			o := <-done
			if o.err != nil {
				t.Fatal(o.err)
			}
			var text strings.Builder
			if err := o.result.Write(&text); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s in %s\n%s", phase.name, acted.Round(time.Second), &text)
			if o.result.Failed() || o.result.Versions[""] > 0 {
				t.Errorf("requests were lost; what the proxies say that are still there:\n%s", refused(t, begin))
			}
			if o.result.Skipped > o.result.Sent/10 {
				t.Errorf("%d requests were not sent: this machine does not carry %g a second, see BOOKINFO_TEST_RATE", o.result.Skipped, rate)
			}
		})
	}
}

// refused are the lines of the proxies' access logs since then that are not of status 200, where they write one.
func refused(t *testing.T, since time.Time) string {
	t.Helper()
	var lines []string
	for _, pods := range []string{"-n istio-system -l istio=ingressgateway", "-l app=productpage -c istio-proxy", "-l app=reviews -c istio-proxy"} {
		out, err := run("", "bash", "-c", "kubectl logs --tail=-1 --prefix --since-time="+since.UTC().Format(time.RFC3339)+" "+pods+` | grep -E '" [0-9]+ ' | grep -v '" 200 ' | head -20`)
		if err != nil {
			out = err.Error()
		}
		lines = append(lines, pods+":", out)
	}
	return strings.Join(lines, "\n")
}
