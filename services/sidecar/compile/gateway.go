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

// gateway writes the table for requests from outside: for each host that a Gateway of this workload opens, the routes
// of every VirtualService and HTTPRoute that is bound to it, oldest first. Without a Gateway there is no host, and every
// request gets the 404 of a gateway without routes.
func (b *builder) gateway() *route.Table {
	servers := append(b.istioServers(), b.apiServers()...)
	g := &gatewayHosts{byDomain: make(map[string]*route.VirtualHost), bound: make(map[string]bool)}
	for _, v := range mesh.Of[*networking.VirtualService](b.s) {
		for _, server := range servers {
			if server.binds(v) {
				for _, host := range v.Spec.Hosts {
					domain := intersect(strings.ToLower(mesh.FullHost(host, v.Namespace)), server.host)
					if domain == "" || !g.claim(domain, v.FullName()) {
						continue
					}
					rules := virtualService{b: b, Typed: v, gateway: server.gateway, port: server.port}
					g.add(domain, server, rules.routes())
				}
			}
		}
	}
	b.attachHTTPRoutes(g, servers)
	for _, server := range servers {
		if server.redirect && g.byDomain[server.host] == nil {
			g.add(server.host, server, nil)
		}
	}
	for _, host := range g.hosts {
		catchAllLast(host)
	}
	t := b.table("http", "outbound", g.hosts)
	t.Authorization = b.authorization()
	return t
}

// server is one host of one server (listener) of a gateway.
type server struct {
	gateway   string // full name: "default/bookinfo-gateway"
	namespace string // of the gateway
	host      string // pattern, in lower case
	owner     string // namespace that a VirtualService must be of; "" is any
	port      int
	redirect  bool // to https

	api      *gatewayapi.Listener // nil for Istio's own Gateway
	resource *mesh.Resource
}

func (b *builder) istioServers() []server {
	var servers []server
	for _, g := range mesh.Of[*networking.Gateway](b.s) {
		if !mesh.Subsumes(g.Spec.Selector, b.w.Labels) {
			continue
		}
		for _, s := range g.Spec.Servers {
			for _, host := range s.Hosts {
				owner, name, ok := strings.Cut(host, "/")
				if !ok {
					owner, name = "*", host
				}
				switch owner {
				case "*":
					owner = ""
				case ".":
					owner = g.Namespace
				}
				servers = append(servers, server{
					gateway: g.Namespace + "/" + g.Name, namespace: g.Namespace, host: strings.ToLower(name), owner: owner,
					port: int(s.GetPort().GetNumber()), redirect: s.GetTls().GetHttpsRedirect(), resource: g.Resource,
				})
			}
		}
	}
	return servers
}

// apiServers lists the listeners of Gateway API's Gateways. On a cluster each has a deployment of its own; locally they
// all are the one gateway.
func (b *builder) apiServers() []server {
	var servers []server
	for _, g := range mesh.Of[*gatewayapi.GatewaySpec](b.s) {
		for i := range g.Spec.Listeners {
			listener := &g.Spec.Listeners[i]
			servers = append(servers, server{
				gateway: g.Namespace + "/" + g.Name, namespace: g.Namespace, port: int(listener.Port),
				host: strings.ToLower(string(or(listener.Hostname, "*"))), api: listener, resource: g.Resource,
			})
		}
	}
	return servers
}

// binds tells whether the VirtualService names this gateway and may use it.
func (s *server) binds(v mesh.Typed[*networking.VirtualService]) bool {
	return s.api == nil && (s.owner == "" || s.owner == v.Namespace) && mesh.Visible(v.Spec.ExportTo, v.Namespace, s.namespace) &&
		slices.ContainsFunc(v.Spec.Gateways, func(name string) bool { return fullGateway(name, v.Namespace) == s.gateway })
}

