package meshctl_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/cmd/bookinfo/meshctl"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/meshapi"
)

// session runs commands against a mesh.
type session struct {
	t   *testing.T
	m   *mesh.Mesh
	url string
	now time.Time
}

func newSession(t *testing.T) *session {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	config := mesh.Bookinfo()
	config.Now = func() time.Time { return now }
	m := mesh.New(config)
	for i, w := range m.Snapshot().Workloads {
		if err := m.SetAddress(w.Pod, 9080, mesh.Address{Proxy: fmt.Sprintf("127.0.0.1:%d", 15100+i), App: fmt.Sprintf("127.0.0.1:%d", 15200+i)}); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(meshapi.Handler("/api/mesh", m))
	t.Cleanup(server.Close)
	return &session{t, m, server.URL, now.Add(90 * time.Second)}
}

// run returns standard output, standard error and the error of one command line.
func (s *session) run(stdin string, args ...string) (stdout, stderr string, err error) {
	s.t.Helper()
	var out, problems strings.Builder
	for _, c := range meshctl.Commands() {
		if c.Name == args[0] {
			err = c.Run(s.t.Context(), meshctl.Env{
				Args: args[1:], Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &problems,
				Now:     func() time.Time { return s.now },
				Control: func(context.Context, string) (string, error) { return s.url, nil },
			})
			return out.String(), problems.String(), err
		}
	}
	s.t.Fatalf("no command %s", args[0])
	return "", "", nil
}

// want runs a command that must work and print exactly this.
func (s *session) want(stdin, want string, args ...string) {
	s.t.Helper()
	out, problems, err := s.run(stdin, args...)
	if err != nil || out != want {
		s.t.Errorf("%q: error %v\n%s%s\nwant\n%s", args, err, problems, out, want)
	}
}

const rules = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  subsets:
  - name: v1
    labels: {version: v1}
  - name: v2
    labels: {version: v2}
`

const service = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    route:
    - destination:
        host: reviews
        subset: v2
  - route:
    - destination:
        host: reviews
        subset: v1
`

func TestApplyGetDelete(t *testing.T) {
	s := newSession(t)
	s.want("", "", "get", "vs")
	s.want(rules+"---\n"+service, "destinationrule.networking.istio.io/reviews created (dry run)\nvirtualservice.networking.istio.io/reviews created (dry run)\n", "apply", "-f", "-", "--dry-run")
	s.want(rules+"---\n"+service, "destinationrule.networking.istio.io/reviews created (server dry run)\nvirtualservice.networking.istio.io/reviews created (server dry run)\n", "apply", "--dry-run=server", "-f", "-")
	s.want(rules+"---\n"+service, "destinationrule.networking.istio.io/reviews created\nvirtualservice.networking.istio.io/reviews created\n", "apply", "-f", "-")
	s.want(service, "virtualservice.networking.istio.io/reviews unchanged\n", "apply", "-f", "-")
	s.want("", "NAME      GATEWAYS   HOSTS         AGE\nreviews              [\"reviews\"]   90s\n", "get", "virtualservices")
	s.want("", "virtualservice.networking.istio.io/reviews\n", "get", "vs/reviews", "-o", "name")
	s.want("", "NAMESPACE   NAME      HOST      AGE\ndefault     reviews   reviews   90s\n", "get", "dr", "-A")
	out, _, err := s.run("", "get", "-o", "yaml", "vs", "reviews")
	if err != nil || !strings.HasPrefix(out, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  creationTimestamp: \"2026-01-02T03:04:05Z\"\n  generation: 1\n  name: reviews\n  namespace: default\nspec:\n  hosts:\n  - reviews\n") {
		t.Errorf("%v\n%s", err, out)
	}
	// What was printed can be applied again.
	s.want(out, "virtualservice.networking.istio.io/reviews unchanged\n", "apply", "-f", "-")
	if out, _, err := s.run("", "get", "all", "-o", "json"); err != nil || !strings.Contains(out, `"kind": "List"`) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err := s.run("", "describe", "vs", "reviews"); err != nil || !strings.Contains(out, "end-user:\n          Exact:  jason\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, _, err := s.run("", "get", "vs", "absent"); err == nil || err.Error() != `Error from server (NotFound): virtualservices.networking.istio.io "absent" not found` {
		t.Errorf("%v", err)
	}
	if _, _, err := s.run("", "get", "pods"); err == nil || !strings.Contains(err.Error(), `resource type "pods"`) {
		t.Errorf("%v", err)
	}
	s.want("", "virtualservice.networking.istio.io \"reviews\" deleted (dry run)\n", "delete", "vs", "reviews", "--dry-run")
	s.want("", "virtualservice.networking.istio.io \"reviews\" deleted\n", "delete", "vs", "reviews")
	if _, _, err := s.run(service, "delete", "-f", "-"); err == nil || !strings.Contains(err.Error(), "(NotFound)") {
		t.Errorf("%v", err)
	}
	s.want(service, "", "delete", "-f", "-", "--ignore-not-found")
	s.want("", "destinationrule.networking.istio.io \"reviews\" deleted\n", "delete", "dr", "--all")
}

func TestApplyFolderAndErrors(t *testing.T) {
	s := newSession(t)
	folder := t.TempDir()
	for name, text := range map[string]string{"1.yaml": rules, "2.yml": service, "3.yaml": strings.Replace(service, "hosts:", "hsots:", 1), "notes.txt": "no"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, problems, err := s.run("", "apply", "-f", folder)
	if out != "destinationrule.networking.istio.io/reviews created\nvirtualservice.networking.istio.io/reviews created\n" {
		t.Error(out)
	}
	if want := "3.yaml:6) spec.hsots: unknown field \"hsots\", did you mean \"hosts\"?\n"; !strings.HasSuffix(problems, want) {
		t.Errorf("%s\nwant %s", problems, want)
	}
	if err == nil || err.Error() != "nothing of "+filepath.Join(folder, "3.yaml")+" was applied" || errors.Is(err, meshctl.ErrUsage) {
		t.Error(err)
	}
	for _, args := range [][]string{
		{"apply"}, {"apply", "x", "-f", "y"}, {"apply", "--nonsense"}, {"apply", "-f", "-", "-o", "table"}, {"get"}, {"get", "vs/a", "b"},
		{"delete", "vs"}, {"delete", "-f", "-", "vs", "x"}, {"explain"}, {"explain", "reviews", "no-slash"}, {"routes", "a", "b"}, {"apply", "--dry-run=maybe", "-f", "-"},
	} {
		if _, _, err := s.run("", args...); !errors.Is(err, meshctl.ErrUsage) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want a usage error of one line", args, err)
		}
	}
	if _, _, err := s.run("", "apply", "-f", "/absent.yaml"); err == nil || err.Error() != `the path "/absent.yaml" does not exist` {
		t.Error(err)
	}
}

func TestDiff(t *testing.T) {
	s := newSession(t)
	s.want(rules+"---\n"+service, "destinationrule.networking.istio.io/reviews created\nvirtualservice.networking.istio.io/reviews created\n", "apply", "-f", "-")
	s.want(service, "", "diff", "-f", "-")
	out, _, err := s.run(strings.Replace(service, "exact: jason", "exact: anna", 1), "diff", "-f", "-")
	if !errors.Is(err, meshctl.ErrDiffers) {
		t.Errorf("%v", err)
	}
	const name = "networking.istio.io.VirtualService.default.reviews"
	want := "diff -u -N LIVE/" + name + " MERGED/" + name + "\n--- LIVE/" + name + "\n+++ MERGED/" + name + `
@@ -10,7 +10,7 @@
   - match:
     - headers:
         end-user:
-          exact: jason
+          exact: anna
     route:
     - destination:
         host: reviews
`
	if out != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
	if _, _, err := s.run("nonsense: [", "diff", "-f", "-"); err == nil || errors.Is(err, meshctl.ErrDiffers) {
		t.Errorf("%v", err)
	}
	if got := s.m.Snapshot().Resources[1].Generation; got != 1 {
		t.Errorf("diff changed the mesh: generation %d", got)
	}
}

func TestRoutesAndExplain(t *testing.T) {
	s := newSession(t)
	s.want(rules+"---\n"+service, "destinationrule.networking.istio.io/reviews created\nvirtualservice.networking.istio.io/reviews created\n", "apply", "-f", "-")
	s.want("", `GET /reviews/0 to reviews, from productpage-v1
virtual host reviews.default.svc.cluster.local:9080
  1. VirtualService default/reviews http[0] match[0]
     yes: header end-user exactly "jason"
goes to outbound|9080|v2|reviews.default.svc.cluster.local
        reviews-v2-74b8c9d5f6-hd4xs
with 2 retries
spans are named reviews.default.svc.cluster.local:9080/*
`, "explain", "--header", "end-user=jason", "reviews", "/reviews/0")
	out, _, err := s.run("", "explain", "reviews:9080", "/reviews/0", "-H", "End-User: anna")
	if err != nil || !strings.Contains(out, "no: header end-user exactly \"jason\", is \"anna\"\n  2. VirtualService default/reviews http[1]\n     yes: every request\ngoes to outbound|9080|v1|") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err := s.run("", "explain", "nowhere", "/"); err != nil || !strings.Contains(out, `no virtual host has the name "nowhere": 404, flag NR`) {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = s.run("", "routes", "reviews")
	if err != nil || strings.Count(out, "\n") != 3 || !strings.HasPrefix(out, "HOST ") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, _, err := s.run("", "routes", "--from", "nobody"); err == nil || !strings.Contains(err.Error(), `no workload "nobody": there are details-v1, `) {
		t.Errorf("%v", err)
	}
	if out, _, err := s.run("", "envoy-config", "reviews-v2", "--format", "b3", "--collector", "127.0.0.1:9411"); err != nil ||
		!strings.Contains(out, `"cluster": "reviews.default"`) || !strings.Contains(out, `"port_value": 15006`) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, _, err := s.run("", "envoy-config", "--format", "b4"); err == nil || err.Error() != `format "b4": want b3, b3+w3c or w3c` {
		t.Errorf("%v", err)
	}
}

// A folder that also holds what the mesh does not take is deleted as far as it can be.
func TestDeleteFolder(t *testing.T) {
	s := newSession(t)
	folder := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": rules,
		"b.yaml": "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {}\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.run("", "apply", "-f", folder); err == nil {
		t.Error("the operator is applied")
	}
	out, problems, err := s.run("", "delete", "-f", folder)
	if want := "destinationrule.networking.istio.io \"reviews\" deleted\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if !strings.HasPrefix(problems, "Error (IstioOperator "+folder) || err == nil || !strings.Contains(err.Error(), "b.yaml was deleted") {
		t.Errorf("problems %q, error %v", problems, err)
	}
	out, _, err = s.run("", "get", "vs", "--foo")
	if out != "" || err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a wrong flag prints %q, %v; want one line in the error", out, err)
	}
}
