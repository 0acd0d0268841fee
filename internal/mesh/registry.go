package mesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Service is a name that workloads answer to, as a Kubernetes Service or a ServiceEntry makes one.
type Service struct {
	Name, Namespace string
	// Address is the cluster IP, by which the service may also be called; "" if it has none.
	Address string
	Ports   []ServicePort
	// Selector chooses the workloads of the same namespace that have all these labels.
	Selector map[string]string

	// External tells that the service is a ServiceEntry's host, Hostname its full name.
	External bool
	Hostname string
	// Endpoints of an external service that lists its own.
	Endpoints []ExternalEndpoint
	// DNS tells that endpoints' addresses are names to be looked up when connecting.
	DNS bool
	// ExportTo lists the namespaces that see the service; empty or "*" is all, "." its own.
	ExportTo []string
}

// ServicePort is one port of a service.
type ServicePort struct {
	Name   string
	Number int
	// Protocol in capital letters: HTTP, HTTP2, GRPC, HTTPS, TLS, TCP.
	Protocol string
	// TargetPort of the workloads; 0 is Number.
	TargetPort int
}

// HTTP tells whether the port's requests can be routed by what they say.
func (p ServicePort) HTTP() bool {
	switch p.Protocol {
	case "HTTP", "HTTP2", "GRPC", "":
		return true
	}
	return false
}

// ExternalEndpoint is one address of a ServiceEntry.
type ExternalEndpoint struct {
	Address string
	Labels  map[string]string
	// Ports by the name of the service port; a port not listed is the service port's target.
	Ports  map[string]int
	Weight uint32
}

// Host is the service's full name: "reviews.default.svc.cluster.local".
func (s *Service) Host() string {
	if s.Hostname != "" {
		return s.Hostname
	}
	return s.Name + "." + s.Namespace + ".svc.cluster.local"
}

// Port returns the port with that number.
func (s *Service) Port(number int) (ServicePort, bool) {
	for _, port := range s.Ports {
		if port.Number == number {
			return port, true
		}
	}
	return ServicePort{}, false
}

// Workload is one instance: a pod with its sidecar, or a gateway.
type Workload struct {
	// Name is the deployment's, for example "reviews-v1"; Pod that of the instance.
	Name, Namespace, Pod, IP string
	Labels                   map[string]string
	ServiceAccount           string
	// Gateway tells that it is an ingress gateway and not an application.
	Gateway bool
	// Ports by number: where the instance can be reached. See [Mesh.SetAddress].
	Ports map[int]Address
}

// Address is where one port of a workload really listens. On a cluster both are pod IP and port; in the demo every
// workload lives on 127.0.0.1 with ports that the system chose.
type Address struct {
	// Proxy is the sidecar's inbound listener, where callers connect; App the application behind it.
	Proxy, App string
}

// Principal is the identity that the workload's certificate would carry, without "spiffe://".
func (w *Workload) Principal(trustDomain string) string {
	return fmt.Sprintf("%s/ns/%s/sa/%s", trustDomain, w.Namespace, w.ServiceAccount)
}

// App is the workload's canonical service: label service.istio.io/canonical-name, else app, else its name.
func (w *Workload) App() string {
	for _, label := range []string{"service.istio.io/canonical-name", "app.kubernetes.io/name", "app"} {
		if value := w.Labels[label]; value != "" {
			return value
		}
	}
	return w.Name
}

// Version is the workload's canonical revision.
func (w *Workload) Version() string {
	for _, label := range []string{"service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"} {
		if value := w.Labels[label]; value != "" {
			return value
		}
	}
	return "latest"
}

// Selected tells whether labels has every pair of selector. An empty selector chooses none.
func Selected(selector, labels map[string]string) bool {
	return len(selector) > 0 && Subsumes(selector, labels)
}

// Subsumes tells whether labels has every pair of wanted; an empty one is always had.
func Subsumes(wanted, labels map[string]string) bool {
	for key, value := range wanted {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// FullHost completes a name as Istio does: one without a dot is a service of the namespace, and every other name,
// "reviews.default" too, stands for itself.
func FullHost(host, namespace string) string {
	if host == "*" || strings.Contains(host, ".") {
		return host
	}
	return host + "." + namespace + ".svc.cluster.local"
}

// HostMatches tells whether a pattern ("*", "*.example.com" or a name) includes host, which may itself be a pattern.
func HostMatches(pattern, host string) bool {
	if pattern == "*" || pattern == host {
		return true
	}
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix) && len(host) > len(suffix)
	}
	return false
}

func (s Service) clone() *Service {
	s.Ports = slices.Clone(s.Ports)
	s.Selector = maps.Clone(s.Selector)
	return &s
}

func (w Workload) clone() *Workload {
	w.Labels = maps.Clone(w.Labels)
	w.Ports = maps.Clone(w.Ports)
	return &w
}
