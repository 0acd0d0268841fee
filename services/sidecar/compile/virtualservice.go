package compile

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/route"
)

// meshGateway is the name by which a VirtualService means the sidecars.
const meshGateway = "mesh"

// virtualService writes routes from the http rules of one VirtualService.
type virtualService struct {
	b *builder
	mesh.Typed[*networking.VirtualService]
	// gateway is the full name of the gateway ("istio-system/public") that the routes are for, or "mesh".
	gateway string
	// port that requests come to.
	port int
}

func (v *virtualService) routes() []*route.Route {
	var routes []*route.Route
	for i, rule := range v.b.withDelegates(v.Typed) {
		source := fmt.Sprintf("%s http[%d]", v.FullName(), i)
		if rule.from != nil {
			source = fmt.Sprintf("%s by %s", rule.from.FullName(), v.FullName())
		}
		if len(rule.Match) == 0 {
			routes = append(routes, v.route(rule.HTTPRoute, nil, source))
		}
		for j, match := range rule.Match {
			if v.applies(match) {
				routes = append(routes, v.route(rule.HTTPRoute, match, fmt.Sprintf("%s match[%d]", source, j)))
			}
		}
	}
	return routes
}

// applies tells whether a match is for this proxy at all: its gateways, source labels, source namespace and port.
func (v *virtualService) applies(m *networking.HTTPMatchRequest) bool {
	if len(m.Gateways) > 0 && !slices.ContainsFunc(m.Gateways, func(name string) bool { return fullGateway(name, v.Namespace) == v.gateway }) {
		return false
	}
	if m.Port != 0 && int(m.Port) != v.port {
		return false
	}
	if v.gateway != meshGateway {
		return true
	}
	return mesh.Subsumes(m.SourceLabels, v.b.w.Labels) && (m.SourceNamespace == "" || m.SourceNamespace == v.b.w.Namespace)
}

// fullGateway completes a gateway's name with the VirtualService's namespace.
func fullGateway(name, namespace string) string {
	if name == meshGateway || strings.Contains(name, "/") {
		return name
	}
	return namespace + "/" + name
}

func (v *virtualService) route(rule *networking.HTTPRoute, match *networking.HTTPMatchRequest, source string) *route.Route {
	r := &route.Route{Name: rule.Name, Source: source, Match: matchOf(match)}
	if match.GetName() != "" {
		r.Name += "." + match.Name
	}
	r.RequestHeaders, r.ResponseHeaders = headerOps(rule.Headers)
	r.CORS = cors(rule.CorsPolicy)
	r.Fault = fault(rule.Fault)
	switch {
	case rule.Redirect != nil:
		r.Redirect = redirect(rule.Redirect, v.port)
	case rule.DirectResponse != nil:
		r.Direct = &route.DirectResponse{Status: int(rule.DirectResponse.Status), Body: body(rule.DirectResponse.Body)}
	default:
		v.forward(r, rule)
	}
	r.Operation = operation(r, len(rule.Route) == 1, v.Name, v.port)
	return r
}

// forward fills in what a route does that leads to clusters.
func (v *virtualService) forward(r *route.Route, rule *networking.HTTPRoute) {
	r.Timeout = rule.Timeout.AsDuration()
	r.Retry = retry(rule.Retries)
	for _, mirror := range mirrors(rule) {
		host, port, subset := v.destination(mirror.Destination)
		percent := route.Always
		if mirror.Percentage != nil {
			percent = route.PercentOf(mirror.Percentage.Value)
		}
		r.Mirrors = append(r.Mirrors, route.Mirror{Cluster: clusterName(host, port, subset), Percent: percent})
	}
	if w := rule.Rewrite; w != nil {
		r.Rewrite = &route.Rewrite{Host: w.Authority, Prefix: w.Uri}
		if w.UriRegexRewrite != nil {
			// Validation refused what does not compile.
			r.Rewrite.Prefix = ""
			r.Rewrite.Regex, _ = regexp.Compile(w.UriRegexRewrite.Match)
			r.Rewrite.Substitution = w.UriRegexRewrite.Rewrite
		}
	}
	for _, destination := range rule.Route {
		if len(rule.Route) > 1 && destination.Weight == 0 {
			continue
		}
		host, port, subset := v.destination(destination.Destination)
		weighted := route.WeightedCluster{Cluster: clusterName(host, port, subset), Weight: uint32(max(destination.Weight, 0))}
		weighted.RequestHeaders, weighted.ResponseHeaders = headerOps(destination.Headers)
		weighted.Host = takeHost(&weighted.RequestHeaders)
		r.Hash = append(r.Hash, v.b.rules.hash(host, port, subset)...)
		r.Clusters = append(r.Clusters, weighted)
	}
	if host := takeHost(&r.RequestHeaders); host != "" {
		if r.Rewrite == nil {
			r.Rewrite = &route.Rewrite{}
		}
		r.Rewrite.Host = host
	}
}

