// Package mesh is the model that Istio files are read into: the services and workloads of a mesh, and the resources
// (VirtualService, DestinationRule, Gateway, ServiceEntry, Telemetry, AuthorizationPolicy, and Gateway API's Gateway
// and HTTPRoute) that were applied to it. It parses strictly, validates as istioctl does, and changes as a whole or not
// at all. It knows nothing of proxies: services/sidecar/compile writes route tables from a [Snapshot], and
// services/sidecar/bootstrap writes configuration for a real Envoy.
package mesh
