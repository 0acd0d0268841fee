package compile

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

// authorization gathers the policies that choose this workload: those of its namespace and of the root namespace, with
// a selector that its labels satisfy, or none.
func (b *builder) authorization() *route.Authorization {
	out := &route.Authorization{}
	for _, p := range mesh.Of[*security.AuthorizationPolicy](b.s) {
		if p.Namespace != b.w.Namespace && p.Namespace != b.s.RootNamespace || !mesh.Subsumes(p.Spec.GetSelector().GetMatchLabels(), b.w.Labels) {
			continue
		}
		var rules []route.AccessRule
		for i, rule := range p.Spec.Rules {
			name := fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", p.Namespace, p.Name, i)
			rules = append(rules, accessRule(rule, name))
		}
		switch p.Spec.Action {
		case security.AuthorizationPolicy_ALLOW:
			out.Restricted = true
			out.Allow = append(out.Allow, rules...)
		case security.AuthorizationPolicy_DENY:
			out.Deny = append(out.Deny, rules...)
		}
	}
	if !out.Restricted && len(out.Deny) == 0 {
		return nil
	}
	return out
}

func accessRule(in *security.Rule, name string) route.AccessRule {
	out := route.AccessRule{Policy: name}
	for _, from := range in.From {
		s := from.GetSource()
		out.From = append(out.From, route.AccessSource{
			Principals: patterns(s.GetPrincipals()), NotPrincipals: patterns(s.GetNotPrincipals()),
			Namespaces: patterns(s.GetNamespaces()), NotNamespaces: patterns(s.GetNotNamespaces()),
			Accounts: patterns(s.GetServiceAccounts()), NotAccounts: patterns(s.GetNotServiceAccounts()),
			IPs: prefixes(s.GetIpBlocks()), NotIPs: prefixes(s.GetNotIpBlocks()),
		})
	}
	for _, to := range in.To {
		o := to.GetOperation()
		out.To = append(out.To, route.AccessOperation{
			Hosts: patterns(lowered(o.GetHosts())), NotHosts: patterns(lowered(o.GetNotHosts())),
			Ports: numbers(o.GetPorts()), NotPorts: numbers(o.GetNotPorts()),
			Methods: patterns(o.GetMethods()), NotMethods: patterns(o.GetNotMethods()),
			Paths: patterns(o.GetPaths()), NotPaths: patterns(o.GetNotPaths()),
		})
	}
	for _, when := range in.When {
		condition := route.AccessCondition{Key: when.Key, Values: patterns(when.Values), NotValues: patterns(when.NotValues)}
		if name, ok := strings.CutPrefix(when.Key, "request.headers["); ok {
			condition.Header = strings.ToLower(strings.TrimSuffix(name, "]"))
		}
		out.When = append(out.When, condition)
	}
	return out
}

// patterns reads Istio's: "*" is any value that is there, "x*" and "*x" a beginning and an end.
func patterns(values []string) []route.StringMatch {
	var out []route.StringMatch
	for _, value := range values {
		m := route.StringMatch{Kind: route.Exact, Value: value}
		switch {
		case value == "*":
			m = route.StringMatch{Kind: route.Present}
		case strings.HasSuffix(value, "*"):
			m = route.StringMatch{Kind: route.Prefix, Value: strings.TrimSuffix(value, "*")}
		case strings.HasPrefix(value, "*"):
			m = route.StringMatch{Kind: route.Suffix, Value: strings.TrimPrefix(value, "*")}
		}
		out = append(out, m)
	}
	return out
}

func lowered(values []string) []string {
	out := make([]string, len(values))
	for i, value := range values {
		out[i] = strings.ToLower(value)
	}
	return out
}

// prefixes and numbers read what validation found right.
func prefixes(blocks []string) []netip.Prefix {
	var out []netip.Prefix
	for _, block := range blocks {
		if prefix, err := netip.ParsePrefix(block); err == nil {
			out = append(out, prefix)
		} else if addr, err := netip.ParseAddr(block); err == nil {
			out = append(out, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return out
}

func numbers(values []string) []int {
	var out []int
	for _, value := range values {
		if n, err := strconv.Atoi(value); err == nil {
			out = append(out, n)
		}
	}
	return out
}