// destination completes a destination: the host by the VirtualService's namespace, the port by the service's only one.
func (v *virtualService) destination(d *networking.Destination) (host string, port int, subset string) {
	host, port = mesh.FullHost(d.GetHost(), v.Namespace), int(d.GetPort().GetNumber())
	if port == 0 {
		port = v.port
		if service := v.b.s.Service(host); service != nil && len(service.Ports) == 1 {
			port = service.Ports[0].Number
		}
	}
	return host, port, d.GetSubset()
}

func mirrors(rule *networking.HTTPRoute) []*networking.HTTPMirrorPolicy {
	if len(rule.Mirrors) > 0 || rule.Mirror == nil {
		return rule.Mirrors
	}
	percent := rule.MirrorPercentage
	if percent == nil && rule.MirrorPercent != nil { //nolint:staticcheck // deprecated, and still in many files
		percent = &networking.Percent{Value: float64(rule.MirrorPercent.Value)} //nolint:staticcheck // same
	}
	return []*networking.HTTPMirrorPolicy{{Destination: rule.Mirror, Percentage: percent}}
}

// operation is the name that a route's spans get (istio: pilot/pkg/networking/telemetry.TraceOperation): host and port
// of its one destination, or the VirtualService's name and the listener's port if it has several or none, and the
// path that it matches.
func operation(r *route.Route, single bool, name string, port int) string {
	path := "/*"
	if m := r.Match.Path; m != nil {
		switch m.Kind {
		case route.Prefix, route.Separated:
			path = m.Value + "*"
		case route.Exact, route.Regex:
			path = m.Value
		}
	}
	if single && len(r.Clusters) == 1 {
		parts := strings.Split(r.Clusters[0].Cluster, "|")
		return parts[3] + ":" + parts[1] + path
	}
	return name + ":" + strconv.Itoa(port) + path
}

func matchOf(in *networking.HTTPMatchRequest) route.Match {
	var out route.Match
	if in == nil {
		return out
	}
	if in.Uri != nil {
		path := stringMatch(in.Uri, in.IgnoreUriCase)
		out.Path = &path
	}
	for _, pseudo := range []struct {
		name  string
		match *networking.StringMatch
	}{{":method", in.Method}, {":authority", in.Authority}, {":scheme", in.Scheme}} {
		if pseudo.match != nil {
			out.Headers = append(out.Headers, route.FieldMatch{Name: pseudo.name, Value: stringMatch(pseudo.match, false)})
		}
	}
	for _, name := range sortedKeys(in.Headers) {
		out.Headers = append(out.Headers, route.FieldMatch{Name: strings.ToLower(name), Value: stringMatch(in.Headers[name], false)})
	}
	for _, name := range sortedKeys(in.WithoutHeaders) {
		out.Headers = append(out.Headers, route.FieldMatch{Name: strings.ToLower(name), Value: stringMatch(in.WithoutHeaders[name], false), Invert: true})
	}
	for _, name := range sortedKeys(in.QueryParams) {
		out.Query = append(out.Query, route.FieldMatch{Name: name, Value: stringMatch(in.QueryParams[name], false)})
	}
	return out
}

