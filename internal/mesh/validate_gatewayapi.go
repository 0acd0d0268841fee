package mesh

import (
	"regexp"
	"slices"
	"strings"
	"time"

	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

func (c *check) apiGateway(g *gateway.GatewaySpec) {
	if g.GatewayClassName == "" {
		c.errorf("spec.gatewayClassName", "must be set, for example istio")
	} else if g.GatewayClassName != "istio" {
		c.warnf("spec.gatewayClassName", "the local mesh has the class istio alone: the gateway is treated as one of it")
	}
	if len(g.Listeners) == 0 {
		c.errorf("spec.listeners", "must have at least one listener")
	}
	seen := make(map[gateway.SectionName]bool)
	for i, l := range g.Listeners {
		field := at("spec.listeners[%d]", i)
		switch {
		case l.Name == "":
			c.errorf(field+".name", "must be set")
		case seen[l.Name]:
			c.errorf(field+".name", "Duplicate value: %q", l.Name)
		}
		seen[l.Name] = true
		c.port(field+".port", int(l.Port))
		c.choice(field+".protocol", string(l.Protocol), "HTTP", "HTTPS", "TLS", "TCP", "UDP")
		if l.Hostname != nil {
			c.host(field+".hostname", string(*l.Hostname))
		}
		if l.AllowedRoutes != nil && l.AllowedRoutes.Namespaces != nil && l.AllowedRoutes.Namespaces.From != nil {
			c.choice(field+".allowedRoutes.namespaces.from", string(*l.AllowedRoutes.Namespaces.From), "All", "Selector", "Same", "None")
		}
		if l.Protocol == gateway.HTTPSProtocolType {
			c.warnf(field+".protocol", "the local gateway speaks plain HTTP on its one listener: no certificate is used")
		}
	}
}

// choice wants one of the words; "" is left to other checks.
func (c *check) choice(field, value string, known ...string) {
	if !slices.Contains(known, value) {
		c.errorf(field, "Unsupported value: %q: supported values: %s", value, strings.Join(known, ", "))
	}
}

func (c *check) httpRoute(r *gateway.HTTPRouteSpec) {
	if len(r.ParentRefs) == 0 {
		c.errorf("spec.parentRefs", "must name at least one Gateway or Service")
	}
	for i, p := range r.ParentRefs {
		field := at("spec.parentRefs[%d]", i)
		if p.Name == "" {
			c.errorf(field+".name", "must be set")
		}
		group, kind := deref(p.Group, gateway.GroupName), deref(p.Kind, "Gateway")
		switch {
		case group == gateway.GroupName && kind == "Gateway", group == "" && kind == "Service", group == "networking.istio.io" && kind == "ServiceEntry":
		default:
			c.errorf(field+".kind", "a parent must be a Gateway (group %s), a Service (group \"\") or a ServiceEntry, is %s (group %q)", gateway.GroupName, kind, group)
		}
	}
	for i, name := range r.Hostnames {
		c.host(at("spec.hostnames[%d]", i), string(name))
	}
	for i := range r.Rules {
		c.httpRouteRule(at("spec.rules[%d]", i), &r.Rules[i])
	}
}

func deref[T ~string](p *T, fallback string) string {
	if p == nil {
		return fallback
	}
	return string(*p)
}

func (c *check) httpRouteRule(path string, rule *gateway.HTTPRouteRule) {
	for i, match := range rule.Matches {
		c.httpRouteMatch(at("%s.matches[%d]", path, i), match)
	}
	redirects := c.httpRouteFilters(path, rule.Filters, false)
	if redirects && len(rule.BackendRefs) > 0 {
		c.errorf(path+".backendRefs", "RequestRedirect filter must not be used together with backendRefs")
	}
	prefixed := len(rule.Matches) == 0 || !slices.ContainsFunc(rule.Matches, func(m gateway.HTTPRouteMatch) bool {
		return m.Path != nil && m.Path.Type != nil && *m.Path.Type != gateway.PathMatchPathPrefix
	})
	for i, f := range rule.Filters {
		replacesPrefix := f.URLRewrite != nil && f.URLRewrite.Path != nil && f.URLRewrite.Path.ReplacePrefixMatch != nil ||
			f.RequestRedirect != nil && f.RequestRedirect.Path != nil && f.RequestRedirect.Path.ReplacePrefixMatch != nil
		if replacesPrefix && !prefixed {
			c.errorf(at("%s.filters[%d]", path, i), "replacePrefixMatch needs matches by PathPrefix alone")
		}
	}
	for i, ref := range rule.BackendRefs {
		field := at("%s.backendRefs[%d]", path, i)
		c.backendRef(field, ref.BackendObjectReference)
		if ref.Weight != nil && (*ref.Weight < 0 || *ref.Weight > 1_000_000) {
			c.errorf(field+".weight", "Invalid value %d: must be from 0 to 1000000", *ref.Weight)
		}
		c.httpRouteFilters(field, ref.Filters, true)
	}
	if t := rule.Timeouts; t != nil {
		c.apiDuration(path+".timeouts.request", t.Request)
		c.apiDuration(path+".timeouts.backendRequest", t.BackendRequest)
	}
	if r := rule.Retry; r != nil {
		c.apiDuration(path+".retry.backoff", r.Backoff)
		if r.Attempts != nil && *r.Attempts < 0 {
			c.errorf(path+".retry.attempts", "attempts cannot be negative")
		}
		for i, code := range r.Codes {
			if code < 400 || code > 599 {
				c.errorf(at("%s.retry.codes[%d]", path, i), "Invalid value %d: must be from 400 to 599", code)
			}
		}
	}
}

func (c *check) httpRouteMatch(path string, m gateway.HTTPRouteMatch) {
	if p := m.Path; p != nil {
		kind := deref(p.Type, string(gateway.PathMatchPathPrefix))
		c.choice(path+".path.type", kind, "Exact", "PathPrefix", "RegularExpression")
		value := deref(p.Value, "/")
		if kind == "RegularExpression" {
			c.regex(path+".path.value", value)
		} else if !strings.HasPrefix(value, "/") {
			c.errorf(path+".path.value", "Invalid value %q: must be an absolute path and start with '/'", value)
		}
	}
	for i, h := range m.Headers {
		c.headerName(at("%s.headers[%d].name", path, i), string(h.Name))
		c.fieldMatch(at("%s.headers[%d]", path, i), deref(h.Type, "Exact"), h.Value)
	}
	for i, q := range m.QueryParams {
		c.fieldMatch(at("%s.queryParams[%d]", path, i), deref(q.Type, "Exact"), q.Value)
	}
	if m.Method != nil {
		c.choice(path+".method", string(*m.Method), "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
	}
}

func (c *check) fieldMatch(path, kind, value string) {
	c.choice(path+".type", kind, "Exact", "RegularExpression")
	if kind == "RegularExpression" {
		c.regex(path+".value", value)
	}
}

// httpRouteFilters checks the filters of a rule, or of one backend, which may only change headers.
func (c *check) httpRouteFilters(path string, filters []gateway.HTTPRouteFilter, backend bool) (redirects bool) {
	for i, f := range filters {
		field := at("%s.filters[%d]", path, i)
		members := map[string]bool{
			"RequestHeaderModifier": f.RequestHeaderModifier != nil, "ResponseHeaderModifier": f.ResponseHeaderModifier != nil,
			"RequestRedirect": f.RequestRedirect != nil, "URLRewrite": f.URLRewrite != nil, "RequestMirror": f.RequestMirror != nil, "CORS": f.CORS != nil,
		}
		kind := string(f.Type)
		if kind == "ExtensionRef" || kind == "ExternalAuth" {
			c.errorf(field+".type", "filter %s is not understood by the local mesh", kind)
			continue
		}
		c.choice(field+".type", kind, sortedNames(members)...)
		for name, set := range members {
			if set != (name == kind) && (set || !members[kind]) {
				c.errorf(field, "a filter of type %s must have the field of that name and no other", kind)
				break
			}
		}
		if backend && kind != "RequestHeaderModifier" && kind != "ResponseHeaderModifier" {
			c.warnf(field+".type", "the local mesh does not act on a %s filter of a single backend", kind)
		}
		for _, h := range []*gateway.HTTPHeaderFilter{f.RequestHeaderModifier, f.ResponseHeaderModifier} {
			c.headerFilter(field, h)
		}
		if f.RequestMirror != nil {
			c.backendRef(field+".requestMirror.backendRef", f.RequestMirror.BackendRef)
		}
		if r := f.RequestRedirect; r != nil {
			redirects = true
			if r.StatusCode != nil && !slices.Contains([]int{301, 302, 303, 307, 308}, *r.StatusCode) {
				c.errorf(field+".requestRedirect.statusCode", "Unsupported value: %d: supported values: 301, 302, 303, 307, 308", *r.StatusCode)
			}
		}
	}
	return redirects
}

func (c *check) headerFilter(path string, h *gateway.HTTPHeaderFilter) {
	if h == nil {
		return
	}
	for _, list := range [][]gateway.HTTPHeader{h.Set, h.Add} {
		for _, field := range list {
			c.headerName(path, string(field.Name))
			c.headerValue(path, field.Value)
		}
	}
	for _, name := range h.Remove {
		c.headerName(path, name)
	}
}

func (c *check) backendRef(path string, ref gateway.BackendObjectReference) {
	group, kind := deref(ref.Group, ""), deref(ref.Kind, "Service")
	switch {
	case group == "" && kind == "Service", group == "networking.istio.io" && kind == "Hostname":
	default:
		c.errorf(path+".kind", "a backend must be a Service (group \"\") or a Hostname (group networking.istio.io), is %s (group %q)", kind, group)
	}
	if ref.Name == "" {
		c.errorf(path+".name", "must be set")
	}
	if ref.Port == nil {
		c.errorf(path+".port", "must have port for Service reference")
		return
	}
	c.port(path+".port", int(*ref.Port))
}

func (c *check) apiDuration(path string, d *gateway.Duration) {
	if d == nil {
		return
	}
	// GEP-2257: up to four numbers of at most five digits with the units h, m, s, ms.
	if !regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`).MatchString(string(*d)) {
		c.errorf(path, "Invalid value %q: must be a duration such as 10s, 500ms or 1h30m", string(*d))
		return
	}
	if _, err := time.ParseDuration(string(*d)); err != nil {
		c.errorf(path, "Invalid value %q: must be a duration such as 10s, 500ms or 1h30m", string(*d))
	}
}
