// Package compose writes what the real Envoys of docker-compose.yaml are configured with: one file for each workload and
// format of trace headers, and what the applications and the stand-in for Envoy need to agree with them. The files are committed under
// deploy/envoy; `bookinfo envoy-config --compose` writes them anew.
package compose

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	admin "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	common "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dns "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/yaml"

	istiofiles "example.com/bookinfo/deploy/istio"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/bootstrap"
	"example.com/bookinfo/services/sidecar/compile"
)

// Addresses of every pod, that is, of the containers that share one network namespace.
const (
	// A pod's Envoy takes requests from the network on Bookinfo's port, so that nobody has to know of it.
	inbound = "0.0.0.0:9080"
	// The application's calls leave through its Envoy, as its own /etc/hosts says that the services are there. The
	// listeners share the port (Envoy sets SO_REUSEPORT; the more specific address wins), so that the Host header, and
	// with it http.url in the spans, is a cluster's: details:9080.
	outbound = "127.0.0.1:9080"
	// The application itself, out of the network's reach.
	app     = "127.0.0.1:9081"
	gateway = "0.0.0.0:8080"
	ready   = "127.0.0.1:15000"
)

// ratings is the network alias of all versions of ratings that run: with the databases' profiles there are more.
const ratings = "ratings-endpoints"

// flushInterval is how long a span waits in Envoy for others; Envoy's own default is 5 s.
const flushInterval = 200 * time.Millisecond

// refresh is how soon a container that came back with another address is found.
const refresh = time.Second

const header = "# Written by `make envoy-config`; a test tells when it is out of date.\n"

// format is a way to write trace context.
type format struct {
	name      string
	collector string // of the console
	forward   string // FORWARD_HEADERS of the applications
	sidecar   string // flag of the stand-in for the collector
}

func formats() []format {
	return []format{
		{"b3", "console:9411", "request-id,client-trace-id,b3,b3-single", "zipkin"},
		{"b3+w3c", "console:9411", "request-id,client-trace-id,b3,b3-single,w3c,baggage", "zipkin"},
		{"w3c", "console:4317", "request-id,client-trace-id,w3c,baggage", "otlp"},
	}
}

// Files returns the contents of deploy/envoy by their paths. Rules are Istio's or Gateway API's files to follow beside
// bookinfo-gateway.yaml; the error is that of the first resource that is not understood.
func Files(rules []mesh.File) (map[string][]byte, error) {
	m, err := pods(len(rules) > 0)
	if err != nil {
		return nil, err
	}
	edge, err := istiofiles.Files().ReadFile("bookinfo-gateway.yaml")
	if err != nil {
		return nil, err
	}
	rules = append([]mesh.File{{Name: "bookinfo-gateway.yaml", Data: edge}}, rules...)
	for _, problem := range m.Apply(rules, "default", false).Problems {
		if !problem.Warning {
			return nil, errors.New(problem.String())
		}
	}
	s := m.Snapshot()
	files := make(map[string][]byte)
	for _, f := range formats() {
		// One that the shell sets goes before that of the format.
		files[f.name+"/forward.env"] = []byte(header + "FORWARD_HEADERS=${FORWARD_HEADERS:-" + f.forward + "}\n")
		files[f.name+"/sidecar.yaml"] = fmt.Appendf(nil, "%sformat: %s\n%s: http://%s\nflush-interval: %s\n", header, f.name, f.sidecar, f.collector, flushInterval)
		for _, w := range s.Workloads {
			data, err := configuration(s, w, f)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", w.Name, f.name, err)
			}
			files[f.name+"/"+w.Name+".yaml"] = append([]byte(header), data...)
		}
	}
	return files, nil
}

// pods is Bookinfo with a pod of each version, named as its container. The services of single versions
// (bookinfo-versions.yaml) are left out unless rules may name them.
func pods(versions bool) (*mesh.Mesh, error) {
	config := mesh.Bookinfo()
	if !versions {
		config.Services = slices.DeleteFunc(config.Services, func(s mesh.Service) bool { return s.Selector["version"] != "" })
	}
	for i := range config.Workloads {
		w := &config.Workloads[i]
		if w.Gateway {
			w.Name = "gateway"
		}
		w.Pod = w.Name
	}
	m := mesh.New(config)
	for _, w := range config.Workloads {
		if w.Gateway {
			continue
		}
		host := w.Name
		if w.Name == "ratings-v1" {
			host = ratings
		}
		if err := m.SetAddress(w.Pod, 9080, mesh.Address{Proxy: host + ":9080", App: app}); err != nil {
			return nil, err
		}
	}
	// They answer to the alias, so nobody needs their own address.
	for _, w := range []struct{ name, version string }{{"ratings-v2", "v2"}, {"ratings-v2-mysql", "v2-mysql"}} {
		m.AddWorkload(mesh.Workload{
			Name: w.name, Namespace: "default", Pod: w.name, IP: "10.244.0.17",
			Labels:         map[string]string{"app": "ratings", "version": w.version},
			ServiceAccount: "bookinfo-ratings", Ports: map[int]mesh.Address{9080: {App: app}},
		})
	}
	return m, nil
}

func configuration(s *mesh.Snapshot, w *mesh.Workload, f format) ([]byte, error) {
	config := bootstrap.Config{
		Workload: w, TrustDomain: s.TrustDomain, Tables: compile.For(s, w), Admin: ready,
		Format: f.name, Collector: f.collector, Sampling: 100, GatewaySpans: 2,
	}
	if w.Gateway {
		config.Gateway = gateway
	} else {
		config.Inbound, config.Outbound = inbound, outbound
	}
	written, err := bootstrap.New(config)
	if err != nil {
		return nil, err
	}
	for _, c := range written.StaticResources.Clusters {
		if err := resolve(c); err != nil {
			return nil, err
		}
	}
	if err := flush(written); err != nil {
		return nil, err
	}
	data, err := bootstrap.JSON(written)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(data)
}

// resolve has Envoy ask DNS for endpoints that are names.
func resolve(c *cluster.Cluster) error {
	named := false
	for _, locality := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			_, err := netip.ParseAddr(e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress())
			named = named || err != nil
		}
	}
	if !named {
		return nil
	}
	config, err := anypb.New(&dns.DnsCluster{
		DnsRefreshRate: durationpb.New(refresh), DnsLookupFamily: common.DnsLookupFamily_V4_PREFERRED,
	})
	c.ClusterDiscoveryType = &cluster.Cluster_ClusterType{ClusterType: &cluster.Cluster_CustomClusterType{
		Name: "envoy.cluster.dns", TypedConfig: config,
	}}
	return err
}

// flush sets how often spans are sent, by the runtime keys that Envoy's tracers read.
func flush(b *admin.Bootstrap) error {
	layer, err := structpb.NewStruct(map[string]any{
		"tracing.zipkin.flush_interval_ms":        float64(flushInterval.Milliseconds()),
		"tracing.opentelemetry.flush_interval_ms": float64(flushInterval.Milliseconds()),
	})
	b.LayeredRuntime = &admin.LayeredRuntime{Layers: []*admin.RuntimeLayer{{
		Name: "compose", LayerSpecifier: &admin.RuntimeLayer_StaticLayer{StaticLayer: layer},
	}}}
	return err
}
