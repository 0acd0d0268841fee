package mesh

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// File is a file of documents as a user wrote it.
type File struct {
	// Name is what problems are reported under.
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// MaxFileSize is the most bytes of one file that are read.
const MaxFileSize = 16 << 20

// decoder turns one file into resources and collects every problem on the way.
type decoder struct {
	file      string
	namespace string // of resources that name none
	problems  []Problem
	resources []*Resource
	acted     map[string]string
}

// Decode reads the resources of a file. The namespace is given to those that name none. If any problem is not a warning
// the resources are not to be used.
func Decode(file File, namespace string) ([]*Resource, []Problem) {
	d := &decoder{file: file.Name, namespace: namespace, acted: actedFields()}
	if len(file.Data) > MaxFileSize {
		d.errorf("", 1, "", "the file has more than %d bytes", MaxFileSize)
		return nil, d.problems
	}
	documents := yaml.NewDecoder(bytes.NewReader(file.Data))
	for {
		var document yaml.Node
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.syntax(err)
			break
		}
		if len(document.Content) == 1 {
			d.document(document.Content[0])
		}
	}
	if len(d.resources) == 0 && len(d.problems) == 0 {
		d.errorf("", 1, "", "no objects in the file")
	}
	return d.resources, d.problems
}

func (d *decoder) errorf(resource string, line int, field, format string, args ...any) {
	d.problems = append(d.problems, Problem{
		Code: codeSchema, Resource: resource, File: d.file, Line: line, Field: field, Message: fmt.Sprintf(format, args...),
	})
}

// syntax reports an error of the YAML parser, whose text names the line.
func (d *decoder) syntax(err error) {
	line := 1
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if match := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(message); match != nil {
		_, _ = fmt.Sscan(match[1], &line) // the pattern matched digits
		message = message[len(match[0]):]
	}
	if strings.Contains(message, "cannot start any token") {
		message += " (a tab? YAML is indented with spaces)"
	}
	d.errorf("", line, "", "not YAML: %s", message)
}

func (d *decoder) document(raw *yaml.Node) {
	before := len(d.problems)
	t := &tree{report: func(line int, field, message string) { d.errorf("", line, field, "%s", message) }}
	node := t.expand(raw, "", 0)
	if len(d.problems) > before || isNull(node) {
		return
	}
	d.object(node)
}

func (d *decoder) object(node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		d.errorf("", node.Line, "", "a document must be an object with apiVersion, kind, metadata and spec, is %s", typeName(node))
		return
	}
	apiVersion, kindName := text(child(node, "apiVersion")), text(child(node, "kind"))
	if kindName == "List" && apiVersion == "v1" {
		if items := child(node, "items"); items != nil && items.Kind == yaml.SequenceNode {
			for _, item := range items.Content {
				d.object(item)
			}
		}
		return
	}
	for _, field := range []string{"apiVersion", "kind"} {
		if text(child(node, field)) == "" {
			d.errorf("", node.Line, field, "must be set")
			return
		}
	}
	kind, ok := d.kind(node, apiVersion, kindName)
	if !ok {
		return
	}
	metadata := child(node, "metadata")
	r := &Resource{Kind: kind, APIVersion: apiVersion, File: d.file, Line: node.Line, Generation: 1, node: node}
	r.Name, r.Namespace = text(child(metadata, "name")), text(child(metadata, "namespace"))
	if r.Namespace == "" {
		r.Namespace = d.namespace
	}
	before := len(d.problems)
	d.metadata(r, node, metadata)
	for i := 0; i+1 < len(node.Content); i += 2 {
		if key := node.Content[i]; !slices.Contains([]string{"apiVersion", "kind", "metadata", "spec", "status"}, key.Value) {
			d.errorf(r.FullName(), key.Line, key.Value, "unknown field %q; known here: apiVersion, kind, metadata, spec", key.Value)
		}
	}
	d.spec(r, child(node, "spec"))
	if !slices.ContainsFunc(d.problems[before:], func(p Problem) bool { return !p.Warning }) {
		d.resources = append(d.resources, r)
	}
}

// kind finds the kind of a document, or says why it cannot be applied here.
func (d *decoder) kind(node *yaml.Node, apiVersion, name string) (Kind, bool) {
	line := lineOf(node, "kind")
	group, version, hasGroup := strings.Cut(apiVersion, "/")
	var versions []string
	for _, kind := range Kinds() {
		if kind.Name != name || kind.Group != group {
			continue
		}
		if slices.Contains(kind.Versions, version) {
			return kind, true
		}
		for _, known := range kind.Versions {
			versions = append(versions, group+"/"+known)
		}
	}
	resource := strings.TrimSpace(name + " " + text(child(child(node, "metadata"), "name")))
	p := Problem{Code: codeUnknownKind, Resource: resource, File: d.file, Line: line, Field: "kind"}
	switch {
	case len(versions) > 0:
		p.Field, p.Line = "apiVersion", lineOf(node, "apiVersion")
		p.Message = fmt.Sprintf("no version %q of kind %s: use %s", apiVersion, name, strings.Join(versions, ", "))
	case refused()[name] != "":
		p.Message = fmt.Sprintf("kind %s cannot be applied to the local mesh: %s", name, refused()[name])
	case !hasGroup || group == "apps" || group == "batch" || strings.HasSuffix(group, ".k8s.io") && group != "gateway.networking.k8s.io":
		p.Message = fmt.Sprintf("kind %s (%s) is for a cluster: kubectl applies it there; the local mesh runs its workloads itself", name, apiVersion)
	default:
		var known []string
		for _, kind := range Kinds() {
			known = append(known, kind.Name+" ("+kind.Group+")")
		}
		p.Message = fmt.Sprintf("no matches for kind %q in version %q; known: %s", name, apiVersion, strings.Join(known, ", "))
	}
	d.problems = append(d.problems, p)
	return Kind{}, false
}

