package compile

import (
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	gatewayapi "sigs.k8s.io/gateway-api/apis/v1"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

// meshRules are the rules for calls between workloads: the VirtualServices of gateway "mesh" and the HTTPRoutes whose
// parent is a Service. For one host only the oldest counts, as in Istio: its sidecars do not merge VirtualServices.
type meshRules struct {
	b *builder
	// services by host, or by wildcard; the first created of each.
	services map[string]mesh.Typed[*networking.VirtualService]
	hosts    []string // of services, in order of creation
	wild     []string
	routes   []mesh.Typed[*gatewayapi.HTTPRouteSpec]
}

func (b *builder) meshRules() *meshRules {
	rules := &meshRules{b: b, services: make(map[string]mesh.Typed[*networking.VirtualService]), routes: mesh.Of[*gatewayapi.HTTPRouteSpec](b.s)}
	for _, v := range mesh.Of[*networking.VirtualService](b.s) {
		if !mesh.Visible(v.Spec.ExportTo, v.Namespace, b.w.Namespace) || len(v.Spec.Gateways) > 0 && !slices.Contains(v.Spec.Gateways, meshGateway) {
			continue
		}
		for _, host := range v.Spec.Hosts {
			full := strings.ToLower(mesh.FullHost(host, v.Namespace))
			if _, ok := rules.services[full]; ok {
				continue
			}
			rules.services[full] = v
			rules.hosts = append(rules.hosts, full)
			if strings.HasPrefix(full, "*") {
				rules.wild = append(rules.wild, full)
			}
		}
	}
	slices.SortStableFunc(rules.wild, func(a, b string) int { return len(b) - len(a) })
	return rules
}

// find returns the VirtualService for a service's host.
func (m *meshRules) find(host string) (mesh.Typed[*networking.VirtualService], bool) {
	if v, ok := m.services[strings.ToLower(host)]; ok {
		return v, true
	}
	for _, pattern := range m.wild {
		if mesh.HostMatches(pattern, strings.ToLower(host)) {
			return m.services[pattern], true
		}
	}
	return mesh.Typed[*networking.VirtualService]{}, false
}

// of returns the routes for a port of a service, nil if no rule is for it.
func (m *meshRules) of(service *mesh.Service, port int) []*route.Route {
	v, found := m.find(service.Host())
	routes, first := m.httpRoutes(service, port)
	if first != nil && (!found || first.Before(v.Resource)) {
		return routes
	}
	if !found {
		return nil
	}
	rules := virtualService{b: m.b, Typed: v, gateway: meshGateway, port: port}
	return append([]*route.Route{}, rules.routes()...)
}

// httpRoutes returns the routes of the HTTPRoutes with the service as parent, and the oldest of them. A route in the
// service's namespace is for every caller, one in another namespace for callers there, and then comes first (Gateway
// API, GAMMA: producer and consumer routes).
func (m *meshRules) httpRoutes(service *mesh.Service, port int) (routes []*route.Route, first *mesh.Resource) {
	var rules []httpRouteRule
	for _, namespace := range []string{m.b.w.Namespace, service.Namespace} {
		for _, r := range m.routes {
			if r.Namespace == namespace && parentService(r, service, port) {
				if first == nil {
					first = r.Resource
				}
				rules = append(rules, rulesOf(r)...)
			}
		}
		if first != nil {
			break
		}
	}
	if first == nil {
		return nil, nil
	}
	return m.b.httpRouteRoutes(rules, service.Host(), port), first
}

// otherHosts gives a virtual host on port 80 to each host of a VirtualService that is no service.
func (m *meshRules) otherHosts() []*route.VirtualHost {
	const port = 80
	var hosts []*route.VirtualHost
	for _, host := range m.hosts {
		if m.b.s.Service(host) != nil || strings.HasPrefix(host, "*") {
			continue
		}
		v := virtualService{b: m.b, Typed: m.services[host], gateway: meshGateway, port: port}
		if routes := v.routes(); len(routes) > 0 {
			hosts = append(hosts, &route.VirtualHost{Name: host + ":" + strconv.Itoa(port), Port: port, Domains: []string{host}, Routes: routes})
		}
	}
	return hosts
}
