package bootstrap

import (
	"net/netip"
	"regexp"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	envoyroute "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/bookinfo/services/sidecar/route"
)

// rbacFilters writes one filter that denies, and one that allows, as Istio orders them.
func rbacFilters(a *route.Authorization) []*rbacfilter.RBAC {
	if a == nil {
		return nil
	}
	var filters []*rbacfilter.RBAC
	add := func(action rbac.RBAC_Action, rules []route.AccessRule) {
		out := &rbac.RBAC{Action: action, Policies: make(map[string]*rbac.Policy)}
		for i := range rules {
			out.Policies[rules[i].Policy] = policy(&rules[i])
		}
		filters = append(filters, &rbacfilter.RBAC{Rules: out})
	}
	if len(a.Deny) > 0 {
		add(rbac.RBAC_DENY, a.Deny)
	}
	if a.Restricted {
		add(rbac.RBAC_ALLOW, a.Allow)
	}
	return filters
}

// policy writes a rule: permissions say what is asked for, principals who asks, and under which conditions.
func policy(rule *route.AccessRule) *rbac.Policy {
	out := &rbac.Policy{}
	for i := range rule.To {
		out.Permissions = append(out.Permissions, permission(&rule.To[i]))
	}
	if len(rule.To) == 0 {
		out.Permissions = []*rbac.Permission{{Rule: &rbac.Permission_Any{Any: true}}}
	}
	var conditions []*rbac.Principal
	for i := range rule.When {
		conditions = append(conditions, condition(&rule.When[i])...)
	}
	sources := []*rbac.Principal{{Identifier: &rbac.Principal_Any{Any: true}}}
	if len(rule.From) > 0 {
		sources = nil
		for i := range rule.From {
			sources = append(sources, source(&rule.From[i]))
		}
	}
	for _, s := range sources {
		out.Principals = append(out.Principals, allOf(append([]*rbac.Principal{s}, conditions...)))
	}
	return out
}

func allOf(ids []*rbac.Principal) *rbac.Principal {
	if len(ids) == 1 {
		return ids[0]
	}
	return &rbac.Principal{Identifier: &rbac.Principal_AndIds{AndIds: &rbac.Principal_Set{Ids: ids}}}
}

func anyOf(ids []*rbac.Principal) *rbac.Principal {
	return &rbac.Principal{Identifier: &rbac.Principal_OrIds{OrIds: &rbac.Principal_Set{Ids: ids}}}
}

func not(id *rbac.Principal) *rbac.Principal {
	return &rbac.Principal{Identifier: &rbac.Principal_NotId{NotId: id}}
}

func source(s *route.AccessSource) *rbac.Principal {
	all := []*rbac.Principal{{Identifier: &rbac.Principal_Any{Any: true}}}
	group := func(is, isNot []*rbac.Principal) {
		if len(is) > 0 {
			all = append(all, anyOf(is))
		}
		if len(isNot) > 0 {
			all = append(all, not(anyOf(isNot)))
		}
	}
	group(principals(s.Principals), principals(s.NotPrincipals))
	group(namespaces(s.Namespaces), namespaces(s.NotNamespaces))
	group(accounts(s.Accounts), accounts(s.NotAccounts))
	group(addresses(s.IPs), addresses(s.NotIPs))
	return allOf(all)
}

// byCertificate matches what the caller's sidecar wrote about itself; the stand-in has no certificate to look at.
func byCertificate(expression string) *rbac.Principal {
	return &rbac.Principal{Identifier: &rbac.Principal_Header{Header: &envoyroute.HeaderMatcher{
		Name: "x-forwarded-client-cert",
		HeaderMatchSpecifier: &envoyroute.HeaderMatcher_StringMatch{StringMatch: &matcher.StringMatcher{
			MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: "(.*;)?URI=spiffe://" + expression + "(;.*)?"}},
		}},
	}}}
}

// expression is a pattern of any value, of a whole, a beginning or an end, as a regular expression over characters.
func expression(m *route.StringMatch, characters string) string {
	switch m.Kind {
	case route.Prefix:
		return regexp.QuoteMeta(m.Value) + characters + "*"
	case route.Suffix:
		return characters + "*" + regexp.QuoteMeta(m.Value)
	case route.Present:
		return characters + "+"
	}
	return regexp.QuoteMeta(m.Value)
}

