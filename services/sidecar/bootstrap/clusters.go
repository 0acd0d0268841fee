package bootstrap

import (
	"maps"
	"math"
	"slices"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstream "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/bookinfo/services/sidecar/route"
)

// tableClusters writes the clusters of a table that are not there yet, in order of their names.
func (w *writer) tableClusters(table *route.Table) error {
	for _, name := range slices.Sorted(maps.Keys(table.Clusters)) {
		if w.clusters[name] {
			continue
		}
		w.clusters[name] = true
		written, err := clusterOf(table.Clusters[name])
		if err != nil {
			return err
		}
		w.static.Clusters = append(w.static.Clusters, written)
	}
	return nil
}

func clusterOf(c *route.Cluster) (*cluster.Cluster, error) {
	out := &cluster.Cluster{
		// The semicolon ends the name in Envoy's statistics, and stands in the tag upstream_cluster.name.
		Name: c.Name, AltStatName: c.Name + ";",
		ConnectTimeout:       durationpb.New(c.ConnectTimeout),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		LbPolicy:             balancer(c.Balancer.Kind),
		CircuitBreakers:      &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{thresholds(c.Limits)}},
		CommonLbConfig:       &cluster.Cluster_CommonLbConfig{HealthyPanicThreshold: &envoytype.Percent{}},
	}
	if c.DNS {
		out.ClusterDiscoveryType = &cluster.Cluster_Type{Type: cluster.Cluster_STRICT_DNS}
	}
	switch c.Balancer.Kind {
	case route.RingHash:
		out.LbConfig = &cluster.Cluster_RingHashLbConfig_{RingHashLbConfig: &cluster.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(c.Balancer.MinimumRingSize)}}
	case route.Maglev:
		if c.Balancer.TableSize > 0 {
			out.LbConfig = &cluster.Cluster_MaglevLbConfig_{MaglevLbConfig: &cluster.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(c.Balancer.TableSize)}}
		}
	}
	load := &endpoint.ClusterLoadAssignment{ClusterName: c.Name}
	for i := range c.Endpoints {
		one, err := endpointOf(&c.Endpoints[i])
		if err != nil {
			return nil, err
		}
		load.Endpoints = append(load.Endpoints, &endpoint.LocalityLbEndpoints{LbEndpoints: []*endpoint.LbEndpoint{one}})
	}
	if len(load.Endpoints) > 1 {
		all := load.Endpoints[0]
		for _, more := range load.Endpoints[1:] {
			all.LbEndpoints = append(all.LbEndpoints, more.LbEndpoints...)
		}
		load.Endpoints = load.Endpoints[:1]
	}
	out.LoadAssignment = load
	if o := c.Outlier; o != nil {
		out.OutlierDetection = outlier(o)
		out.CommonLbConfig.HealthyPanicThreshold.Value = float64(o.MinHealthPercent)
	}
	if err := protocol(out, c.Limits); err != nil {
		return nil, err
	}
	return out, transport(out, c.TLS)
}

func endpointOf(e *route.Endpoint) (*endpoint.LbEndpoint, error) {
	address, err := socket(e.Address)
	if err != nil {
		return nil, err
	}
	out := &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: address}}}
	if e.Weight > 0 {
		out.LoadBalancingWeight = wrapperspb.UInt32(e.Weight)
	}
	return out, nil
}

func balancer(kind route.BalancerKind) cluster.Cluster_LbPolicy {
	switch kind {
	case route.RoundRobin:
		return cluster.Cluster_ROUND_ROBIN
	case route.Random:
		return cluster.Cluster_RANDOM
	case route.RingHash:
		return cluster.Cluster_RING_HASH
	case route.Maglev:
		return cluster.Cluster_MAGLEV
	}
	return cluster.Cluster_LEAST_REQUEST
}

