package mesh

import (
	"slices"
	"sort"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
)

func (c *check) virtualService(v *networking.VirtualService) {
	onMesh := len(v.Gateways) == 0 || slices.Contains(v.Gateways, "mesh")
	for i, host := range v.Hosts {
		field := at("spec.hosts[%d]", i)
		c.host(field, host)
		if host == "*" && onMesh {
			c.errorf(field, "wildcard host * is not allowed for virtual services bound to the mesh gateway")
		}
	}
	if len(v.Hosts) == 0 && len(v.Gateways) > 0 {
		c.errorf("spec.hosts", "virtual service must have at least one host; one without hosts is a delegate, which has no gateways")
	}
	for i, name := range v.Gateways {
		namespace, short, ok := strings.Cut(name, "/")
		if !ok {
			namespace, short = "default", name
		}
		if !validName(namespace, 63, false) || !validName(short, 253, true) {
			c.errorf(at("spec.gateways[%d]", i), "Invalid value %q: must be the name of a gateway, NAMESPACE/NAME, or mesh", name)
		}
	}
	c.exportTo(v.ExportTo)
	if len(v.Http)+len(v.Tcp)+len(v.Tls) == 0 {
		c.errorf("spec.http", "http, tcp or tls must be provided in virtual service")
	}
	for i, rule := range v.Http {
		if len(rule.Match) == 0 && i < len(v.Http)-1 {
			c.add(true, codeUnreachable, at("spec.http[%d]", i+1), "VirtualService rule #%d not used (only the last rule can have no matches).", i+1)
		}
		c.httpRule(at("spec.http[%d]", i), v, rule)
	}
}

func (c *check) httpRule(path string, v *networking.VirtualService, rule *networking.HTTPRoute) {
	c.ruleAction(path, v, rule)
	for i, match := range rule.Match {
		c.httpMatch(at("%s.match[%d]", path, i), v, match)
	}
	c.weights(path, rule.Route)
	for i, d := range rule.Route {
		c.destination(at("%s.route[%d].destination", path, i), d.GetDestination())
		c.headers(at("%s.route[%d].headers", path, i), d.GetHeaders())
	}
	c.headers(path+".headers", rule.Headers)
	c.duration(path+".timeout", rule.Timeout)
	c.retries(path+".retries", rule.Retries)
	c.fault(path+".fault", rule.Fault)
	if rule.Mirror != nil {
		c.destination(path+".mirror", rule.Mirror)
		if len(rule.Mirrors) > 0 {
			c.errorf(path+".mirrors", "only one of mirror and mirrors may be set")
		}
	}
	if rule.MirrorPercentage != nil {
		c.percent(path+".mirrorPercentage.value", rule.MirrorPercentage.Value)
	}
	for i, mirror := range rule.Mirrors {
		c.destination(at("%s.mirrors[%d].destination", path, i), mirror.Destination)
		if mirror.Percentage != nil {
			c.percent(at("%s.mirrors[%d].percentage.value", path, i), mirror.Percentage.Value)
		}
	}
	c.rewriteAndRedirect(path, rule)
	c.cors(path+".corsPolicy", rule.CorsPolicy)
}

// ruleAction wants exactly one of the things that a rule can do.
func (c *check) ruleAction(path string, v *networking.VirtualService, rule *networking.HTTPRoute) {
	var actions []string
	for name, set := range map[string]bool{
		"route": len(rule.Route) > 0, "redirect": rule.Redirect != nil, "directResponse": rule.DirectResponse != nil, "delegate": rule.Delegate != nil,
	} {
		if set {
			actions = append(actions, name)
		}
	}
	sort.Strings(actions)
	switch {
	case len(actions) == 0:
		c.errorf(path, "HTTP route, redirect, directResponse or delegate is required")
	case len(actions) > 1:
		c.errorf(path+"."+actions[1], "HTTP route cannot contain both %s and %s", actions[0], actions[1])
	}
	if rule.Delegate == nil {
		return
	}
	if rule.Delegate.Name == "" {
		c.errorf(path+".delegate.name", "must be set")
	}
	if len(v.Hosts) == 0 {
		c.errorf(path+".delegate", "a delegate virtual service cannot delegate further")
	}
}