// refused says why a kind that people meet beside Bookinfo has no effect on the local mesh.
func refused() map[string]string {
	return map[string]string{
		"EnvoyFilter":           "it patches the configuration of a real Envoy, which the stand-in does not have; use it on a cluster",
		"IstioOperator":         "it installs Istio itself (istioctl install), and here is no Istio to install",
		"WasmPlugin":            "it loads a WebAssembly filter into a real Envoy, which the stand-in is not",
		"ProxyConfig":           "it sets options of Istio's own proxy; the sidecar here takes them as flags",
		"Sidecar":               "every sidecar of the local mesh knows every service; it limits configuration on a cluster",
		"PeerAuthentication":    "the local mesh has no mutual TLS",
		"RequestAuthentication": "the local mesh verifies no tokens",
		"WorkloadEntry":         "workloads of the local mesh are the demo's processes; a ServiceEntry can list addresses itself",
		"WorkloadGroup":         "workloads of the local mesh are the demo's processes",
		"GRPCRoute":             "only HTTPRoute is understood of Gateway API's routes",
		"TCPRoute":              "only HTTPRoute is understood of Gateway API's routes",
		"TLSRoute":              "only HTTPRoute is understood of Gateway API's routes",
		"ReferenceGrant":        "references across namespaces need no grant in the local mesh",
		"GatewayClass":          "the local mesh has one class of gateway, istio, built in",
	}
}

func (d *decoder) metadata(r *Resource, node, metadata *yaml.Node) {
	if r.Name == "" {
		d.errorf(r.Kind.Name, node.Line, "metadata.name", "must be set")
		return
	}
	if !validName(r.Name, 253, true) {
		d.errorf(r.FullName(), lineOf(node, "metadata.name"), "metadata.name",
			"Invalid value %q: must be at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at each end", r.Name)
	}
	if !validName(r.Namespace, 63, false) {
		d.errorf(r.FullName(), lineOf(node, "metadata.namespace"), "metadata.namespace",
			"Invalid value %q: must be at most 63 lower-case letters, digits and '-', with a letter or digit at each end", r.Namespace)
	}
	known := []string{"name", "namespace", "labels", "annotations", "generateName", "resourceVersion", "uid", "generation",
		"creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "ownerReferences", "managedFields", "selfLink"}
	c := d.schema(r)
	for i := 0; metadata.Kind == yaml.MappingNode && i+1 < len(metadata.Content); i += 2 {
		key, value := metadata.Content[i], metadata.Content[i+1]
		if isNull(value) {
			continue
		}
		at := "metadata." + key.Value
		switch key.Value {
		case "labels", "annotations":
			values := make(map[string]string)
			if value.Kind != yaml.MappingNode {
				c.wrongType(value, at, "object")
				continue
			}
			for j := 0; j+1 < len(value.Content); j += 2 {
				c.scalar(value.Content[j+1], at+"."+value.Content[j].Value, "string", false, 64)
				values[value.Content[j].Value] = value.Content[j+1].Value
			}
			if key.Value == "labels" {
				r.Labels = values
			} else {
				// kubectl's own note of what was applied last says nothing more than the object.
				delete(values, "kubectl.kubernetes.io/last-applied-configuration")
				r.Annotations = values
			}
		case "name", "namespace":
			c.scalar(value, at, "string", false, 64)
		default:
			if !slices.Contains(known, key.Value) {
				c.unknown(key.Line, "metadata", key.Value, known[:4])
			}
		}
	}
}

func validName(name string, limit int, dots bool) bool {
	edge := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
	if name == "" || len(name) > limit || !edge(name[0]) || !edge(name[len(name)-1]) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !edge(c) && c != '-' && !(dots && c == '.') {
			return false
		}
	}
	return true
}

func (d *decoder) schema(r *Resource) *schemaCheck {
	return &schemaCheck{acted: d.acted, report: func(warning bool, line int, field, message string) {
		p := Problem{Warning: warning, Resource: r.FullName(), File: d.file, Line: line, Field: field, Message: message}
		if !warning {
			p.Code = codeSchema
		}
		d.problems = append(d.problems, p)
	}}
}

// spec reads the spec into the kind's type, strictly.
func (d *decoder) spec(r *Resource, node *yaml.Node) {
	if node == nil {
		node = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: r.Line}
	}
	before := len(d.problems)
	r.Spec = r.Kind.newSpec()
	d.schema(r).check(node, r.Spec, "spec")
	if slices.ContainsFunc(d.problems[before:], func(p Problem) bool { return !p.Warning }) {
		return
	}
	var err error
	if r.SpecJSON, err = toJSON(node); err == nil {
		// Istio's types decode themselves with jsonpb, by their generated UnmarshalJSON, which takes durations such as 200ms.
		err = json.Unmarshal(r.SpecJSON, r.Spec)
	}
	if err != nil {
		d.errorf(r.FullName(), node.Line, "spec", "%s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
}

// text returns a scalar's text, "" if there is none.
func text(node *yaml.Node) string {
	if node == nil || node.Kind != yaml.ScalarNode || isNull(node) {
		return ""
	}
	return node.Value
}
