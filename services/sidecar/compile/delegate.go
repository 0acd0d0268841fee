package compile

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"example.com/bookinfo/internal/mesh"
)

// httpRule is one http rule with what it was delegated from.
type httpRule struct {
	*networking.HTTPRoute
	from *mesh.Resource // the delegate, nil for a rule of the VirtualService itself
}

// withDelegates returns the http rules of a VirtualService, each that delegates replaced by the delegate's rules. A
// delegate has no hosts and delegates no further (istio: pilot/pkg/model/virtualservice.go).
func (b *builder) withDelegates(v mesh.Typed[*networking.VirtualService]) []httpRule {
	var rules []httpRule
	for _, rule := range v.Spec.Http {
		if rule.Delegate == nil {
			rules = append(rules, httpRule{rule, nil})
			continue
		}
		namespace := rule.Delegate.Namespace
		if namespace == "" {
			namespace = v.Namespace
		}
		for _, d := range mesh.Of[*networking.VirtualService](b.s) {
			if d.Name != rule.Delegate.Name || d.Namespace != namespace || len(d.Spec.Hosts) > 0 || !mesh.Visible(d.Spec.ExportTo, d.Namespace, v.Namespace) {
				continue
			}
			for _, inner := range d.Spec.Http {
				if inner.Delegate != nil {
					continue
				}
				if merged := mergeDelegate(rule, inner, d.Namespace); merged != nil {
					rules = append(rules, httpRule{merged, d.Resource})
				}
			}
		}
	}
	return rules
}

// mergeDelegate gives a delegate's rule the matches of the root's, and what it does not set itself. It returns nil if no
// request can match both.
func mergeDelegate(root, inner *networking.HTTPRoute, namespace string) *networking.HTTPRoute {
	merged := proto.CloneOf(inner)
	merged.Match = nil
	switch {
	case len(root.Match) == 0:
		merged.Match = inner.Match
	case len(inner.Match) == 0:
		merged.Match = root.Match
	default:
		for _, r := range root.Match {
			for _, i := range inner.Match {
				if match := bothMatches(r, i); match != nil {
					merged.Match = append(merged.Match, match)
				}
			}
		}
		if len(merged.Match) == 0 {
			return nil
		}
	}
	if merged.Name = inner.Name; root.Name != "" {
		merged.Name = strings.TrimSuffix(root.Name+"-"+inner.Name, "-")
	}
	if merged.Rewrite == nil {
		merged.Rewrite = root.Rewrite
	}
	if merged.DirectResponse == nil && len(merged.Route) == 0 && merged.Redirect == nil {
		merged.DirectResponse, merged.Redirect = root.DirectResponse, root.Redirect
	}
	if merged.Timeout == nil {
		merged.Timeout = root.Timeout
	}
	if merged.Retries == nil {
		merged.Retries = root.Retries
	}
	if merged.Fault == nil {
		merged.Fault = root.Fault
	}
	if merged.Mirror == nil && len(merged.Mirrors) == 0 {
		merged.Mirror, merged.Mirrors, merged.MirrorPercentage = root.Mirror, root.Mirrors, root.MirrorPercentage
	}
	if merged.CorsPolicy == nil {
		merged.CorsPolicy = root.CorsPolicy
	}
	if merged.Headers == nil {
		merged.Headers = root.Headers
	}
	// Names of the delegate are of its own namespace.
	for _, d := range merged.Route {
		if d.Destination != nil {
			d.Destination.Host = mesh.FullHost(d.Destination.Host, namespace)
		}
	}
	return merged
}

// bothMatches returns the match of requests that both want, nil where they contradict each other.
func bothMatches(root, inner *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	out := proto.CloneOf(inner)
	if !pathWithin(root, inner) {
		return nil
	}
	if out.Uri == nil {
		out.Uri, out.IgnoreUriCase = root.Uri, root.IgnoreUriCase
	}
	for _, part := range []struct {
		root *networking.StringMatch
		out  **networking.StringMatch
	}{{root.Scheme, &out.Scheme}, {root.Method, &out.Method}, {root.Authority, &out.Authority}} {
		if part.root == nil {
			continue
		}
		if *part.out != nil && !proto.Equal(part.root, *part.out) {
			return nil
		}
		*part.out = part.root
	}
	if !unite(root.Headers, &out.Headers) || !unite(root.WithoutHeaders, &out.WithoutHeaders) || !unite(root.QueryParams, &out.QueryParams) {
		return nil
	}
	if root.Port != 0 {
		if out.Port != 0 && out.Port != root.Port {
			return nil
		}
		out.Port = root.Port
	}
	labels := maps.Clone(root.SourceLabels)
	for key, value := range out.SourceLabels {
		if have, ok := labels[key]; ok && have != value {
			return nil
		}
		if labels == nil {
			labels = make(map[string]string)
		}
		labels[key] = value
	}
	out.SourceLabels = labels
	if root.SourceNamespace != "" {
		if out.SourceNamespace != "" && out.SourceNamespace != root.SourceNamespace {
			return nil
		}
		out.SourceNamespace = root.SourceNamespace
	}
	if len(out.Gateways) == 0 {
		out.Gateways = slices.Clone(root.Gateways)
	}
	if root.Name != "" {
		out.Name = strings.TrimSuffix(root.Name+"-"+out.Name, "-")
	}
	return out
}

// pathWithin tells whether the delegate's path lies within the root's: the root's must be a prefix of it or the same.
func pathWithin(root, inner *networking.HTTPMatchRequest) bool {
	if root.Uri == nil || inner.Uri == nil {
		return true
	}
	prefix, ok := root.Uri.MatchType.(*networking.StringMatch_Prefix)
	if !ok {
		return proto.Equal(root.Uri, inner.Uri)
	}
	switch path := inner.Uri.MatchType.(type) {
	case *networking.StringMatch_Prefix:
		return strings.HasPrefix(path.Prefix, prefix.Prefix)
	case *networking.StringMatch_Exact:
		return strings.HasPrefix(path.Exact, prefix.Prefix)
	}
	return false
}

// unite adds the root's fields to the delegate's; false if both want the same field to be something else.
func unite(root map[string]*networking.StringMatch, out *map[string]*networking.StringMatch) bool {
	if len(root) == 0 {
		return true
	}
	united := maps.Clone(root)
	for name, match := range *out {
		if have, ok := united[name]; ok && !proto.Equal(have, match) {
			return false
		}
		united[name] = match
	}
	*out = united
	return true
}