func (c *check) httpMatch(path string, v *networking.VirtualService, m *networking.HTTPMatchRequest) {
	c.stringMatch(path+".uri", m.Uri)
	c.stringMatch(path+".scheme", m.Scheme)
	c.stringMatch(path+".method", m.Method)
	c.stringMatch(path+".authority", m.Authority)
	for _, group := range []struct {
		name   string
		fields map[string]*networking.StringMatch
		header bool
	}{{"headers", m.Headers, true}, {"withoutHeaders", m.WithoutHeaders, true}, {"queryParams", m.QueryParams, false}} {
		for _, name := range sortedNames(group.fields) {
			field := path + "." + group.name + "." + name
			if group.header {
				c.headerName(field, name)
			}
			c.stringMatch(field, group.fields[name])
		}
	}
	if m.Port != 0 {
		c.port(path+".port", int(m.Port))
	}
	for i, name := range m.Gateways {
		if name != "mesh" && !slices.Contains(v.Gateways, name) && len(v.Hosts) > 0 {
			c.errorf(at("%s.gateways[%d]", path, i), "gateway %q is not among spec.gateways", name)
		}
	}
}

func sortedNames[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func (c *check) stringMatch(path string, m *networking.StringMatch) {
	if m == nil {
		return
	}
	if regex, ok := m.MatchType.(*networking.StringMatch_Regex); ok {
		if regex.Regex == "" {
			c.errorf(path+".regex", "regex string match should not be empty")
			return
		}
		c.regex(path+".regex", regex.Regex)
	}
	if prefix, ok := m.MatchType.(*networking.StringMatch_Prefix); ok && prefix.Prefix == "" {
		c.errorf(path+".prefix", "prefix string match should not be empty")
	}
}

func (c *check) weights(path string, routes []*networking.HTTPRouteDestination) {
	var total int64
	for i, d := range routes {
		if d.Weight < 0 {
			c.errorf(at("%s.route[%d].weight", path, i), "weight %d < 0", d.Weight)
			return
		}
		total += int64(d.Weight)
	}
	if len(routes) > 1 && total != 100 {
		c.errorf(path+".route", "total destination weight %d != 100", total)
	}
}

func (c *check) destination(path string, d *networking.Destination) {
	if d.GetHost() == "" {
		c.errorf(path+".host", "destination host must be set")
		return
	}
	c.host(path+".host", d.Host)
	if d.Port != nil {
		c.port(path+".port.number", int(d.Port.Number))
	}
	if d.Subset != "" && !validName(strings.ToLower(d.Subset), 63, false) {
		c.errorf(path+".subset", "Invalid value %q: not a subset name", d.Subset)
	}
}

func (c *check) headers(path string, h *networking.Headers) {
	for name, ops := range map[string]*networking.Headers_HeaderOperations{"request": h.GetRequest(), "response": h.GetResponse()} {
		for _, key := range sortedNames(ops.GetSet()) {
			c.headerName(path+"."+name+".set."+key, key)
			c.headerValue(path+"."+name+".set."+key, ops.Set[key])
		}
		for _, key := range sortedNames(ops.GetAdd()) {
			c.headerName(path+"."+name+".add."+key, key)
			c.headerValue(path+"."+name+".add."+key, ops.Add[key])
		}
		for i, key := range ops.GetRemove() {
			c.headerName(at("%s.%s.remove[%d]", path, name, i), key)
		}
	}
}

func (c *check) duration(path string, d *durationpb.Duration) {
	if d != nil && d.AsDuration() < time.Millisecond && d.AsDuration() != 0 {
		c.errorf(path, "Invalid value %v: must be at least 1ms", d.AsDuration())
	}
}

func (c *check) retries(path string, r *networking.HTTPRetry) {
	if r == nil {
		return
	}
	if r.Attempts < 0 {
		c.errorf(path+".attempts", "attempts cannot be negative")
	}
	if r.Attempts == 0 && (r.PerTryTimeout != nil || r.RetryOn != "") {
		c.errorf(path+".attempts", "http retry policy configured when attempts are set to 0 (disabled)")
	}
	c.duration(path+".perTryTimeout", r.PerTryTimeout)
	c.duration(path+".backoff", r.Backoff)
	if r.RetryOn != "" {
		c.retryOn(path+".retryOn", r.RetryOn)
	}
}

func (c *check) fault(path string, f *networking.HTTPFaultInjection) {
	if f == nil {
		return
	}
	if f.Delay == nil && f.Abort == nil {
		c.errorf(path, "HTTP fault injection must have an abort and/or a delay")
	}
	if d := f.Delay; d != nil {
		switch {
		case d.GetExponentialDelay() != nil:
			c.errorf(path+".delay.exponentialDelay", "exponentialDelay not supported yet; use fixedDelay")
		case d.GetFixedDelay() == nil:
			c.errorf(path+".delay.fixedDelay", "must be set, for example 7s")
		case d.GetFixedDelay().AsDuration() < time.Millisecond:
			c.errorf(path+".delay.fixedDelay", "Invalid value %v: must be at least 1ms", d.GetFixedDelay().AsDuration())
		}
		c.faultPercent(path+".delay", d.Percentage, d.Percent) //nolint:staticcheck // deprecated, and still in many files
	}
	if a := f.Abort; a != nil {
		if status := a.GetHttpStatus(); a.GetErrorType() == nil {
			c.errorf(path+".abort.httpStatus", "must be set, for example 500")
		} else if _, ok := a.ErrorType.(*networking.HTTPFaultInjection_Abort_HttpStatus); ok && (status < 200 || status > 599) {
			c.errorf(path+".abort.httpStatus", "Invalid value %d: must be from 200 to 599", status)
		}
		c.faultPercent(path+".abort", a.Percentage, 100)
		if a.Percentage == nil {
			c.warnf(path+".abort", "no percentage: no request is aborted")
		}
	}
}

func (c *check) faultPercent(path string, p *networking.Percent, old int32) {
	if p != nil {
		c.percent(path+".percentage.value", p.Value)
		return
	}
	if old < 0 || old > 100 {
		c.errorf(path+".percent", "Invalid value %d: must be from 0 to 100", old)
	}
	if old == 0 {
		c.warnf(path, "no percentage: no request is delayed")
	}
}

func (c *check) rewriteAndRedirect(path string, rule *networking.HTTPRoute) {
	if w := rule.Rewrite; w != nil {
		switch {
		case rule.Redirect != nil:
			c.errorf(path+".rewrite", "HTTP route rule cannot contain both rewrite and redirect")
		case w.Uri == "" && w.Authority == "" && w.UriRegexRewrite == nil:
			c.errorf(path+".rewrite", "rewrite must specify uri, authority or uriRegexRewrite")
		case w.Uri != "" && w.UriRegexRewrite != nil:
			c.errorf(path+".rewrite.uriRegexRewrite", "only one of uri and uriRegexRewrite may be set")
		}
		if w.UriRegexRewrite != nil {
			c.regex(path+".rewrite.uriRegexRewrite.match", w.UriRegexRewrite.Match)
		}
	}
	if r := rule.Redirect; r != nil {
		if r.RedirectCode != 0 && (r.RedirectCode < 300 || r.RedirectCode > 399) {
			c.errorf(path+".redirect.redirectCode", "Invalid value %d: must be from 300 to 399", r.RedirectCode)
		}
		if r.Uri == "" && r.Authority == "" && r.RedirectPort == nil && r.Scheme == "" {
			c.errorf(path+".redirect", "redirect must specify URI, authority, scheme, or port")
		}
		if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
			c.errorf(path+".redirect.scheme", "Invalid value %q: must be http or https", r.Scheme)
		}
	}
	if d := rule.DirectResponse; d != nil {
		if d.Status < 200 || d.Status > 599 {
			c.errorf(path+".directResponse.status", "Invalid value %d: must be from 200 to 599", d.Status)
		}
		if size := max(len(d.Body.GetString_()), len(d.Body.GetBytes())); size > 1<<20 {
			c.errorf(path+".directResponse.body", "the body has %d bytes: at most 1 MiB", size)
		}
	}
}

func (c *check) cors(path string, p *networking.CorsPolicy) {
	if p == nil {
		return
	}
	for i, origin := range p.AllowOrigins {
		c.stringMatch(at("%s.allowOrigins[%d]", path, i), origin)
	}
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"}
	for i, method := range p.AllowMethods {
		if !slices.Contains(methods, method) {
			c.errorf(at("%s.allowMethods[%d]", path, i), "Invalid value %q: must be one of %s", method, strings.Join(methods, ", "))
		}
	}
	for i, name := range p.AllowHeaders {
		c.headerName(at("%s.allowHeaders[%d]", path, i), name)
	}
	for i, name := range p.ExposeHeaders {
		c.headerName(at("%s.exposeHeaders[%d]", path, i), name)
	}
	if p.MaxAge != nil && p.MaxAge.AsDuration()%time.Second != 0 {
		c.errorf(path+".maxAge", "Invalid value %v: must be whole seconds", p.MaxAge.AsDuration())
	}
}