func principals(list []route.StringMatch) (out []*rbac.Principal) {
	for i := range list {
		out = append(out, byCertificate(expression(&list[i], "[^;,]")))
	}
	return out
}

func namespaces(list []route.StringMatch) (out []*rbac.Principal) {
	for i := range list {
		out = append(out, byCertificate("[^;,/]+/ns/"+expression(&list[i], "[^;,/]")+"/sa/[^;,/]+"))
	}
	return out
}

func accounts(list []route.StringMatch) (out []*rbac.Principal) {
	for i := range list {
		// "namespace/name" stands in the principal as "namespace/sa/name".
		m := list[i]
		for j := range len(m.Value) {
			if m.Value[j] == '/' {
				m.Value = m.Value[:j] + "/sa" + m.Value[j:]
				break
			}
		}
		out = append(out, byCertificate("[^;,/]+/ns/"+expression(&m, "[^;,]")))
	}
	return out
}

func addresses(list []netip.Prefix) (out []*rbac.Principal) {
	for _, p := range list {
		out = append(out, &rbac.Principal{Identifier: &rbac.Principal_DirectRemoteIp{DirectRemoteIp: &core.CidrRange{
			AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits())),
		}}})
	}
	return out
}

func condition(c *route.AccessCondition) (all []*rbac.Principal) {
	convert := func(list []route.StringMatch) (out []*rbac.Principal) {
		switch {
		case c.Header != "":
			for i := range list {
				out = append(out, &rbac.Principal{Identifier: &rbac.Principal_Header{Header: headerMatcher(&route.FieldMatch{Name: c.Header, Value: list[i]})}})
			}
		case c.Key == "source.principal":
			out = principals(list)
		case c.Key == "source.namespace":
			out = namespaces(list)
		case c.Key == "source.serviceAccount":
			out = accounts(list)
		}
		return out
	}
	if is := convert(c.Values); len(is) > 0 {
		all = append(all, anyOf(is))
	}
	if isNot := convert(c.NotValues); len(isNot) > 0 {
		all = append(all, not(anyOf(isNot)))
	}
	return all
}

func permission(o *route.AccessOperation) *rbac.Permission {
	all := []*rbac.Permission{{Rule: &rbac.Permission_Any{Any: true}}}
	group := func(is, isNot []*rbac.Permission) {
		if len(is) > 0 {
			all = append(all, anyPermission(is))
		}
		if len(isNot) > 0 {
			all = append(all, &rbac.Permission{Rule: &rbac.Permission_NotRule{NotRule: anyPermission(isNot)}})
		}
	}
	byHeader := func(name string, list []route.StringMatch) (out []*rbac.Permission) {
		for i := range list {
			out = append(out, &rbac.Permission{Rule: &rbac.Permission_Header{Header: headerMatcher(&route.FieldMatch{Name: name, Value: list[i]})}})
		}
		return out
	}
	byPath := func(list []route.StringMatch) (out []*rbac.Permission) {
		for i := range list {
			out = append(out, &rbac.Permission{Rule: &rbac.Permission_UrlPath{UrlPath: &matcher.PathMatcher{
				Rule: &matcher.PathMatcher_Path{Path: stringMatcher(&list[i])},
			}}})
		}
		return out
	}
	byPort := func(list []int) (out []*rbac.Permission) {
		for _, port := range list {
			out = append(out, &rbac.Permission{Rule: &rbac.Permission_DestinationPort{DestinationPort: uint32(port)}})
		}
		return out
	}
	group(byHeader(":authority", o.Hosts), byHeader(":authority", o.NotHosts))
	group(byHeader(":method", o.Methods), byHeader(":method", o.NotMethods))
	group(byPath(o.Paths), byPath(o.NotPaths))
	group(byPort(o.Ports), byPort(o.NotPorts))
	return &rbac.Permission{Rule: &rbac.Permission_AndRules{AndRules: &rbac.Permission_Set{Rules: all}}}
}

func anyPermission(rules []*rbac.Permission) *rbac.Permission {
	return &rbac.Permission{Rule: &rbac.Permission_OrRules{OrRules: &rbac.Permission_Set{Rules: rules}}}
}
