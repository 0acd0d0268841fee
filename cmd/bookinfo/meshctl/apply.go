package meshctl

import (
	"context"
	"fmt"
	"net/http"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/meshapi"
)

func runApply(ctx context.Context, env Env) error {
	o := newOptions(env, "apply", "-f FILE|FOLDER|- [flags]")
	o.withFiles()
	o.withNamespace()
	o.withDryRun()
	o.withOutput("output `FORMAT`: yaml, json or name; default one line a resource")
	args, err := o.parse()
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return usagef("apply takes no arguments but -f, has %q", args[0])
	}
	if err := o.wantOutput("", "yaml", "json", "name"); err != nil {
		return err
	}
	files, err := o.read()
	if err != nil {
		return err
	}
	out, err := o.apply(ctx, files, o.dryRun != "")
	if err != nil {
		return err
	}
	if o.output == "" {
		for _, change := range out.Changes {
			fmt.Fprintf(env.Stdout, "%s %s%s\n", change.Name, change.Action, o.dryRun.suffix())
		}
	} else if len(out.Changes) > 0 {
		var objects []*mesh.Resource
		for _, change := range out.Changes {
			objects = append(objects, change.Object)
		}
		if err := o.print(objects, false); err != nil {
			return err
		}
	}
	return o.report(out.Problems, "applied")
}

// apply sends the files. A refused file is no error here: the problems say it.
func (o *options) apply(ctx context.Context, files []mesh.File, dryRun bool) (meshapi.ApplyResponse, error) {
	var out meshapi.ApplyResponse
	status, err := o.call(ctx, "apply", nil, meshapi.ApplyRequest{Files: files, Namespace: o.namespace, DryRun: dryRun}, &out)
	if err == nil && status != http.StatusOK && status != http.StatusUnprocessableEntity {
		err = fmt.Errorf("the demo answers %d %s", status, http.StatusText(status))
	}
	return out, err
}

// report prints problems on standard error; done is what did not happen to the files with an error. The error tells of files that were refused.
func (o *options) report(problems []mesh.Problem, done string) error {
	refused := make(map[string]bool)
	for _, p := range problems {
		fmt.Fprintln(o.env.Stderr, p)
		if !p.Warning {
			refused[p.File] = true
		}
	}
	switch len(refused) {
	case 0:
		return nil
	case 1:
		for name := range refused {
			return fmt.Errorf("nothing of %s was %s", name, done)
		}
	}
	return fmt.Errorf("nothing of %d files was %s", len(refused), done)
}
