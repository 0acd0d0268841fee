// Package schemas writes JSON schemas for kubeconform from what the modules of Kubernetes, of Istio and of others carry:
// the API server's OpenAPI, and custom resource definitions. So manifests are checked without a cluster, and without
// the site from which kubeconform fetches schemas otherwise.
package schemas

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// Location is where kubeconform finds the schemas that Write wrote: its option -schema-location.
func Location(dir string) string {
	return filepath.Join(dir, "{{.Group}}", "{{.ResourceKind}}_{{.ResourceAPIVersion}}.json")
}

// source is a module and the files of it that hold definitions.
type source struct{ module, files string }

// kubernetes holds the API of the server; the others are custom resources.
func kubernetes() source {
	return source{"k8s.io/kubernetes@v1.34.4", "api/openapi-spec/swagger.json"}
}

func custom() []source {
	return []source{
		{"istio.io/api@v1.31.1", "kubernetes/customresourcedefinitions.gen.yaml"},
		{"sigs.k8s.io/gateway-api@v1.5.0", "config/crd/standard/gateway.networking.k8s.io_*.yaml"},
		{"github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"},
		{"github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds/cert-manager.io_c*.yaml"},
	}
}

// Write fetches the modules by the go command and writes a schema for each kind under dir. Every schema is strict: a
// field that the kind has not is an error.
func Write(ctx context.Context, dir string) error {
	files, err := find(ctx, kubernetes())
	if err != nil {
		return err
	}
	if err := writeAPI(dir, files[0]); err != nil {
		return err
	}
	for _, s := range custom() {
		files, err := find(ctx, s)
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := writeCustom(dir, file); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

// find returns the files of a module. It runs outside of any module, so that nothing is added to one's go.mod.
func find(ctx context.Context, s source) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", s.module)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.Output()
	var module struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &module); jsonErr != nil || module.Error != "" || err != nil {
		return nil, fmt.Errorf("go mod download %s: %w %v %s", s.module, err, jsonErr, module.Error)
	}
	files, err := filepath.Glob(filepath.Join(module.Dir, filepath.FromSlash(s.files)))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("%s has no %s: %w", s.module, s.files, err)
	}
	return files, nil
}

// schema is a JSON schema, or a part of one.
type schema = map[string]any

// writeAPI writes one schema for each kind of the server's OpenAPI, with the definitions that it needs.
func writeAPI(dir, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var api struct{ Definitions map[string]schema }
	if err := json.Unmarshal(data, &api); err != nil {
		return err
	}
	for name, definition := range api.Definitions {
		tighten(definition)
		switch {
		case strings.HasSuffix(name, ".IntOrString"):
			delete(definition, "type")
			definition["anyOf"] = []any{schema{"type": "integer"}, schema{"type": "string"}}
		case strings.HasSuffix(name, ".resource.Quantity"):
			delete(definition, "type")
			definition["anyOf"] = []any{schema{"type": "number"}, schema{"type": "string"}}
		}
	}
	for name, definition := range api.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 { // more than one: what every kind has, such as DeleteOptions
			continue
		}
		kind := kinds[0].(map[string]any)
		needed := schema{}
		reach(api.Definitions, "#/definitions/"+name, needed)
		root := schema{"$ref": "#/definitions/" + name, "definitions": needed, "required": []any{"apiVersion", "kind"}}
		if err := write(dir, kind["group"].(string), kind["version"].(string), kind["kind"].(string), root); err != nil {
			return err
		}
	}
	return nil
}

// reach collects the definition that ref names and all that it names in turn.
func reach(all map[string]schema, ref string, needed schema) {
	name := strings.TrimPrefix(ref, "#/definitions/")
	if needed[name] != nil {
		return
	}
	needed[name] = all[name]
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				reach(all, ref, needed)
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(all[name])
}

// writeCustom writes the schemas of a file of custom resource definitions.
func writeCustom(dir, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, document := range bytes.Split(data, []byte("\n---\n")) {
		var crd struct {
			Kind string
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct {
						OpenAPIV3Schema schema `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(document, &crd); err != nil {
			return err
		}
		if crd.Kind != "CustomResourceDefinition" {
			continue
		}
		for _, version := range crd.Spec.Versions {
			root := version.Schema.OpenAPIV3Schema
			properties, _ := root["properties"].(map[string]any)
			if properties == nil {
				return fmt.Errorf("%s %s has no properties", crd.Spec.Names.Kind, version.Name)
			}
			// Every object has these, whether its definition says so or not.
			properties["apiVersion"], properties["kind"] = schema{"type": "string"}, schema{"type": "string"}
			properties["metadata"] = schema{"type": "object"}
			root["required"] = []any{"apiVersion", "kind", "metadata"}
			tighten(root)
			if err := write(dir, crd.Spec.Group, version.Name, crd.Spec.Names.Kind, root); err != nil {
				return err
			}
		}
	}
	return nil
}

// tighten forbids fields that are not named, wherever an object names some, and translates what OpenAPI says in words
// of its own. Parts under oneOf, anyOf, allOf and not speak of some fields only and stay as they are.
func tighten(s schema) {
	if properties, ok := s["properties"].(map[string]any); ok {
		if _, said := s["additionalProperties"]; !said && s["x-kubernetes-preserve-unknown-fields"] != true {
			s["additionalProperties"] = false
		}
		for _, property := range properties {
			if inner, ok := property.(map[string]any); ok {
				tighten(inner)
			}
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := s[key].(map[string]any); ok {
			tighten(inner)
		}
	}
	if s["x-kubernetes-int-or-string"] == true {
		delete(s, "type")
		s["anyOf"] = []any{schema{"type": "integer"}, schema{"type": "string"}}
	}
	if kind, ok := s["type"].(string); ok && s["nullable"] == true {
		s["type"] = []any{kind, "null"}
	}
}

func write(dir, group, version, kind string, s schema) error {
	if group == "" {
		group = version // as kubeconform names the core group
	}
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	folder := filepath.Join(dir, group)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, strings.ToLower(kind)+"_"+version+".json"), data, 0o644)
}
