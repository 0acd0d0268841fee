package meshctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sigs.k8s.io/yaml"

	"example.com/bookinfo/internal/mesh"
)

func runGet(ctx context.Context, env Env) error {
	o := newOptions(env, "get", "KIND[,KIND…] [NAME…] | KIND/NAME… [flags]")
	o.withNamespace()
	o.BoolVar(&o.all, "A", false, "resources of every namespace")
	o.BoolVar(&o.all, "all-namespaces", false, "same as -A")
	o.withOutput("output `FORMAT`: yaml, json, name or wide; default a table")
	args, err := o.parse()
	if err != nil {
		return err
	}
	if err := o.wantOutput("", "yaml", "json", "name", "wide"); err != nil {
		return err
	}
	selected, err := selections(args)
	if err != nil {
		return err
	}
	found, missing := o.find(ctx, selected)
	one := len(selected) == 1 && len(selected[0].names) == 1
	switch {
	case len(found) > 0 && (o.output == "" || o.output == "wide"):
		o.table(found)
	case len(found) > 0 || len(missing) == 0 && o.output != "" && o.output != "wide" && o.output != "name":
		err = o.print(found, !one)
	case len(missing) == 0 && o.all:
		fmt.Fprintln(env.Stderr, "No resources found")
	case len(missing) == 0:
		fmt.Fprintf(env.Stderr, "No resources found in %s namespace.\n", o.namespace)
	}
	return errors.Join(append(missing, err)...)
}

func (o *options) wantOutput(known ...string) error {
	if !slices.Contains(known, o.output) {
		return usagef("-o %q: want %s", o.output, strings.Join(known[1:], ", "))
	}
	return nil
}

// print writes resources as YAML, JSON or names; several, or a list that may be of one, in a List.
func (o *options) print(found []*mesh.Resource, list bool) error {
	if o.output == "name" {
		for _, r := range found {
			fmt.Fprintln(o.env.Stdout, r)
		}
		return nil
	}
	var value any = struct {
		APIVersion string           `json:"apiVersion"`
		Items      []*mesh.Resource `json:"items"`
		Kind       string           `json:"kind"`
		Metadata   map[string]any   `json:"metadata"`
	}{"v1", append([]*mesh.Resource{}, found...), "List", map[string]any{"resourceVersion": ""}}
	if len(found) == 1 && !list {
		value = found[0]
	}
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if o.output == "json" {
		var indented bytes.Buffer
		if err := json.Indent(&indented, data, "", "    "); err != nil {
			return err
		}
		fmt.Fprintln(o.env.Stdout, indented.String())
		return nil
	}
	data, err = yaml.JSONToYAML(data)
	if err != nil {
		return err
	}
	_, err = o.env.Stdout.Write(data)
	return err
}

// column is one that a kind's definition adds between name and age; its value is a path into the spec.
type column struct{ title, path string }

func columns(kind mesh.Kind) []column {
	switch kind.String() {
	case "virtualservice.networking.istio.io":
		return []column{{"GATEWAYS", "gateways"}, {"HOSTS", "hosts"}}
	case "destinationrule.networking.istio.io":
		return []column{{"HOST", "host"}}
	case "serviceentry.networking.istio.io":
		return []column{{"HOSTS", "hosts"}, {"LOCATION", "location"}, {"RESOLUTION", "resolution"}}
	case "authorizationpolicy.security.istio.io":
		return []column{{"ACTION", "action"}}
	case "gateway.gateway.networking.k8s.io":
		return []column{{"CLASS", "gatewayClassName"}}
	case "httproute.gateway.networking.k8s.io":
		return []column{{"HOSTNAMES", "hostnames"}}
	}
	return nil
}

// table prints a table for each kind, with kubectl's columns. Where there are several kinds, names carry theirs.
func (o *options) table(found []*mesh.Resource) {
	several := slices.ContainsFunc(found, func(r *mesh.Resource) bool { return r.Kind.String() != found[0].Kind.String() })
	for i := 0; i < len(found); {
		if i > 0 {
			fmt.Fprintln(o.env.Stdout)
		}
		kind := found[i].Kind
		w := tabwriter.NewWriter(o.env.Stdout, 0, 0, 3, ' ', 0)
		var header []string
		if o.all {
			header = append(header, "NAMESPACE")
		}
		header = append(header, "NAME")
		for _, c := range columns(kind) {
			header = append(header, c.title)
		}
		fmt.Fprintln(w, strings.Join(append(header, "AGE"), "\t"))
		for ; i < len(found) && found[i].Kind.String() == kind.String(); i++ {
			r := found[i]
			var cells []string
			if o.all {
				cells = append(cells, r.Namespace)
			}
			name := r.Name
			if several {
				name = r.String()
			}
			cells = append(cells, name)
			var spec map[string]json.RawMessage
			_ = json.Unmarshal(r.SpecJSON, &spec) // of a spec that is no object no column is known
			for _, c := range columns(kind) {
				cells = append(cells, strings.Trim(string(spec[c.path]), `"`))
			}
			fmt.Fprintln(w, strings.Join(append(cells, age(o.env.Now().Sub(r.Created))), "\t"))
		}
		_ = w.Flush()
	}
}

// age is kubectl's short form: 45s, 12m, 3h, 5d.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
