package bootstrap

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	envoyroute "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	cors "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	fault "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	previous "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/bookinfo/services/sidecar/route"
)

// routes writes the route configuration of a listener.
func (w *writer) routes(direction string, table *route.Table) (*envoyroute.RouteConfiguration, error) {
	out := &envoyroute.RouteConfiguration{
		Name: table.Name, ValidateClusters: wrapperspb.Bool(false), RequestHeadersToAdd: w.addedHeaders(direction),
		// One outbound listener serves every port, so that there the port of the Host header counts.
		IgnorePortInHostMatching: direction != "outbound",
	}
	taken := make(map[string]bool)
	for i, host := range table.Hosts() {
		var domains []string
		for _, domain := range host.Domains {
			names := []string{domain}
			if direction == "outbound" && host.Port != 0 && domain != "*" {
				// A request without a port goes to the first service of the name.
				names = []string{domain + ":" + strconv.Itoa(host.Port), domain}
			}
			for _, name := range names {
				if name = strings.ToLower(name); !taken[name] {
					taken[name] = true
					domains = append(domains, name)
				}
			}
		}
		if len(domains) == 0 {
			continue
		}
		virtual := &envoyroute.VirtualHost{
			Name: fmt.Sprintf("%s#%d", host.Name, i), Domains: domains, IncludeRequestAttemptCount: direction != "inbound",
		}
		for _, r := range host.Routes {
			written, err := routeOf(r)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.Source, err)
			}
			virtual.Routes = append(virtual.Routes, written)
		}
		out.VirtualHosts = append(out.VirtualHosts, virtual)
	}
	return out, nil
}

func routeOf(r *route.Route) (*envoyroute.Route, error) {
	out := &envoyroute.Route{Name: r.Name, Match: matchOf(&r.Match), Decorator: &envoyroute.Decorator{Operation: r.Operation}}
	out.RequestHeadersToAdd, out.RequestHeadersToRemove = headerOps(&r.RequestHeaders)
	out.ResponseHeadersToAdd, out.ResponseHeadersToRemove = headerOps(&r.ResponseHeaders)
	switch {
	case r.Redirect != nil:
		out.Action = &envoyroute.Route_Redirect{Redirect: redirect(r.Redirect)}
	case r.Direct != nil:
		direct := &envoyroute.DirectResponseAction{Status: uint32(r.Direct.Status)}
		if r.Direct.Body != "" {
			direct.Body = &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: r.Direct.Body}}
		}
		out.Action = &envoyroute.Route_DirectResponse{DirectResponse: direct}
	default:
		action, err := forward(r)
		if err != nil {
			return nil, err
		}
		out.Action = &envoyroute.Route_Route{Route: action}
	}
	return out, perRoute(out, r)
}

// perRoute configures the filters that act on single routes.
func perRoute(out *envoyroute.Route, r *route.Route) error {
	add := func(name string, config proto.Message) error {
		packed, err := pack(config)
		if err != nil {
			return err
		}
		if out.TypedPerFilterConfig == nil {
			out.TypedPerFilterConfig = make(map[string]*anypb.Any)
		}
		out.TypedPerFilterConfig[name] = packed
		return nil
	}
	if f := r.Fault; f != nil {
		config := &fault.HTTPFault{}
		if f.Delay > 0 {
			config.Delay = &commonfault.FaultDelay{
				FaultDelaySecifier: &commonfault.FaultDelay_FixedDelay{FixedDelay: durationpb.New(f.Delay)}, Percentage: percent(f.DelayPercent),
			}
		}
		if f.AbortStatus > 0 {
			config.Abort = &fault.FaultAbort{ErrorType: &fault.FaultAbort_HttpStatus{HttpStatus: uint32(f.AbortStatus)}, Percentage: percent(f.AbortPercent)}
		}
		if err := add("envoy.filters.http.fault", config); err != nil {
			return err
		}
	}
	if c := r.CORS; c != nil {
		policy := &cors.CorsPolicy{
			AllowMethods: c.Methods, AllowHeaders: c.Headers, ExposeHeaders: c.Expose,
			ForwardNotMatchingPreflights: wrapperspb.Bool(c.ForwardNotMatchingPreflights),
		}
		for i := range c.Origins {
			policy.AllowOriginStringMatch = append(policy.AllowOriginStringMatch, stringMatcher(&c.Origins[i]))
		}
		if c.MaxAge != nil {
			policy.MaxAge = strconv.Itoa(int(c.MaxAge.Seconds()))
		}
		if c.Credentials != nil {
			policy.AllowCredentials = wrapperspb.Bool(*c.Credentials)
		}
		return add("envoy.filters.http.cors", policy)
	}
	return nil
}

