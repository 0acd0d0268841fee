package meshctl

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"example.com/bookinfo/internal/mesh"
)

// kindsOf finds the kinds that a word means: "vs", "virtualservices", "gateway" (of both groups),
// "gateway.networking.istio.io", or "all".
func kindsOf(word string) ([]mesh.Kind, error) {
	name, group, _ := strings.Cut(strings.ToLower(word), ".")
	var found []mesh.Kind
	for _, kind := range mesh.Kinds() {
		named := name == "all" || name == kind.Resource || name == kind.Plural || slices.Contains(kind.Short, name)
		// A group may be given with its version before it: virtualservice.v1.networking.istio.io.
		if named && (group == "" || group == kind.Group || strings.HasSuffix(group, "."+kind.Group)) {
			found = append(found, kind)
		}
	}
	if len(found) == 0 {
		var known []string
		for _, kind := range mesh.Kinds() {
			known = append(known, kind.Plural)
		}
		slices.Sort(known)
		return nil, fmt.Errorf("error: the mesh doesn't have a resource type %q; it has %s", word, strings.Join(slices.Compact(known), ", "))
	}
	return found, nil
}

// selection is what the arguments of get, describe and delete name.
type selection struct {
	kinds []mesh.Kind
	// names are empty if all of the kinds are meant.
	names []string
}

// selections reads "vs", "vs,dr", "vs reviews ratings" and "vs/reviews dr/ratings".
func selections(args []string) ([]selection, error) {
	if len(args) == 0 {
		return nil, usagef("name a kind of resource, for example virtualservices, or all")
	}
	if strings.Contains(args[0], "/") {
		var out []selection
		for _, arg := range args {
			word, name, ok := strings.Cut(arg, "/")
			if !ok || name == "" {
				return nil, usagef("%q: want KIND/NAME, as the others", arg)
			}
			kinds, err := kindsOf(word)
			if err != nil {
				return nil, err
			}
			out = append(out, selection{kinds, []string{name}})
		}
		return out, nil
	}
	var kinds []mesh.Kind
	for _, word := range strings.Split(args[0], ",") {
		found, err := kindsOf(word)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, found...)
	}
	return []selection{{kinds, args[1:]}}, nil
}

// find asks for the selected resources. A name that is not there is an error, for which the others are still returned.
func (o *options) find(ctx context.Context, selected []selection) ([]*mesh.Resource, []error) {
	query := url.Values{}
	if !o.all {
		query.Set("namespace", o.namespace)
	}
	var all []*mesh.Resource
	if _, err := o.call(ctx, "resources", query, nil, &all); err != nil {
		return nil, []error{err}
	}
	slices.SortStableFunc(all, func(a, b *mesh.Resource) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	var found []*mesh.Resource
	var missing []error
	for _, s := range selected {
		of := func(name string) bool {
			before := len(found)
			for _, kind := range s.kinds {
				for _, r := range all {
					if r.Kind.Name == kind.Name && r.Kind.Group == kind.Group && (name == "" || r.Name == name) {
						found = append(found, r)
					}
				}
			}
			return len(found) > before
		}
		if len(s.names) == 0 {
			of("")
		}
		for _, name := range s.names {
			if !of(name) {
				missing = append(missing, notFound(s.kinds[0], name))
			}
		}
	}
	return found, missing
}

func notFound(kind mesh.Kind, name string) error {
	return fmt.Errorf("Error from server (NotFound): %s.%s %q not found", kind.Plural, kind.Group, name) //nolint:staticcheck // kubectl's words
}
