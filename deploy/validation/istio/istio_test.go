// Package istio_test asks Istio's own code about the files of deploy: what istiod's webhook and `istioctl validate` ask.
package istio_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/collections"
	"sigs.k8s.io/yaml"
)

const deploy = "../.."

// object is the part of a resource that every kind has.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec map[string]any
}

// validate gives what Istio says of a document; known is false for a kind that is not Istio's.
func validate(document string) (warning, err error, known bool) {
	var o object
	if err := yaml.Unmarshal([]byte(document), &o); err != nil {
		return nil, err, true
	}
	group, version, _ := strings.Cut(o.APIVersion, "/")
	schema, known := collections.Pilot.FindByGroupVersionAliasesKind(config.GroupVersionKind{Group: group, Version: version, Kind: o.Kind})
	if !known || !strings.HasSuffix(group, "istio.io") {
		return nil, nil, false
	}
	spec, err := schema.NewInstance()
	if err != nil {
		return nil, err, true
	}
	text, err := json.Marshal(o.Spec)
	if err != nil {
		return nil, err, true
	}
	if err := config.ApplyJSONStrict(spec, string(text)); err != nil {
		return nil, err, true
	}
	namespace := o.Metadata.Namespace
	if namespace == "" {
		namespace = "default"
	}
	w, err := schema.ValidateConfig(config.Config{
		Meta: config.Meta{GroupVersionKind: schema.GroupVersionKind(), Name: o.Metadata.Name, Namespace: namespace, Labels: o.Metadata.Labels},
		Spec: spec,
	})
	return w, err, true
}

// TestIstioAcceptsEveryFile: neither an error nor a warning.
func TestIstioAcceptsEveryFile(t *testing.T) {
	asked := 0
	for _, pattern := range []string{"istio/*.yaml", "istio/policy/*.yaml", "gateway-api/*.yaml", "asm/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(deploy, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, document := range strings.Split(string(data), "\n---\n") {
				warning, err, known := validate(document)
				if warning != nil && strings.Contains(document, "kind: EnvoyFilter\n") && strings.HasPrefix(warning.Error(), "EnvoyFilter exposes internal") {
					warning = nil // the rate limit tutorial is about one
				}
				if err != nil || warning != nil {
					t.Errorf("%s: %v %v", file, err, warning)
				}
				if known {
					asked++
				}
			}
		}
	}
	t.Logf("%d objects", asked)
	if asked < 50 {
		t.Errorf("Istio was asked about %d objects only", asked)
	}
}

// TestIstioRefuses: what schemas do not know, Istio does.
func TestIstioRefuses(t *testing.T) {
	for name, document := range map[string]string{
		"unknown field":   "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [x], htp: []}\n",
		"no destination":  "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [x], http: [{}]}\n",
		"weights":         "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [x], http: [{route: [{destination: {host: a}, weight: -1}]}]}\n",
		"principal twice": "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x}\nspec: {rules: [{from: [{source: {}}]}]}\n",
		"percentage":      "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: x}\nspec: {tracing: [{randomSamplingPercentage: 101}]}\n",
		"Sidecar host":    "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: x}\nspec: {egress: [{hosts: [nothing]}]}\n",
	} {
		if _, err, _ := validate(document); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
