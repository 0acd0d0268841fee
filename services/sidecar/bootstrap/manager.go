package bootstrap

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	trace "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	cors "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	fault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuid "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	tag "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/bookinfo/services/sidecar/route"
)

// manager writes the HTTP connection manager with Istio's settings.
func (w *writer) manager(direction string, table *route.Table) (*anypb.Any, error) {
	routes, err := w.routes(direction, table)
	if err != nil {
		return nil, err
	}
	out := &hcm.HttpConnectionManager{
		StatPrefix:       direction,
		RouteSpecifier:   &hcm.HttpConnectionManager_RouteConfig{RouteConfig: routes},
		UseRemoteAddress: wrapperspb.Bool(direction == "gateway"),
		NormalizePath:    wrapperspb.Bool(true),
		// 0 s: a stream may be silent for as long as it likes, as in Istio.
		StreamIdleTimeout: durationpb.New(0),
		UpgradeConfigs:    []*hcm.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
	}
	switch direction {
	case "inbound":
		out.ServerName = "istio-envoy"
		// The caller's sidecar wrote its principal there; without mutual TLS it is taken on trust.
		out.ForwardClientCertDetails = hcm.HttpConnectionManager_ALWAYS_FORWARD_ONLY
	case "gateway":
		out.ServerName = "istio-envoy"
	}
	if out.RequestIdExtension, err = requestID(); err != nil {
		return nil, err
	}
	if out.Tracing, err = w.tracing(direction, table.Tracing); err != nil {
		return nil, err
	}
	if out.HttpFilters, err = w.filters(table); err != nil {
		return nil, err
	}
	return pack(out)
}

func requestID() (*hcm.RequestIDExtension, error) {
	config, err := pack(&uuid.UuidRequestIdConfig{UseRequestIdForTraceSampling: wrapperspb.Bool(true)})
	return &hcm.RequestIDExtension{TypedConfig: config}, err
}

// filters are those of a request's way: access, CORS, faults, and the router at the end.
func (w *writer) filters(table *route.Table) ([]*hcm.HttpFilter, error) {
	type named struct {
		name   string
		config proto.Message
	}
	var chain []named
	for _, rules := range rbacFilters(table.Authorization) {
		chain = append(chain, named{"envoy.filters.http.rbac", rules})
	}
	chain = append(chain,
		named{"envoy.filters.http.cors", &cors.Cors{}},
		named{"envoy.filters.http.fault", &fault.HTTPFault{}},
		named{"envoy.filters.http.router", &router.Router{}},
	)
	var filters []*hcm.HttpFilter
	for _, f := range chain {
		config, err := pack(f.config)
		if err != nil {
			return nil, err
		}
		filters = append(filters, &hcm.HttpFilter{Name: f.name, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: config}})
	}
	return filters, nil
}

// collectorCluster is where the tracer sends spans.
const collectorCluster = "collector"

func (w *writer) tracing(direction string, override *route.Tracing) (*hcm.HttpConnectionManager_Tracing, error) {
	if w.Collector == "" || override != nil && override.Disabled {
		return nil, nil
	}
	sampling := w.Sampling
	if override != nil && override.Sampling != nil {
		sampling = *override.Sampling
	}
	out := &hcm.HttpConnectionManager_Tracing{
		ClientSampling: &envoytype.Percent{Value: 100}, OverallSampling: &envoytype.Percent{Value: 100},
		RandomSampling: &envoytype.Percent{Value: sampling},
		CustomTags:     w.customTags(override),
	}
	if direction == "gateway" && w.GatewaySpans != 1 {
		out.SpawnUpstreamSpan = wrapperspb.Bool(true)
	}
	var err error
	out.Provider, err = w.tracer()
	return out, err
}

func (w *writer) tracer() (*trace.Tracing_Http, error) {
	if w.Format == "w3c" {
		config, err := pack(&trace.OpenTelemetryConfig{
			GrpcService: &core.GrpcService{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: collectorCluster},
			}},
			ServiceName: w.Workload.App() + "." + w.Workload.Namespace,
		})
		return &trace.Tracing_Http{Name: "envoy.tracers.opentelemetry", ConfigType: &trace.Tracing_Http_TypedConfig{TypedConfig: config}}, err
	}
	zipkin := &trace.ZipkinConfig{
		CollectorCluster: collectorCluster, CollectorEndpoint: "/api/v2/spans", CollectorEndpointVersion: trace.ZipkinConfig_HTTP_JSON,
		TraceId_128Bit: true, SharedSpanContext: wrapperspb.Bool(false),
	}
	if w.Format == "b3+w3c" {
		zipkin.TraceContextOption = trace.ZipkinConfig_USE_B3_WITH_W3C_PROPAGATION
	}
	config, err := pack(zipkin)
	return &trace.Tracing_Http{Name: "envoy.tracers.zipkin", ConfigType: &trace.Tracing_Http_TypedConfig{TypedConfig: config}}, err
}

// customTags are Istio's own and those of a Telemetry resource.
func (w *writer) customTags(override *route.Tracing) []*tag.CustomTag {
	literal := func(name, value string) *tag.CustomTag {
		return &tag.CustomTag{Tag: name, Type: &tag.CustomTag_Literal_{Literal: &tag.CustomTag_Literal{Value: value}}}
	}
	tags := []*tag.CustomTag{
		literal("istio.canonical_revision", w.Workload.Version()), literal("istio.canonical_service", w.Workload.App()),
		literal("istio.mesh_id", w.TrustDomain), literal("istio.namespace", w.Workload.Namespace), literal("istio.cluster_id", "Kubernetes"),
	}
	if override == nil {
		return tags
	}
	for _, t := range override.Tags {
		switch {
		case t.Header != "":
			tags = append(tags, &tag.CustomTag{Tag: t.Name, Type: &tag.CustomTag_RequestHeader{RequestHeader: &tag.CustomTag_Header{Name: t.Header, DefaultValue: t.Default}}})
		case t.Environment != "":
			tags = append(tags, &tag.CustomTag{Tag: t.Name, Type: &tag.CustomTag_Environment_{Environment: &tag.CustomTag_Environment{Name: t.Environment, DefaultValue: t.Default}}})
		case t.Literal != "":
			tags = append(tags, literal(t.Name, t.Literal))
		}
	}
	return tags
}

// addedHeaders carries the caller's principal to the other sidecar, in place of a certificate.
func (w *writer) addedHeaders(direction string) []*core.HeaderValueOption {
	if direction == "inbound" {
		return nil
	}
	return []*core.HeaderValueOption{{
		Header:       &core.HeaderValue{Key: "x-forwarded-client-cert", Value: "URI=spiffe://" + w.Workload.Principal(w.TrustDomain)},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}
}
