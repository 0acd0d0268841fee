package meshctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"example.com/bookinfo/internal/mesh"
)

func runDescribe(ctx context.Context, env Env) error {
	o := newOptions(env, "describe", "KIND [NAME…] | KIND/NAME… [flags]")
	o.withNamespace()
	o.BoolVar(&o.all, "A", false, "resources of every namespace")
	args, err := o.parse()
	if err != nil {
		return err
	}
	selected, err := selections(args)
	if err != nil {
		return err
	}
	found, missing := o.find(ctx, selected)
	for i, r := range found {
		if i > 0 {
			fmt.Fprint(env.Stdout, "\n\n")
		}
		if err := describe(env.Stdout, r); err != nil {
			return err
		}
	}
	if len(found)+len(missing) == 0 {
		fmt.Fprintf(env.Stderr, "No resources found in %s namespace.\n", o.namespace)
	}
	return errors.Join(missing...)
}

// describe writes a resource as kubectl describe does for kinds that it has no words of its own for.
func describe(w io.Writer, r *mesh.Resource) error {
	var spec any
	if err := json.Unmarshal(r.SpecJSON, &spec); err != nil {
		return err
	}
	fmt.Fprintf(w, "Name:         %s\nNamespace:    %s\nLabels:       %s\nAnnotations:  %s\n", r.Name, r.Namespace, pairs(r.Labels, "="), pairs(r.Annotations, ": "))
	fmt.Fprintf(w, "API Version:  %s\nKind:         %s\nMetadata:\n  Creation Timestamp:  %s\n  Generation:          %d\nSpec:\n",
		r.APIVersion, r.Kind.Name, r.Created.UTC().Format(time.RFC3339), r.Generation)
	describeValue(w, spec, 2)
	_, err := fmt.Fprintln(w, "Events:  <none>")
	return err
}

func pairs(m map[string]string, sign string) string {
	if len(m) == 0 {
		return "<none>"
	}
	var lines []string
	for key, value := range m {
		lines = append(lines, key+sign+value)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n              ")
}

func describeValue(w io.Writer, value any, indent int) {
	pad := strings.Repeat(" ", indent)
	switch value := value.(type) {
	case map[string]any:
		var keys []string
		for key := range value {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		width := 0
		for _, key := range keys {
			if !nested(value[key]) {
				width = max(width, len(words(key)))
			}
		}
		for _, key := range keys {
			if nested(value[key]) {
				fmt.Fprintf(w, "%s%s:\n", pad, words(key))
				describeValue(w, value[key], indent+2)
			} else {
				fmt.Fprintf(w, "%s%-*s  %v\n", pad, width+1, words(key)+":", value[key])
			}
		}
	case []any:
		for _, item := range value {
			describeValue(w, item, indent)
		}
	default:
		fmt.Fprintf(w, "%s%v\n", pad, value)
	}
}

func nested(value any) bool {
	switch value.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// words makes "fixedDelay" into "Fixed Delay"; a name with dashes stays as it is.
func words(key string) string {
	if key == "" || strings.ContainsAny(key, "-./_") {
		return key
	}
	var b strings.Builder
	for i, r := range key {
		if i == 0 {
			r = unicode.ToUpper(r)
		} else if unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}