// thresholds has no limit where the rule names none, as in Istio: Envoy's own defaults are 1024 and 3 retries.
func thresholds(l route.Limits) *cluster.CircuitBreakers_Thresholds {
	limit := func(n int) *wrapperspb.UInt32Value {
		if n <= 0 {
			return wrapperspb.UInt32(math.MaxUint32)
		}
		return wrapperspb.UInt32(uint32(n))
	}
	return &cluster.CircuitBreakers_Thresholds{
		MaxConnections: limit(l.MaxConnections), MaxPendingRequests: limit(l.MaxPending), MaxRequests: limit(l.MaxRequests), MaxRetries: limit(l.MaxRetries),
	}
}

func outlier(o *route.Outlier) *cluster.OutlierDetection {
	out := &cluster.OutlierDetection{
		Interval: durationpb.New(o.Interval), BaseEjectionTime: durationpb.New(o.BaseEjection),
		MaxEjectionPercent:   wrapperspb.UInt32(uint32(o.MaxEjectionPercent)),
		EnforcingSuccessRate: wrapperspb.UInt32(0),
	}
	enforce := func(count int) (*wrapperspb.UInt32Value, *wrapperspb.UInt32Value) {
		if count <= 0 {
			return nil, wrapperspb.UInt32(0)
		}
		return wrapperspb.UInt32(uint32(count)), wrapperspb.UInt32(100)
	}
	out.Consecutive_5Xx, out.EnforcingConsecutive_5Xx = enforce(o.Consecutive5xx)
	out.ConsecutiveGatewayFailure, out.EnforcingConsecutiveGatewayFailure = enforce(o.ConsecutiveGateway)
	return out
}

func protocol(out *cluster.Cluster, l route.Limits) error {
	if l.MaxRequestsPerConnection == 0 && l.IdleTimeout == 0 {
		return nil
	}
	options := &core.HttpProtocolOptions{}
	if l.MaxRequestsPerConnection > 0 {
		options.MaxRequestsPerConnection = wrapperspb.UInt32(uint32(l.MaxRequestsPerConnection))
	}
	if l.IdleTimeout > 0 {
		options.IdleTimeout = durationpb.New(l.IdleTimeout)
	}
	return useProtocol(out, &upstream.HttpProtocolOptions{
		CommonHttpProtocolOptions: options,
		UpstreamProtocolOptions: &upstream.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstream.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstream.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &core.Http1ProtocolOptions{}},
		}},
	})
}

func useProtocol(out *cluster.Cluster, options *upstream.HttpProtocolOptions) error {
	config, err := pack(options)
	out.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": config}
	return err
}

func transport(out *cluster.Cluster, t *route.TLS) error {
	if t == nil {
		return nil
	}
	context := &tls.UpstreamTlsContext{Sni: t.SNI, CommonTlsContext: &tls.CommonTlsContext{}}
	if !t.Insecure {
		context.CommonTlsContext.ValidationContextType = &tls.CommonTlsContext_ValidationContext{ValidationContext: &tls.CertificateValidationContext{
			TrustedCa: &core.DataSource{Specifier: &core.DataSource_Filename{Filename: "/etc/ssl/certs/ca-certificates.crt"}},
		}}
	}
	config, err := pack(context)
	out.TransportSocket = &core.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: config}}
	return err
}

// collector writes the cluster that takes the spans.
func (w *writer) collector() error {
	if w.Collector == "" {
		return nil
	}
	written, err := clusterOf(&route.Cluster{
		Name: collectorCluster, Endpoints: []route.Endpoint{{Address: w.Collector}}, ConnectTimeout: 1e9, DNS: true,
	})
	if err != nil {
		return err
	}
	if w.Format == "w3c" {
		err = useProtocol(written, &upstream.HttpProtocolOptions{
			UpstreamProtocolOptions: &upstream.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstream.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstream.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &core.Http2ProtocolOptions{}},
			}},
		})
	}
	w.static.Clusters = append(w.static.Clusters, written)
	return err
}
