package meshctl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"example.com/bookinfo/services/sidecar/meshapi"
)

// headerList is --header NAME=VALUE or "NAME: VALUE", which may be given several times.
type headerList [][2]string

func (h *headerList) String() string { return fmt.Sprint([][2]string(*h)) }
func (h *headerList) Set(text string) error {
	i := strings.IndexAny(text, "=:")
	if i <= 0 {
		return fmt.Errorf("want NAME=VALUE, is %q", text)
	}
	*h = append(*h, [2]string{strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+1:])})
	return nil
}

func runExplain(ctx context.Context, env Env) error {
	o := newOptions(env, "explain", "SERVICE [PATH] [flags]")
	var headers headerList
	o.Var(&headers, "header", "header `NAME=VALUE` of the request; may be repeated")
	o.Var(&headers, "H", "same as --header, also as \"NAME: VALUE\"")
	method := o.String("method", "GET", "method of the request")
	from := o.String("from", defaultCaller, "`WORKLOAD` that sends the request, or istio-ingressgateway")
	o.withOutput("output `FORMAT`: json; default text")
	args, err := o.parse()
	if err != nil {
		return err
	}
	if err := o.wantOutput("", "json"); err != nil {
		return err
	}
	if len(args) < 1 || len(args) > 2 {
		return usagef("want SERVICE and PATH, for example: explain reviews /reviews/0")
	}
	in := meshapi.ExplainRequest{From: *from, Method: strings.ToUpper(*method), Authority: args[0], Path: "/", Headers: headers}
	if len(args) == 2 {
		in.Path = args[1]
	}
	if !strings.HasPrefix(in.Path, "/") {
		return usagef("path %q: must begin with /", in.Path)
	}
	var out meshapi.ExplainResponse
	if _, err := o.call(ctx, "explain", nil, in, &out); err != nil {
		return err
	}
	if o.output == "json" {
		encoder := json.NewEncoder(env.Stdout)
		encoder.SetIndent("", "    ")
		return encoder.Encode(out)
	}
	explain(env.Stdout, in, out)
	return nil
}

func explain(w io.Writer, in meshapi.ExplainRequest, out meshapi.ExplainResponse) {
	fmt.Fprintf(w, "%s %s to %s, from %s\n", in.Method, in.Path, in.Authority, in.From)
	if out.Host != "" {
		fmt.Fprintf(w, "virtual host %s\n", out.Host)
	}
	for i, step := range out.Steps {
		verdict := "no: "
		if step.Taken {
			verdict = "yes: "
		}
		fmt.Fprintf(w, "%3d. %s\n     %s%s\n", i+1, step.Source, verdict, strings.Join(step.Reasons, ", "))
	}
	if out.Reason != "" {
		fmt.Fprintf(w, "%s\n", out.Reason)
	}
	for _, to := range out.To {
		fmt.Fprintf(w, "goes to %s\n", to.Action)
		switch {
		case strings.HasPrefix(to.Action, "redirect") || strings.HasPrefix(to.Action, "answer"):
		case to.Missing:
			fmt.Fprintln(w, "        there is no such cluster: 503, flag NC")
		case len(to.Endpoints) == 0:
			fmt.Fprintln(w, "        no endpoint is up: 503 no healthy upstream, flag UH")
		default:
			fmt.Fprintf(w, "        %s\n", strings.Join(to.Endpoints, "\n        "))
		}
		for _, pod := range to.Denied {
			fmt.Fprintf(w, "        %s denies it: 403 RBAC: access denied\n", pod)
		}
	}
	if len(out.Settings) > 0 {
		fmt.Fprintf(w, "with %s\n", strings.Join(out.Settings, ", "))
	}
	if out.Operation != "" {
		fmt.Fprintf(w, "spans are named %s\n", out.Operation)
	}
}