// stringMatch converts; one without a member only asks that there is a value. Validation refused what does not compile.
func stringMatch(in *networking.StringMatch, ignoreCase bool) route.StringMatch {
	var m route.StringMatch
	switch kind := in.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		m, _ = route.NewStringMatch(route.Exact, kind.Exact, ignoreCase)
	case *networking.StringMatch_Prefix:
		m, _ = route.NewStringMatch(route.Prefix, kind.Prefix, ignoreCase)
	case *networking.StringMatch_Regex:
		m, _ = route.NewStringMatch(route.Regex, kind.Regex, false)
	}
	return m
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func headerOps(in *networking.Headers) (request, response route.HeaderOps) {
	convert := func(in *networking.Headers_HeaderOperations) (out route.HeaderOps) {
		for _, name := range sortedKeys(in.GetSet()) {
			out.Set = append(out.Set, header.Field{Name: strings.ToLower(name), Value: in.Set[name]})
		}
		for _, name := range sortedKeys(in.GetAdd()) {
			out.Add = append(out.Add, header.Field{Name: strings.ToLower(name), Value: in.Add[name]})
		}
		for _, name := range in.GetRemove() {
			out.Remove = append(out.Remove, strings.ToLower(name))
		}
		return out
	}
	return convert(in.GetRequest()), convert(in.GetResponse())
}

// takeHost takes a new authority out of the fields to set: Envoy rewrites the host instead of setting a header.
func takeHost(ops *route.HeaderOps) string {
	for _, name := range []string{"host", ":authority"} {
		if i := slices.IndexFunc(ops.Set, func(f header.Field) bool { return f.Name == name }); i >= 0 {
			host := ops.Set[i].Value
			ops.Set = slices.Delete(ops.Set, i, i+1)
			return host
		}
	}
	return ""
}

func fault(in *networking.HTTPFaultInjection) *route.Fault {
	if in.GetDelay() == nil && in.GetAbort() == nil {
		return nil
	}
	out := &route.Fault{}
	if d := in.Delay; d != nil {
		out.Delay = d.GetFixedDelay().AsDuration()
		out.DelayPercent = route.PercentOf(d.GetPercentage().GetValue())
		if d.Percentage == nil {
			out.DelayPercent = route.PercentOf(float64(d.Percent)) //nolint:staticcheck // deprecated, and still in many files
		}
	}
	if a := in.Abort; a != nil {
		out.AbortStatus = int(a.GetHttpStatus())
		out.AbortPercent = route.PercentOf(a.GetPercentage().GetValue())
	}
	return out
}

func redirect(in *networking.HTTPRedirect, port int) *route.Redirect {
	out := &route.Redirect{
		Status: int(in.RedirectCode), Scheme: in.Scheme, Host: in.Authority, Path: in.Uri, Port: int(in.GetPort()),
	}
	if prefix, ok := strings.CutPrefix(in.Uri, "%PREFIX()%"); ok {
		out.Path, out.Prefix, out.HasPrefix = "", prefix, true
	}
	if derive, ok := in.RedirectPort.(*networking.HTTPRedirect_DerivePort); ok && derive.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT {
		out.Port = port
	}
	return out
}

func body(in *networking.HTTPBody) string {
	if data := in.GetBytes(); data != nil {
		return string(data)
	}
	return in.GetString_()
}

func cors(in *networking.CorsPolicy) *route.CORS {
	if in == nil {
		return nil
	}
	out := &route.CORS{
		Methods: strings.Join(in.AllowMethods, ","), Headers: strings.Join(in.AllowHeaders, ","), Expose: strings.Join(in.ExposeHeaders, ","),
		// Istio's default leaves an unmatched preflight to the upstream (istio: TranslateCORSPolicy).
		ForwardNotMatchingPreflights: in.UnmatchedPreflights != networking.CorsPolicy_IGNORE,
	}
	for _, origin := range in.AllowOrigins {
		out.Origins = append(out.Origins, stringMatch(origin, false))
	}
	for _, origin := range in.AllowOrigin { //nolint:staticcheck // deprecated, and still in many files
		out.Origins = append(out.Origins, route.StringMatch{Kind: route.Exact, Value: origin})
	}
	if in.MaxAge != nil {
		age := in.MaxAge.AsDuration()
		out.MaxAge = &age
	}
	if in.AllowCredentials != nil {
		allow := in.AllowCredentials.Value
		out.Credentials = &allow
	}
	return out
}
