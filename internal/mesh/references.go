package mesh

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

// references checks what a resource names against the mesh as it would be with it.
func references(s *Snapshot, r *Resource) []Problem {
	c := &referenceCheck{check: check{r: r}, s: s}
	switch spec := r.Spec.(type) {
	case *networking.VirtualService:
		c.virtualService(spec)
	case *networking.DestinationRule:
		c.destinationRule(spec)
	case *gateway.HTTPRouteSpec:
		c.httpRoute(spec)
	}
	return c.problems
}

type referenceCheck struct {
	check
	s *Snapshot
}

func (c *referenceCheck) missing(field, what, name string) {
	c.add(false, codeNotFound, field, "Referenced %s not found: %q", what, name)
}

func (c *referenceCheck) virtualService(v *networking.VirtualService) {
	for i, name := range v.Gateways {
		if name == "mesh" {
			continue
		}
		namespace, short, ok := strings.Cut(name, "/")
		if !ok {
			namespace, short = c.r.Namespace, name
		}
		if !slices.ContainsFunc(Of[*networking.Gateway](c.s), func(g Typed[*networking.Gateway]) bool { return g.Namespace == namespace && g.Name == short }) {
			// Files may come in any order, so that this is no reason to refuse one.
			c.add(true, codeNotFound, at("spec.gateways[%d]", i), "Referenced gateway not found: %q", name)
		}
	}
	c.hostConflicts(v)
	for i, rule := range v.Http {
		path := at("spec.http[%d]", i)
		for j, d := range rule.Route {
			c.destination(at("%s.route[%d].destination", path, j), d.Destination)
		}
		if rule.Mirror != nil {
			c.destination(path+".mirror", rule.Mirror)
		}
		for j, mirror := range rule.Mirrors {
			c.destination(at("%s.mirrors[%d].destination", path, j), mirror.Destination)
		}
		if d := rule.Delegate; d != nil {
			namespace := d.Namespace
			if namespace == "" {
				namespace = c.r.Namespace
			}
			if !slices.ContainsFunc(Of[*networking.VirtualService](c.s), func(o Typed[*networking.VirtualService]) bool { return o.Namespace == namespace && o.Name == d.Name }) {
				c.add(true, codeNotFound, path+".delegate", "Referenced virtualService not found: %q", namespace+"/"+d.Name)
			}
		}
	}
}

// hostConflicts warns where another VirtualService for the sidecars has the same host: only the older one counts.
func (c *referenceCheck) hostConflicts(v *networking.VirtualService) {
	onMesh := func(v *networking.VirtualService) bool {
		return len(v.Gateways) == 0 || slices.Contains(v.Gateways, "mesh")
	}
	if !onMesh(v) {
		return
	}
	for i, host := range v.Hosts {
		full := FullHost(host, c.r.Namespace)
		for _, other := range Of[*networking.VirtualService](c.s) {
			if other.Key() == c.r.Key() || !onMesh(other.Spec) {
				continue
			}
			if slices.ContainsFunc(other.Spec.Hosts, func(h string) bool { return FullHost(h, other.Namespace) == full }) {
				c.add(true, codeHostConflict, at("spec.hosts[%d]", i), "The VirtualServices %s/%s,%s/%s associated with mesh gateway define the same host %s which can lead to undefined behavior. This can be fixed by merging the conflicting VirtualServices into a single resource.",
					other.Namespace, other.Name, c.r.Namespace, c.r.Name, full)
			}
		}
	}
}

func (c *referenceCheck) destination(path string, d *networking.Destination) {
	host := FullHost(d.Host, c.r.Namespace)
	service := c.service(host)
	if service == nil {
		c.missing(path+".host", "host", d.Host)
		return
	}
	if number := int(d.GetPort().GetNumber()); number != 0 {
		if _, ok := service.Port(number); !ok {
			c.add(false, codeNotFound, path+".port.number", "Referenced host:port not found: \"%s:%d\"", d.Host, number)
		}
	}
	if d.Subset != "" && !c.hasSubset(host, d.Subset) {
		c.missing(path+".subset", "host+subset in destinationrule", d.Host+"+"+d.Subset)
	}
}

// service finds a host, also one that a ServiceEntry's wildcard includes.
func (c *referenceCheck) service(host string) *Service {
	if service := c.s.Service(host); service != nil {
		return service
	}
	for _, service := range c.s.Services {
		if HostMatches(service.Host(), host) {
			return service
		}
	}
	return nil
}

func (c *referenceCheck) hasSubset(host, subset string) bool {
	return slices.ContainsFunc(Of[*networking.DestinationRule](c.s), func(d Typed[*networking.DestinationRule]) bool {
		return HostMatches(FullHost(d.Spec.Host, d.Namespace), host) &&
			slices.ContainsFunc(d.Spec.Subsets, func(s *networking.Subset) bool { return s.Name == subset })
	})
}

func (c *referenceCheck) destinationRule(d *networking.DestinationRule) {
	host := FullHost(d.Host, c.r.Namespace)
	if strings.HasPrefix(host, "*") || c.service(host) != nil {
		return
	}
	c.missing("spec.host", "host", d.Host)
}

func (c *referenceCheck) httpRoute(r *gateway.HTTPRouteSpec) {
	for i, p := range r.ParentRefs {
		field := at("spec.parentRefs[%d].name", i)
		namespace := deref(p.Namespace, c.r.Namespace)
		switch deref(p.Kind, "Gateway") {
		case "Service":
			service := c.s.Service(string(p.Name) + "." + namespace + ".svc.cluster.local")
			if service == nil {
				c.missing(field, "host", string(p.Name))
			} else if p.Port != nil {
				if _, ok := service.Port(int(*p.Port)); !ok {
					c.add(false, codeNotFound, at("spec.parentRefs[%d].port", i), "Referenced host:port not found: \"%s:%d\"", p.Name, *p.Port)
				}
			}
		case "Gateway":
			if !slices.ContainsFunc(Of[*gateway.GatewaySpec](c.s), func(g Typed[*gateway.GatewaySpec]) bool { return g.Namespace == namespace && g.Name == string(p.Name) }) {
				c.add(true, codeNotFound, field, "Referenced gateway not found: %q", string(p.Name))
			}
		}
	}
	for i, rule := range r.Rules {
		for j, ref := range rule.BackendRefs {
			c.backend(at("spec.rules[%d].backendRefs[%d]", i, j), ref.BackendObjectReference)
		}
		for j, f := range rule.Filters {
			if f.RequestMirror != nil {
				c.backend(at("spec.rules[%d].filters[%d].requestMirror.backendRef", i, j), f.RequestMirror.BackendRef)
			}
		}
	}
}

func (c *referenceCheck) backend(path string, ref gateway.BackendObjectReference) {
	host := string(ref.Name)
	if deref(ref.Kind, "Service") == "Service" {
		host += "." + deref(ref.Namespace, c.r.Namespace) + ".svc.cluster.local"
	}
	service := c.service(host)
	if service == nil {
		c.missing(path+".name", "host", string(ref.Name))
		return
	}
	if _, ok := service.Port(int(*ref.Port)); !ok {
		c.add(false, codeNotFound, path+".port", "Referenced host:port not found: \"%s:%d\"", ref.Name, *ref.Port)
	}
}
