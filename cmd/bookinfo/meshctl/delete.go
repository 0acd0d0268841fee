package meshctl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/meshapi"
)

func runDelete(ctx context.Context, env Env) error {
	o := newOptions(env, "delete", "-f FILE|FOLDER|- | KIND NAME… | KIND/NAME… | KIND --all [flags]")
	o.withFiles()
	o.withNamespace()
	o.withDryRun()
	var every, ignore bool
	o.BoolVar(&every, "all", false, "all resources of the kind in the namespace")
	o.BoolVar(&ignore, "ignore-not-found", false, "what is not there is no error")
	args, err := o.parse()
	if err != nil {
		return err
	}
	in := meshapi.DeleteRequest{Namespace: o.namespace, DryRun: o.dryRun != ""}
	var missing []error
	switch {
	case len(o.files) > 0 && len(args) > 0:
		return usagef("want either -f or names, not both")
	case len(o.files) > 0:
		if in.Files, err = o.read(); err != nil {
			return err
		}
	default:
		selected, err := selections(args)
		if err != nil {
			return err
		}
		for _, s := range selected {
			if len(s.names) == 0 && !every {
				return usagef("resource(s) were provided, but no name was specified; --all deletes all of them")
			}
		}
		var found []*mesh.Resource
		found, missing = o.find(ctx, selected)
		for _, r := range found {
			in.Keys = append(in.Keys, r.Key())
		}
		if len(found) == 0 && len(missing) == 0 {
			fmt.Fprintln(env.Stdout, "No resources found")
			return nil
		}
	}
	if len(in.Keys)+len(in.Files) > 0 {
		var out meshapi.DeleteResponse
		if _, err := o.call(ctx, "delete", nil, in, &out); err != nil {
			return err
		}
		for _, change := range out.Changes {
			kind, name, _ := strings.Cut(change.Name, "/")
			fmt.Fprintf(env.Stdout, "%s %q deleted%s\n", kind, name, o.dryRun.suffix())
		}
		if err := o.report(out.Problems, "deleted"); err != nil {
			missing = append(missing, err)
		}
		for _, line := range out.Errors {
			missing = append(missing, errors.New("Error from server (NotFound): "+line)) //nolint:staticcheck // kubectl's words
		}
	}
	if ignore {
		missing = keep(missing, func(err error) bool { return !strings.Contains(err.Error(), "(NotFound)") })
	}
	return errors.Join(missing...)
}

func keep[T any](list []T, want func(T) bool) []T {
	var kept []T
	for _, item := range list {
		if want(item) {
			kept = append(kept, item)
		}
	}
	return kept
}