func percent(p route.Percent) *envoytype.FractionalPercent {
	return &envoytype.FractionalPercent{Numerator: uint32(p), Denominator: envoytype.FractionalPercent_MILLION}
}

func matchOf(m *route.Match) *envoyroute.RouteMatch {
	out := &envoyroute.RouteMatch{PathSpecifier: &envoyroute.RouteMatch_Prefix{Prefix: "/"}}
	if p := m.Path; p != nil {
		if p.IgnoreCase {
			out.CaseSensitive = wrapperspb.Bool(false)
		}
		switch p.Kind {
		case route.Exact:
			out.PathSpecifier = &envoyroute.RouteMatch_Path{Path: p.Value}
		case route.Prefix:
			out.PathSpecifier = &envoyroute.RouteMatch_Prefix{Prefix: p.Value}
		case route.Separated:
			out.PathSpecifier = &envoyroute.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: p.Value}
		case route.Regex:
			out.PathSpecifier = &envoyroute.RouteMatch_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: p.Value}}
		case route.Suffix:
			out.PathSpecifier = &envoyroute.RouteMatch_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: ".*" + regexp.QuoteMeta(p.Value)}}
		}
	}
	for i := range m.Headers {
		out.Headers = append(out.Headers, headerMatcher(&m.Headers[i]))
	}
	for i := range m.Query {
		q := &m.Query[i]
		parameter := &envoyroute.QueryParameterMatcher{Name: q.Name}
		if q.Value.Kind == route.Present {
			parameter.QueryParameterMatchSpecifier = &envoyroute.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		} else {
			parameter.QueryParameterMatchSpecifier = &envoyroute.QueryParameterMatcher_StringMatch{StringMatch: stringMatcher(&q.Value)}
		}
		out.QueryParameters = append(out.QueryParameters, parameter)
	}
	return out
}

func headerMatcher(m *route.FieldMatch) *envoyroute.HeaderMatcher {
	out := &envoyroute.HeaderMatcher{Name: m.Name, InvertMatch: m.Invert}
	if m.Value.Kind == route.Present {
		out.HeaderMatchSpecifier = &envoyroute.HeaderMatcher_PresentMatch{PresentMatch: true}
		return out
	}
	out.HeaderMatchSpecifier = &envoyroute.HeaderMatcher_StringMatch{StringMatch: stringMatcher(&m.Value)}
	// An absent header is unlike any value, as in Istio's withoutHeaders.
	out.TreatMissingHeaderAsEmpty = m.Invert && m.Value.Kind != route.Present
	return out
}

func stringMatcher(m *route.StringMatch) *matcher.StringMatcher {
	out := &matcher.StringMatcher{IgnoreCase: m.IgnoreCase}
	switch m.Kind {
	case route.Exact:
		out.MatchPattern = &matcher.StringMatcher_Exact{Exact: m.Value}
	case route.Prefix, route.Separated:
		out.MatchPattern = &matcher.StringMatcher_Prefix{Prefix: m.Value}
	case route.Suffix:
		out.MatchPattern = &matcher.StringMatcher_Suffix{Suffix: m.Value}
	case route.Regex:
		out.MatchPattern = &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: m.Value}}
	default:
		out.MatchPattern = &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: ".+"}}
	}
	return out
}

