package mesh

import (
	"time"

	yaml "go.yaml.in/yaml/v3"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

// Kind is a kind of resource with its group, as kubectl names them.
type Kind struct {
	// Name is the kind ("VirtualService"), Group its API group.
	Name, Group string
	// Versions that are understood, the current one first.
	Versions []string
	// Resource is the lower-case singular ("virtualservice"), Plural and Short what kubectl get also takes.
	Resource, Plural string
	Short            []string

	newSpec func() any
}

// Kinds lists every kind that can be applied, in the order in which they are printed.
func Kinds() []Kind {
	istio := []string{"v1", "v1beta1", "v1alpha3"}
	return []Kind{
		{"Gateway", "networking.istio.io", istio, "gateway", "gateways", []string{"gw"}, func() any { return new(networking.Gateway) }},
		{"VirtualService", "networking.istio.io", istio, "virtualservice", "virtualservices", []string{"vs"}, func() any { return new(networking.VirtualService) }},
		{"DestinationRule", "networking.istio.io", istio, "destinationrule", "destinationrules", []string{"dr"}, func() any { return new(networking.DestinationRule) }},
		{"ServiceEntry", "networking.istio.io", istio, "serviceentry", "serviceentries", []string{"se"}, func() any { return new(networking.ServiceEntry) }},
		{"Telemetry", "telemetry.istio.io", []string{"v1", "v1alpha1"}, "telemetry", "telemetries", []string{"telemetry"}, func() any { return new(telemetry.Telemetry) }},
		{"AuthorizationPolicy", "security.istio.io", []string{"v1", "v1beta1"}, "authorizationpolicy", "authorizationpolicies", []string{"ap"}, func() any { return new(security.AuthorizationPolicy) }},
		{"Gateway", "gateway.networking.k8s.io", []string{"v1", "v1beta1"}, "gateway", "gateways", []string{"gtw"}, func() any { return new(gateway.GatewaySpec) }},
		{"HTTPRoute", "gateway.networking.k8s.io", []string{"v1", "v1beta1"}, "httproute", "httproutes", nil, func() any { return new(gateway.HTTPRouteSpec) }},
	}
}

// String is how kubectl names the kind: "virtualservice.networking.istio.io".
func (k Kind) String() string { return k.Resource + "." + k.Group }

// Key names a resource.
type Key struct{ Group, Kind, Namespace, Name string }

// Resource is one applied object.
type Resource struct {
	Kind            Kind
	APIVersion      string
	Namespace, Name string
	Labels          map[string]string
	Annotations     map[string]string
	Created         time.Time
	Generation      int64

	// Spec is a pointer to the type of the kind: *networking.VirtualService, *gateway.HTTPRouteSpec, …
	Spec any
	// SpecJSON is the spec as it was written, with sorted keys.
	SpecJSON []byte

	// File and Line are where it was read from.
	File string
	Line int

	order uint64
	node  *yaml.Node
}

// Key returns the resource's.
func (r *Resource) Key() Key { return Key{r.Kind.Group, r.Kind.Name, r.Namespace, r.Name} }

// String is how kubectl names it: "virtualservice.networking.istio.io/reviews".
func (r *Resource) String() string { return r.Kind.String() + "/" + r.Name }

// FullName is how istioctl names it: "VirtualService default/reviews".
func (r *Resource) FullName() string { return r.Kind.Name + " " + r.Namespace + "/" + r.Name }

// Before tells whether the resource was created before other: where two claim the same, it wins.
func (r *Resource) Before(other *Resource) bool { return r.order < other.order }

// Of returns the resources whose spec is a T, in order.
func Of[T any](s *Snapshot) []Typed[T] {
	var found []Typed[T]
	for _, r := range s.Resources {
		if spec, ok := r.Spec.(T); ok {
			found = append(found, Typed[T]{r, spec})
		}
	}
	return found
}

// Typed is a resource with its spec's type known.
type Typed[T any] struct {
	*Resource
	Spec T
}
