package compile

import (
	"slices"
	"strconv"
	"strings"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

// outbound writes the table for the application's own calls: a virtual host for each port of each service that the
// workload may see, with the routes of the VirtualService or HTTPRoutes for it, or else one route to the service.
func (b *builder) outbound() *route.Table {
	var hosts []*route.VirtualHost
	rules := b.meshRules()
	for _, service := range b.s.Services {
		if !mesh.Visible(service.ExportTo, service.Namespace, b.w.Namespace) {
			continue
		}
		for _, port := range service.Ports {
			if !port.HTTP() {
				continue
			}
			host := &route.VirtualHost{
				Name: service.Host() + ":" + strconv.Itoa(port.Number), Port: port.Number,
				Domains: b.domains(service),
			}
			host.Routes = rules.of(service, port.Number)
			if host.Routes == nil {
				host.Routes = []*route.Route{b.defaultRoute(service.Host(), port.Number)}
			}
			hosts = append(hosts, host)
		}
	}
	// A host of a VirtualService that is no service is answered on port 80, as in Istio.
	hosts = append(hosts, rules.otherHosts()...)
	return b.table("outbound", "outbound", hosts)
}

func (b *builder) table(name, direction string, hosts []*route.VirtualHost) *route.Table {
	t := route.NewTable(name, b.s.Version, hosts, b.clusters)
	t.Tracing = b.tracing(direction)
	return t
}

// defaultRoute sends everything to the service itself, with Istio's retries.
func (b *builder) defaultRoute(host string, port int) *route.Route {
	return &route.Route{
		Name: "default", Source: "Service " + host, Operation: host + ":" + strconv.Itoa(port) + "/*",
		Clusters: []route.WeightedCluster{{Cluster: clusterName(host, port, ""), Weight: 100}},
		Retry:    defaultRetry(),
		Hash:     b.rules.hash(host, port, ""),
	}
}

// domains are the names by which a service may be called from the workload's namespace.
func (b *builder) domains(service *mesh.Service) []string {
	domains := []string{service.Host()}
	if !service.External {
		parts := []string{service.Name, service.Namespace, "svc"}
		for n := len(parts); n > 0; n-- {
			if n > 1 || service.Namespace == b.w.Namespace {
				domains = append(domains, strings.Join(parts[:n], "."))
			}
		}
		slices.Sort(domains[1:])
	}
	if service.Address != "" {
		domains = append(domains, service.Address)
	}
	return domains
}