func headerOps(ops *route.HeaderOps) (add []*core.HeaderValueOption, remove []string) {
	// A % begins one of Envoy's operators; doubled it is itself.
	literal := func(value string) string { return strings.ReplaceAll(value, "%", "%%") }
	for _, f := range ops.Set {
		add = append(add, &core.HeaderValueOption{
			Header: &core.HeaderValue{Key: f.Name, Value: literal(f.Value)}, AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	for _, f := range ops.Add {
		add = append(add, &core.HeaderValueOption{
			Header: &core.HeaderValue{Key: f.Name, Value: literal(f.Value)}, AppendAction: core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
		})
	}
	return add, ops.Remove
}

func redirect(r *route.Redirect) *envoyroute.RedirectAction {
	codes := map[int]envoyroute.RedirectAction_RedirectResponseCode{
		302: envoyroute.RedirectAction_FOUND, 303: envoyroute.RedirectAction_SEE_OTHER,
		307: envoyroute.RedirectAction_TEMPORARY_REDIRECT, 308: envoyroute.RedirectAction_PERMANENT_REDIRECT,
	}
	out := &envoyroute.RedirectAction{HostRedirect: r.Host, PortRedirect: uint32(r.Port), ResponseCode: codes[r.Status]}
	if r.Scheme != "" {
		out.SchemeRewriteSpecifier = &envoyroute.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	switch {
	case r.Path != "":
		out.PathRewriteSpecifier = &envoyroute.RedirectAction_PathRedirect{PathRedirect: r.Path}
	case r.HasPrefix:
		out.PathRewriteSpecifier = &envoyroute.RedirectAction_PrefixRewrite{PrefixRewrite: r.Prefix}
	}
	return out
}

func forward(r *route.Route) (*envoyroute.RouteAction, error) {
	out := &envoyroute.RouteAction{Timeout: durationpb.New(r.Timeout)}
	if len(r.Clusters) == 0 {
		return nil, fmt.Errorf("the route leads nowhere")
	}
	if len(r.Clusters) == 1 && r.Clusters[0].Host == "" && r.Clusters[0].RequestHeaders.Empty() && r.Clusters[0].ResponseHeaders.Empty() {
		out.ClusterSpecifier = &envoyroute.RouteAction_Cluster{Cluster: r.Clusters[0].Cluster}
	} else {
		out.ClusterSpecifier = &envoyroute.RouteAction_WeightedClusters{WeightedClusters: weighted(r.Clusters)}
	}
	if err := rewrite(out, r); err != nil {
		return nil, err
	}
	var err error
	if out.RetryPolicy, err = retry(r.Retry); err != nil {
		return nil, err
	}
	for _, m := range r.Mirrors {
		out.RequestMirrorPolicies = append(out.RequestMirrorPolicies, &envoyroute.RouteAction_RequestMirrorPolicy{
			Cluster: m.Cluster, RuntimeFraction: &core.RuntimeFractionalPercent{DefaultValue: percent(m.Percent)},
		})
	}
	for i := range r.Hash {
		out.HashPolicy = append(out.HashPolicy, hashPolicy(&r.Hash[i]))
	}
	return out, nil
}

func weighted(clusters []route.WeightedCluster) *envoyroute.WeightedCluster {
	out := &envoyroute.WeightedCluster{}
	for i := range clusters {
		c := &clusters[i]
		one := &envoyroute.WeightedCluster_ClusterWeight{Name: c.Cluster, Weight: wrapperspb.UInt32(c.Weight)}
		if len(clusters) == 1 {
			one.Weight = wrapperspb.UInt32(1)
		}
		one.RequestHeadersToAdd, one.RequestHeadersToRemove = headerOps(&c.RequestHeaders)
		one.ResponseHeadersToAdd, one.ResponseHeadersToRemove = headerOps(&c.ResponseHeaders)
		if c.Host != "" {
			one.HostRewriteSpecifier = &envoyroute.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: c.Host}
		}
		out.Clusters = append(out.Clusters, one)
	}
	return out
}

func rewrite(out *envoyroute.RouteAction, r *route.Route) error {
	w := r.Rewrite
	if w == nil {
		return nil
	}
	if w.Host != "" {
		out.HostRewriteSpecifier = &envoyroute.RouteAction_HostRewriteLiteral{HostRewriteLiteral: w.Host}
	}
	whole := func(path string) *matcher.RegexMatchAndSubstitute {
		return &matcher.RegexMatchAndSubstitute{Pattern: &matcher.RegexMatcher{Regex: "^.*$"}, Substitution: strings.ReplaceAll(path, `\`, `\\`)}
	}
	switch {
	case w.Path != "":
		out.RegexRewrite = whole(w.Path)
	case w.Regex != nil:
		out.RegexRewrite = &matcher.RegexMatchAndSubstitute{Pattern: &matcher.RegexMatcher{Regex: w.Regex.String()}, Substitution: w.Substitution}
	case w.Prefix == "/" && r.Match.Path != nil && r.Match.Path.Kind == route.Separated:
		// Envoy would leave "//b" of "/a/b" (istio: the same expression for Gateway API).
		out.RegexRewrite = &matcher.RegexMatchAndSubstitute{
			Pattern: &matcher.RegexMatcher{Regex: "^" + regexp.QuoteMeta(r.Match.Path.Value) + "(/?)(.*)"}, Substitution: `/\2`,
		}
	case w.Prefix != "":
		out.PrefixRewrite = w.Prefix
	}
	return nil
}

func retry(r *route.Retry) (*envoyroute.RetryPolicy, error) {
	if r == nil {
		return nil, nil
	}
	out := &envoyroute.RetryPolicy{RetryOn: r.On, NumRetries: wrapperspb.UInt32(uint32(r.Attempts))}
	for _, status := range r.Statuses {
		out.RetriableStatusCodes = append(out.RetriableStatusCodes, uint32(status))
	}
	if r.PerTryTimeout > 0 {
		out.PerTryTimeout = durationpb.New(r.PerTryTimeout)
	}
	if r.Backoff > 0 {
		out.RetryBackOff = &envoyroute.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(r.Backoff)}
	}
	if r.AvoidPrevious > 0 {
		config, err := pack(&previous.PreviousHostsPredicate{})
		if err != nil {
			return nil, err
		}
		out.RetryHostPredicate = []*envoyroute.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts", ConfigType: &envoyroute.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: config},
		}}
		out.HostSelectionRetryMaxAttempts = int64(r.AvoidPrevious)
	}
	return out, nil
}

func hashPolicy(h *route.HashPolicy) *envoyroute.RouteAction_HashPolicy {
	out := &envoyroute.RouteAction_HashPolicy{}
	switch {
	case h.Header != "":
		out.PolicySpecifier = &envoyroute.RouteAction_HashPolicy_Header_{Header: &envoyroute.RouteAction_HashPolicy_Header{HeaderName: h.Header}}
	case h.Cookie != "":
		cookie := &envoyroute.RouteAction_HashPolicy_Cookie{Name: h.Cookie, Path: h.CookiePath}
		if h.CookieTTL != nil {
			cookie.Ttl = durationpb.New(*h.CookieTTL)
		}
		out.PolicySpecifier = &envoyroute.RouteAction_HashPolicy_Cookie_{Cookie: cookie}
	case h.Query != "":
		out.PolicySpecifier = &envoyroute.RouteAction_HashPolicy_QueryParameter_{QueryParameter: &envoyroute.RouteAction_HashPolicy_QueryParameter{Name: h.Query}}
	default:
		out.PolicySpecifier = &envoyroute.RouteAction_HashPolicy_ConnectionProperties_{ConnectionProperties: &envoyroute.RouteAction_HashPolicy_ConnectionProperties{SourceIp: h.SourceIP}}
	}
	return out
}
