// Package bootstrap writes the configuration with which a real Envoy does what the sidecar here does: the same tables,
// as Envoy's own types, with Istio's settings of connection manager and tracer. `envoy -c FILE` runs it as it is; no
// control plane is needed.
package bootstrap

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"

	admin "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/compile"
	"example.com/bookinfo/services/sidecar/route"
)

// Config is what Envoy is told beside the tables. Addresses are host:port; a listener whose address is empty is left
// out.
type Config struct {
	Workload    *mesh.Workload
	TrustDomain string // "cluster.local" if empty
	Tables      compile.Tables

	Inbound, Outbound, Gateway, Admin string

	// Format of trace headers: b3, b3+w3c or w3c. The first two report to Zipkin, the third by OTLP.
	Format string
	// Collector takes spans: Zipkin's on its /api/v2/spans, OTLP over gRPC; no tracing if empty.
	Collector string
	// Sampling in percent.
	Sampling float64
	// GatewaySpans is 2 for a SERVER and a CLIENT span at a gateway, 1 for one CLIENT span.
	GatewaySpans int
}

// New writes the bootstrap. The error names a table entry that Envoy's types cannot hold.
func New(c Config) (*admin.Bootstrap, error) {
	if c.TrustDomain == "" {
		c.TrustDomain = "cluster.local"
	}
	w := &writer{Config: c, static: &admin.Bootstrap_StaticResources{}, clusters: make(map[string]bool)}
	out := &admin.Bootstrap{Node: w.node(), StaticResources: w.static}
	if c.Admin != "" {
		address, err := socket(c.Admin)
		if err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
		out.Admin = &admin.Admin{Address: address}
	}
	for _, l := range []struct {
		direction string
		address   string
		table     *route.Table
	}{{"inbound", c.Inbound, c.Tables.Inbound}, {"outbound", c.Outbound, c.Tables.Outbound}, {"gateway", c.Gateway, c.Tables.Gateway}} {
		if l.address == "" || l.table == nil {
			continue
		}
		if err := w.listener(l.direction, l.address, l.table); err != nil {
			return nil, fmt.Errorf("%s listener: %w", l.direction, err)
		}
	}
	if err := w.collector(); err != nil {
		return nil, fmt.Errorf("collector: %w", err)
	}
	return out, nil
}

// JSON writes the bootstrap as Envoy reads it, indented. Unlike protojson's own indentation it is always the same.
func JSON(b *admin.Bootstrap) ([]byte, error) {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return nil, err
	}
	return json.MarshalIndent(value, "", "  ")
}

// writer gathers listeners and clusters.
type writer struct {
	Config
	static   *admin.Bootstrap_StaticResources
	clusters map[string]bool
}

// node is the proxy's identity as Istio writes it; its cluster is the service name of every span.
func (w *writer) node() *core.Node {
	kind := "sidecar"
	if w.Workload.Gateway {
		kind = "router"
	}
	namespace := w.Workload.Namespace
	return &core.Node{
		Id:      kind + "~" + w.Workload.IP + "~" + w.Workload.Pod + "." + namespace + "~" + namespace + ".svc.cluster.local",
		Cluster: w.Workload.App() + "." + namespace,
	}
}

func (w *writer) listener(direction, address string, table *route.Table) error {
	bind, err := socket(address)
	if err != nil {
		return err
	}
	manager, err := w.manager(direction, table)
	if err != nil {
		return err
	}
	traffic := core.TrafficDirection_OUTBOUND
	if direction == "inbound" {
		traffic = core.TrafficDirection_INBOUND
	}
	w.static.Listeners = append(w.static.Listeners, &listener.Listener{
		Name: direction, Address: bind, TrafficDirection: traffic,
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listener.Filter_TypedConfig{TypedConfig: manager},
		}}}},
	})
	return w.tableClusters(table)
}

func socket(address string) (*core.Address, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: want host:port", address)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address %q: the port must be a number up to 65535", address)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: host, PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(number)},
	}}}, nil
}

// pack puts a message into an Any, as extensions are configured.
func pack(message proto.Message) (*anypb.Any, error) { return anypb.New(message) }
