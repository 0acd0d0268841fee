package meshctl

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"

	"example.com/bookinfo/services/sidecar/meshapi"
)

// defaultCaller is the workload whose routes are shown unless --from names another: it calls every service that users
// see.
const defaultCaller = "productpage-v1"

func runRoutes(ctx context.Context, env Env) error {
	o := newOptions(env, "routes", "[SERVICE] [flags]")
	from := o.String("from", defaultCaller, "`WORKLOAD` whose proxy is asked, or istio-ingressgateway for the gateway's routes")
	o.withOutput("output `FORMAT`: json; default a table")
	args, err := o.parse()
	if err != nil {
		return err
	}
	if err := o.wantOutput("", "json"); err != nil {
		return err
	}
	if len(args) > 1 {
		return usagef("want at most one service, has %q too", args[1])
	}
	var routes []meshapi.RouteView
	if _, err := o.call(ctx, "routes", url.Values{"from": {*from}}, nil, &routes); err != nil {
		return err
	}
	if len(args) == 1 {
		routes = keep(routes, func(r meshapi.RouteView) bool { return isHost(r, args[0]) })
		if len(routes) == 0 {
			return fmt.Errorf("%s has no route to %q", *from, args[0])
		}
	}
	if o.output == "json" {
		encoder := json.NewEncoder(env.Stdout)
		encoder.SetIndent("", "    ")
		return encoder.Encode(routes)
	}
	if len(routes) == 0 {
		fmt.Fprintf(env.Stderr, "%s has no routes: every request is answered 404.\n", *from)
		return nil
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "HOST\tMATCH\tTO\tSETTINGS\tFROM RULE")
	for _, r := range routes {
		host := r.Host
		for i := range max(len(r.To), 1) {
			to := ""
			if i < len(r.To) {
				to = r.To[i]
			}
			if i == 0 {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", host, r.Match, to, strings.Join(r.Settings, ", "), r.Source)
			} else {
				fmt.Fprintf(w, "\t\t%s\t\t\n", to)
			}
		}
	}
	return w.Flush()
}

// isHost tells whether the virtual host answers to the name, with or without a port.
func isHost(r meshapi.RouteView, name string) bool {
	if r.Host == name {
		return true
	}
	name, port, _ := strings.Cut(name, ":")
	for _, domain := range r.Domains {
		if domain == name && (port == "" || port == fmt.Sprint(r.Port)) {
			return true
		}
	}
	return false
}
