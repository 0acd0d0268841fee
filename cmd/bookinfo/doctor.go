package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"example.com/bookinfo/internal/clusterdoctor"
	"example.com/bookinfo/internal/server"
)

// doctorCommand looks at a Bookinfo on a cluster.
func doctorCommand(ctx context.Context, c call) error {
	if len(c.args) == 0 || c.args[0] != "cluster" && c.args[0] != "-h" && c.args[0] != "--help" {
		return &server.UsageError{Err: errors.New("want: bookinfo doctor cluster; what is wrong with a trace stands in bookinfo trace show")}
	}
	if c.args[0] == "cluster" {
		c.args = c.args[1:]
	}
	var cfg clusterdoctor.Config
	set := c.flags("doctor cluster", "[flags]\n\nLooks at each step from the API server to a trace in the backend, and names the command that mends what is wrong.\nExit code 1 when a step failed.")
	set.StringVar(&cfg.Kubectl, "kubectl", "kubectl", "`PROGRAM` to call")
	set.StringVar(&cfg.Kubeconfig, "kubeconfig", "", "kubectl's `FILE`")
	set.StringVar(&cfg.Context, "context", "", "kubectl's `NAME` of a context")
	set.StringVar(&cfg.MeshKubeconfig, "mesh-kubeconfig", "", "`FILE` for Istio's resources where they are not in the cluster itself: that of an ASM instance")
	set.StringVar(&cfg.Namespace, "namespace", "default", "`NAME` of Bookinfo's namespace")
	set.StringVar(&cfg.GatewayNamespace, "gateway-namespace", "istio-system", "`NAME` of the ingress gateway's namespace, which is the mesh's root namespace")
	set.StringVar(&cfg.Gateway, "gateway", "istio-ingressgateway", "`NAME` of the ingress gateway's Service")
	set.StringVar(&cfg.Backend, "backend", "zipkin.observability:9411", "`SERVICE.NAMESPACE:PORT` to ask for the trace by Zipkin's API")
	set.DurationVar(&cfg.Wait, "wait", 0, "how long the trace may take to arrive (default 15s)")
	output := set.String("o", "text", "text or json")
	if err := c.parse(set, 0, 0); err != nil {
		return err
	}
	if *output != "text" && *output != "json" {
		return &server.UsageError{Err: fmt.Errorf("-o %q: want text or json", *output)}
	}
	results, err := clusterdoctor.Examine(ctx, cfg)
	if err != nil {
		return err
	}
	well := true
	if *output == "json" {
		for _, r := range results {
			well = well && r.Status != clusterdoctor.Failed
		}
		encoder := json.NewEncoder(c.stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(results); err != nil {
			return err
		}
	} else {
		well = clusterdoctor.Print(c.stdout, results)
	}
	if !well {
		return errors.New("something is wrong with the cluster; see above")
	}
	return nil
}
