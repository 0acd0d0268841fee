//go:build cluster

package cluster

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A space is a namespace of its own with a kubeconfig that points at it, as a reader's context does.
type space struct {
	t          *testing.T
	name       string
	kubeconfig string
}

// newSpace makes a namespace with labels, and takes it away when the test ends.
func newSpace(t *testing.T, name string, labels ...string) *space {
	t.Helper()
	sh(t, "kubectl delete namespace --ignore-not-found "+name)
	sh(t, "kubectl create namespace "+name)
	t.Cleanup(func() { sh(t, "kubectl delete namespace "+name) })
	if len(labels) > 0 {
		sh(t, "kubectl label namespace "+name+" "+strings.Join(labels, " "))
	}
	config := filepath.Join(t.TempDir(), "kubeconfig")
	sh(t, "kubectl config view --raw > "+config)
	sh(t, "kubectl --kubeconfig "+config+" config set-context --current --namespace="+name)
	return &space{t, name, config}
}

// sh runs a command in the space and returns what it wrote, warnings included.
func (s *space) sh(line string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "bash", "-o", "pipefail", "-c", line)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// page waits for every Deployment and asks productpage for its page.
func (s *space) page() string {
	s.t.Helper()
	s.sh("kubectl rollout status deployment --timeout=180s")
	base, err := address(s.name, "productpage", "9080", "BOOKINFO_TEST_PRODUCTPAGE")
	if err != nil {
		s.t.Fatal(err)
	}
	var page string
	eventually(s.t, 30*time.Second, func() error {
		body, status, err := get(base + "/productpage")
		if err != nil || status != http.StatusOK || !strings.Contains(body, "Book Details") || !strings.Contains(body, "Book Reviews") {
			return fmt.Errorf("%d %w\n%s", status, err, body)
		}
		page = body
		return nil
	})
	return page
}

// Without Istio's CNI plugin the init container of a sidecar asks for NET_ADMIN, which no Pod Security level below
// "privileged" allows: in these namespaces the suite runs outside of the mesh.
func podSecurity(level string) []string {
	const prefix = "pod-security.kubernetes.io/"
	return []string{prefix + "enforce=" + level, prefix + "warn=" + level, prefix + "audit=" + level, "istio-injection=disabled"}
}

// TestPodSecurityAdmission: the tutorial's file in a namespace that enforces "baseline".
func TestPodSecurityAdmission(t *testing.T) {
	s := newSpace(t, "bookinfo-baseline", podSecurity("baseline")...)
	if out := s.sh("kubectl apply -f " + kube + "bookinfo-psa.yaml"); strings.Count(out, "\n") != 14 || strings.Contains(out, "Warning") {
		t.Errorf("apply printed\n%s", out)
	}
	s.page()
	const inside = `kubectl exec deploy/ratings-v1 -c ratings -- curl -sS productpage:9080/productpage | grep -o "<title>.*</title>"`
	if got := strings.TrimSpace(s.sh(inside)); got != title {
		t.Errorf("from the ratings pod: %q", got)
	}
}

// TestRestricted is contract check 57 as well: a user that no image knows, a read-only root, no capabilities.
func TestRestricted(t *testing.T) {
	for _, overlay := range []string{"restricted", "production"} {
		t.Run(overlay, func(t *testing.T) {
			s := newSpace(t, "bookinfo-restricted", podSecurity("restricted")...)
			if out := s.sh("kubectl apply -k deploy/kubernetes/overlays/" + overlay); strings.Contains(out, "Warning") {
				t.Errorf("apply warned:\n%s", out)
			}
			s.page()
			if overlay == "restricted" {
				s.sh(`kubectl get deployments -o name | xargs -I{} kubectl patch {} -p '{"spec":{"template":{"spec":{"securityContext":{"runAsUser":54321,"runAsGroup":54321}}}}}'`)
				s.page()
			}
		})
	}
}

// TestOverlays applies what no other test does, each in a namespace of its own within the mesh.
func TestOverlays(t *testing.T) {
	for overlay, look := range map[string]func(*testing.T, *space){
		"default": func(*testing.T, *space) {},
		"istio":   func(*testing.T, *space) {},
		"asm-b3":  forwards("b3"),
		"asm-w3c": forwards("w3c"),
		"faults":  func(_ *testing.T, s *space) { s.sh("kubectl rollout status deployment/ratings-v-faulty") },
		"sdk":     func(*testing.T, *space) {},
		"observed": func(_ *testing.T, s *space) {
			eventually(s.t, 120*time.Second, func() error {
				state := s.sh("kubectl get job bookinfo-load-once -o jsonpath='{.status.conditions[*].type}'")
				if strings.Contains(state, "Failed") {
					s.t.Fatal(s.sh("kubectl logs job/bookinfo-load-once"))
				}
				if !strings.Contains(state, "Complete") {
					return fmt.Errorf("the load is %q:\n%s", state, s.sh("kubectl logs job/bookinfo-load-once; kubectl get pods"))
				}
				return nil
			})
			s.t.Log(s.sh("kubectl logs job/bookinfo-load-once"))
		},
		"gateway-api": gatewayOfItsOwn,
		"mysql":       ratingsOfMySQL,
	} {
		t.Run(overlay, func(t *testing.T) {
			if overlay == "mysql" && !strings.Contains(sh(t, "kubectl get nodes -o jsonpath='{.items[*].status.images[*].names}'"), "library/mysql:8.4") {
				t.Skip("no node has docker.io/library/mysql:8.4, or a stand-in (deploy/docker/testdata/mysql)")
			}
			s := newSpace(t, "bookinfo-overlay", "istio-injection=enabled")
			s.sh("kubectl apply -k deploy/kubernetes/overlays/" + overlay)
			s.page()
			look(t, s)
		})
	}
}

