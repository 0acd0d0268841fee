package schemas_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"example.com/bookinfo/deploy/kubernetes/combine"
	"example.com/bookinfo/deploy/validation/schemas"
)

const deploy = "../.."

// withoutSchema are kinds that nobody publishes a schema of, each with what checks it otherwise.
func withoutSchema() map[string]struct{} {
	return map[string]struct{}{
		"IstioGateway":         {}, // ASM's; docs/asm.md lists it as not run
		"ASMExtensionProvider": {}, // the same
		"IstioOperator":        {}, // istioctl's own, which reads each in the tests on a cluster
	}
}

// kubeconform is a validator with schemas of its own.
func kubeconform(t *testing.T) validator.Validator {
	t.Helper()
	dir := t.TempDir()
	if err := schemas.Write(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	v, err := validator.New([]string{schemas.Location(dir)}, validator.Opts{Strict: true, SkipKinds: withoutSchema()})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// check gives what kubeconform says of a stream, and how many objects it found valid.
func check(v validator.Validator, name, stream string) (valid int, findings []string) {
	for _, r := range v.Validate(name, io.NopCloser(strings.NewReader(stream))) {
		switch r.Status {
		case validator.Valid:
			valid++
		case validator.Invalid, validator.Error:
			findings = append(findings, fmt.Sprintf("%s: %v %v", name, r.Err, r.ValidationErrors))
		}
	}
	return valid, findings
}

// TestKubeconform checks every manifest under deploy, every overlay, and the components in every threesome.
func TestKubeconform(t *testing.T) {
	v := kubeconform(t)
	valid, files := 0, 0
	look := func(name, stream string) {
		n, findings := check(v, name, stream)
		valid += n
		files++
		for _, f := range findings {
			t.Error(f)
		}
	}
	for _, pattern := range []string{"kubernetes/platform/*.yaml", "istio/*.yaml", "istio/policy/*.yaml", "gateway-api/*.yaml", "asm/*.yaml"} {
		names, err := filepath.Glob(filepath.Join(deploy, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			look(name, string(data))
		}
	}
	overlays, err := filepath.Glob(filepath.Join(deploy, "kubernetes/overlays/*/kustomization.yaml"))
	if err != nil || len(overlays) < 15 {
		t.Fatalf("%d overlays, %v", len(overlays), err)
	}
	for _, overlay := range overlays {
		rendered, err := combine.Render(filesys.MakeFsOnDisk(), filepath.Dir(overlay))
		if err != nil {
			t.Fatal(err)
		}
		look(overlay, string(rendered))
	}
	tree, err := combine.Tree(deploy)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range combine.Combinations() {
		rendered, err := c.Render(tree)
		if err != nil {
			t.Fatal(err)
		}
		look(c.Name(), string(rendered))
	}
	t.Logf("%d objects of %d files, overlays and combinations are valid", valid, files)
	if valid < 500 {
		t.Errorf("only %d objects were looked at", valid)
	}
}

// TestKubeconformFinds spoils an object of each kind of schema: server's, Istio's, Gateway API's, others'.
func TestKubeconformFinds(t *testing.T) {
	v := kubeconform(t)
	for name, stream := range map[string]string{
		"unknown field":     "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {prots: []}\n",
		"unknown deep":      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {selector: {}, template: {spec: {containers: [{name: x, livenesProbe: {}}]}}}\n",
		"wrong type":        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: http}]}\n",
		"required":          "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {template: {}}\n",
		"Istio field":       "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {http: [{matches: []}]}\n",
		"Istio enumeration": "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\nspec: {mtls: {mode: STRIKT}}\n",
		"Gateway API field": "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\nspec: {rules: [{backendRef: []}]}\n",
		"ServiceMonitor":    "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: x}\nspec: {selector: {}, endpoint: []}\n",
		"Certificate":       "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: x}\nspec: {secretName: x}\n",
		"no such kind":      "apiVersion: apps/v1\nkind: Deploiment\nmetadata: {name: x}\n",
		"old version":       "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: x}\n",
	} {
		if valid, findings := check(v, name, stream); valid != 0 || len(findings) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}
