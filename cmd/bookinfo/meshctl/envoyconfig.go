package meshctl

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/bootstrap/compose"
)

func runEnvoyConfig(ctx context.Context, env Env) error {
	o := newOptions(env, "envoy-config", "[WORKLOAD] [flags]")
	o.String("format", "w3c", "`FORMAT` of trace headers: b3, b3+w3c or w3c")
	o.String("collector", "", "`HOST:PORT` that takes spans: Zipkin's, for w3c OTLP over gRPC; no spans if empty")
	o.String("sampling", "100", "`PERCENT` of requests that are traced")
	o.String("gateway-spans", "2", "`SPANS` of a gateway: 2, or 1 as before Istio 1.28")
	o.String("inbound", "0.0.0.0:15006", "`ADDR` before the application; none if empty")
	o.String("outbound", "0.0.0.0:15001", "`ADDR` for the application's calls; none if empty")
	o.String("gateway", "0.0.0.0:8080", "`ADDR` of a gateway; none if empty")
	o.String("admin", "127.0.0.1:15000", "`ADDR` of Envoy's admin pages; none if empty")
	folder := o.String("compose", "", "`FOLDER` (deploy/envoy) in which to write, without a demo, what the Envoys of docker-compose.yaml read")
	o.withFiles()
	args, err := o.parse()
	if err != nil {
		return err
	}
	if len(args) > 1 {
		return usagef("want at most one workload, has %q too", args[1])
	}
	if *folder != "" {
		return writeCompose(o, *folder)
	}
	if len(o.files) > 0 {
		return usagef("-f goes with --compose; `bookinfo apply -f` tells a demo")
	}
	query := url.Values{"from": {defaultCaller}}
	if len(args) == 1 {
		query.Set("from", args[0])
	}
	// What is not given is left to the demo, which knows whether the workload is a gateway.
	o.Visit(func(f *flag.Flag) {
		if !slices.Contains([]string{"demo"}, f.Name) {
			query.Set(f.Name, f.Value.String())
		}
	})
	var config json.RawMessage
	if _, err := o.call(ctx, "envoy-config", query, nil, &config); err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, bytes.TrimSpace(config), "", "  "); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Stdout, indented.String())
	return err
}

// writeCompose writes every file of deploy/envoy.
func writeCompose(o *options, folder string) error {
	var rules []mesh.File
	if len(o.files) > 0 {
		var err error
		if rules, err = o.read(); err != nil {
			return err
		}
	}
	files, err := compose.Files(rules)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, files[name], 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.env.Stderr, "%d files in %s\n", len(files), folder)
	return nil
}