// takes tells whether an HTTPRoute names this listener and may use it.
func (s *server) takes(r mesh.Typed[*gatewayapi.HTTPRouteSpec]) bool {
	if s.api == nil || !slices.ContainsFunc(r.Spec.ParentRefs, func(p gatewayapi.ParentReference) bool {
		return or(p.Group, gatewayapi.GroupName) == gatewayapi.GroupName && or(p.Kind, "Gateway") == "Gateway" &&
			string(or(p.Namespace, gatewayapi.Namespace(r.Namespace)))+"/"+string(p.Name) == s.gateway &&
			(p.SectionName == nil || *p.SectionName == s.api.Name) && (p.Port == nil || *p.Port == s.api.Port)
	}) {
		return false
	}
	from := gatewayapi.NamespacesFromSame
	if allowed := s.api.AllowedRoutes; allowed != nil && allowed.Namespaces != nil {
		from = or(allowed.Namespaces.From, from)
	}
	// Namespaces have no labels here, so that a selector chooses every one.
	return from != gatewayapi.NamespacesFromNone && (from != gatewayapi.NamespacesFromSame || r.Namespace == s.namespace)
}

// gatewayHosts gathers virtual hosts by domain.
type gatewayHosts struct {
	hosts    []*route.VirtualHost
	byDomain map[string]*route.VirtualHost
	bound    map[string]bool // domain and resource, so that two ports of a Gateway do not give the routes twice
}

func (g *gatewayHosts) claim(domain, resource string) bool {
	key := domain + " " + resource
	if g.bound[key] {
		return false
	}
	g.bound[key] = true
	return true
}

func (g *gatewayHosts) add(domain string, s server, routes []*route.Route) {
	host := g.byDomain[domain]
	if host == nil {
		host = &route.VirtualHost{Name: domain + ":" + strconv.Itoa(s.port), Domains: []string{domain}}
		g.byDomain[domain] = host
		g.hosts = append(g.hosts, host)
	}
	if s.redirect && len(host.Routes) == 0 {
		routes = []*route.Route{{Source: s.resource.FullName() + " httpsRedirect", Redirect: &route.Redirect{Scheme: "https"}, Operation: domain + ":" + strconv.Itoa(s.port) + "/*"}}
	}
	host.Routes = append(host.Routes, routes...)
}

// attachHTTPRoutes adds the rules of HTTPRoutes. Those for one host are ordered together.
func (b *builder) attachHTTPRoutes(g *gatewayHosts, servers []server) {
	type attached struct {
		server server
		rules  []httpRouteRule
	}
	var domains []string
	byDomain := make(map[string]*attached)
	for _, r := range mesh.Of[*gatewayapi.HTTPRouteSpec](b.s) {
		for _, s := range servers {
			if !s.takes(r) {
				continue
			}
			names := r.Spec.Hostnames
			if len(names) == 0 {
				names = []gatewayapi.Hostname{"*"}
			}
			for _, name := range names {
				domain := intersect(strings.ToLower(string(name)), s.host)
				if domain == "" || !g.claim(domain, r.FullName()) {
					continue
				}
				if byDomain[domain] == nil {
					byDomain[domain] = &attached{server: s}
					domains = append(domains, domain)
				}
				byDomain[domain].rules = append(byDomain[domain].rules, rulesOf(r)...)
			}
		}
	}
	for _, domain := range domains {
		a := byDomain[domain]
		g.add(domain, a.server, b.httpRouteRoutes(a.rules, domain, a.server.port))
	}
}

// intersect returns the narrower of two host patterns, "" if no name is of both.
func intersect(a, b string) string {
	switch {
	case mesh.HostMatches(b, a):
		return a
	case mesh.HostMatches(a, b):
		return b
	}
	return ""
}

// catchAllLast moves routes that match everything behind the others, as Istio does for a gateway's hosts: they come
// from several VirtualServices, whose authors do not know of each other.
func catchAllLast(host *route.VirtualHost) {
	slices.SortStableFunc(host.Routes, func(a, b *route.Route) int { return one(catchAll(a)) - one(catchAll(b)) })
}

func catchAll(r *route.Route) bool {
	m := r.Match
	return len(m.Headers) == 0 && len(m.Query) == 0 && (m.Path == nil || m.Path.Kind == route.Prefix && m.Path.Value == "/")
}