// gatewayOfItsOwn asks by the gateway that Istio made for the overlay's.
func gatewayOfItsOwn(t *testing.T, s *space) {
	// No cloud gives the Service a load balancer here; the tutorials say what to do then.
	s.sh("kubectl annotate gateways.gateway.networking.k8s.io bookinfo-gateway networking.istio.io/service-type=ClusterIP --overwrite")
	s.sh("kubectl wait --for=condition=programmed --timeout=90s gateways.gateway.networking.k8s.io bookinfo-gateway")
	var base string
	eventually(t, 90*time.Second, func() (err error) {
		base, err = address(s.name, "bookinfo-gateway-istio", "80", "BOOKINFO_TEST_GATEWAY_API")
		return err
	})
	shows(t, base, "", title, "Book Details", "Book Reviews")
}

// ratingsOfMySQL leads ratings to the database: the seed's stars, then those of an UPDATE, as in Istio's text on
// external databases.
func ratingsOfMySQL(t *testing.T, s *space) {
	s.sh("kubectl apply -f " + networking + "destination-rule-all.yaml -f " + networking + "virtual-service-ratings-mysql.yaml")
	base, err := address(s.name, "productpage", "9080", "BOOKINFO_TEST_PRODUCTPAGE")
	if err != nil {
		t.Fatal(err)
	}
	count := func(want int) {
		t.Helper()
		eventually(t, 60*time.Second, func() error {
			body, _, err := get(base + "/productpage")
			if got := strings.Count(body, star); err != nil || got != want {
				return fmt.Errorf("%d stars, want %d: %w\n%s", got, want, err, body)
			}
			return nil
		})
	}
	count(9)
	s.sh("kubectl exec deploy/mysqldb-v1 -c mysqldb -- mysql -h 127.0.0.1 -uroot -ppassword test -e 'UPDATE ratings SET Rating = 1'")
	count(2)
	s.sh("kubectl scale deployment mysqldb-v1 --replicas=0")
	shows(t, base, "", noRatings)
}

func forwards(family string) func(*testing.T, *space) {
	return func(t *testing.T, s *space) {
		got := s.sh(`kubectl get deployment productpage-v1 -o jsonpath='{.spec.template.spec.containers[0].env[?(@.name=="FORWARD_HEADERS")].value}'`)
		if !strings.Contains(got, family) {
			t.Errorf("FORWARD_HEADERS=%q", got)
		}
	}
}

// TestCheckJob lets the checker in the cluster judge the deployed suite by its traces.
func TestCheckJob(t *testing.T) {
	sh(t, "kubectl delete job --ignore-not-found bookinfo-check")
	t.Cleanup(func() { sh(t, "kubectl delete -k deploy/kubernetes/overlays/check") })
	apply(t, networking+"destination-rule-all.yaml", networking+"virtual-service-reviews-v3.yaml")
	shows(t, gatewayURL, "", star)
	sh(t, "kubectl apply -k deploy/kubernetes/overlays/check")
	if out, err := run("", "kubectl", "wait", "--for=condition=complete", "--timeout=90s", "job/bookinfo-check"); err != nil {
		log, _ := run("", "kubectl", "logs", "job/bookinfo-check")
		t.Fatalf("%s %v\n%s", out, err, log)
	}
	t.Log(sh(t, "kubectl logs job/bookinfo-check"))
}

// unknown are kinds that this cluster's API server does not have, each with whose they are.
func unknown(document []byte) string {
	for kind, whose := range map[string]string{
		"kind: Kustomization\n":               "kustomize's own",
		"kind: Component\n":                   "kustomize's own",
		"kind: IstioOperator\n":               "a file for istioctl install",
		"apiVersion: istio.alibabacloud.com/": "ASM's",
		"apiVersion: monitoring.coreos.com/":  "the Prometheus operator's",
		"apiVersion: cert-manager.io/":        "cert-manager's",
	} {
		if bytes.Contains(document, []byte(kind)) {
			return whose
		}
	}
	return ""
}

// TestServerAcceptsEveryFile lets the API server check every manifest against its schemas and admission.
func TestServerAcceptsEveryFile(t *testing.T) {
	files := strings.Fields(sh(t, "git ls-files 'deploy/*.yaml'"))
	if len(files) < 50 {
		t.Fatalf("only %d files", len(files))
	}
	var sent []string
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(file, "deploy/envoy/") || strings.HasPrefix(file, "deploy/docker/") {
			continue // settings of Envoy and of a Collector, for Docker Compose
		}
		if whose := unknown(data); whose != "" {
			if whose != "kustomize's own" {
				t.Logf("%s: not known to the API server, %s", file, whose)
			}
			continue
		}
		if strings.Contains(file, "dual") || strings.Contains(file, "dualstack") {
			t.Logf("%s: this cluster has addresses of one family", file)
			continue
		}
		sent = append(sent, file)
	}
	if _, err := run("", "kubectl", "apply", "--dry-run=server", "-f", strings.Join(sent, ",")); err != nil {
		t.Error(err)
	}
	t.Logf("%d files sent", len(sent))
	for _, overlay := range strings.Fields(sh(t, "ls deploy/kubernetes/overlays")) {
		if overlay == "platform" || overlay == "dual-stack" || overlay == "monitored" {
			continue
		}
		if out, err := run("", "kubectl", "apply", "--dry-run=server", "-k", "deploy/kubernetes/overlays/"+overlay); err != nil {
			t.Errorf("overlay %s: %s %v", overlay, out, err)
		}
	}
}
