package route

import (
	"net/netip"
	"strings"
)

// Authorization is what AuthorizationPolicies say about a workload.
type Authorization struct {
	// Deny rules are looked at first: one that matches denies.
	Deny []AccessRule
	// Allow rules: if Restricted, one must match.
	Allow []AccessRule
	// Restricted tells that there is a policy that allows, though it may have no rule at all.
	Restricted bool
}

// AccessRule matches if any of From, any of To and all of When hold; an empty list holds.
type AccessRule struct {
	// Policy names the rule as Envoy's access log does: "ns[default]-policy[deny-all]-rule[0]".
	Policy string
	From   []AccessSource
	To     []AccessOperation
	When   []AccessCondition
}

// AccessSource and AccessOperation hold if each of their lists is empty or has a pattern that matches, and no pattern
// of a Not list does.
type AccessSource struct {
	Principals, NotPrincipals []StringMatch
	Namespaces, NotNamespaces []StringMatch
	Accounts, NotAccounts     []StringMatch // "namespace/name"
	IPs, NotIPs               []netip.Prefix
}

// AccessOperation is what is asked for.
type AccessOperation struct {
	Hosts, NotHosts     []StringMatch
	Ports, NotPorts     []int
	Methods, NotMethods []StringMatch
	Paths, NotPaths     []StringMatch
}

// AccessCondition wants a header ("request.headers[name]") or another attribute to match.
type AccessCondition struct {
	// Header is the name of a request header; else Key is one of "source.namespace", "source.principal",
	// "source.serviceAccount", "destination.port".
	Header, Key       string
	Values, NotValues []StringMatch
}

// Allows tells whether the request may pass, and else the rule that denied it, or "none", as Envoy's
// %RESPONSE_CODE_DETAILS% puts it: rbac_access_denied_matched_policy[none]. A nil Authorization allows.
func (a *Authorization) Allows(r *Request) (ok bool, policy string) {
	if a == nil {
		return true, ""
	}
	for i := range a.Deny {
		if a.Deny[i].matches(r) {
			return false, a.Deny[i].Policy
		}
	}
	if !a.Restricted {
		return true, ""
	}
	for i := range a.Allow {
		if a.Allow[i].matches(r) {
			return true, ""
		}
	}
	return false, "none"
}

func (rule *AccessRule) matches(r *Request) bool {
	from := len(rule.From) == 0
	for i := range rule.From {
		from = from || rule.From[i].matches(r)
	}
	to := len(rule.To) == 0
	for i := range rule.To {
		to = to || rule.To[i].matches(r)
	}
	if !from || !to {
		return false
	}
	for i := range rule.When {
		if !rule.When[i].matches(r) {
			return false
		}
	}
	return true
}

func (s *AccessSource) matches(r *Request) bool {
	namespace, account := identity(r.Principal)
	return oneAndNot(s.Principals, s.NotPrincipals, r.Principal) &&
		oneAndNot(s.Namespaces, s.NotNamespaces, namespace) &&
		oneAndNot(s.Accounts, s.NotAccounts, account) &&
		(len(s.IPs) == 0 || contains(s.IPs, r.Source)) && !contains(s.NotIPs, r.Source)
}

func (o *AccessOperation) matches(r *Request) bool {
	return oneAndNot(o.Hosts, o.NotHosts, lower(r.Authority)) &&
		oneAndNot(o.Methods, o.NotMethods, r.Method) &&
		oneAndNot(o.Paths, o.NotPaths, r.path()) &&
		(len(o.Ports) == 0 || containsPort(o.Ports, r.Port)) && !containsPort(o.NotPorts, r.Port)
}

func (c *AccessCondition) matches(r *Request) bool {
	if c.Header != "" {
		value, ok := r.field(c.Header)
		return (len(c.Values) == 0 || ok && anyOf(c.Values, value)) && !(ok && anyOf(c.NotValues, value))
	}
	var value string
	namespace, account := identity(r.Principal)
	switch c.Key {
	case "source.principal":
		value = r.Principal
	case "source.namespace":
		value = namespace
	case "source.serviceAccount":
		value = account
	}
	return oneAndNot(c.Values, c.NotValues, value)
}

// identity takes "cluster.local/ns/default/sa/reviews" apart.
func identity(principal string) (namespace, account string) {
	_, rest, ok := strings.Cut(principal, "/ns/")
	if !ok {
		return "", ""
	}
	namespace, name, ok := strings.Cut(rest, "/sa/")
	if !ok {
		return namespace, ""
	}
	return namespace, namespace + "/" + name
}

func oneAndNot(one, not []StringMatch, value string) bool {
	return (len(one) == 0 || anyOf(one, value)) && !anyOf(not, value)
}

// anyOf tells whether a pattern matches. A caller without the attribute ("") matches none, not even "*", which in
// Istio means "present".
func anyOf(patterns []StringMatch, value string) bool {
	if value == "" {
		return false
	}
	for i := range patterns {
		if patterns[i].Matches(value) {
			return true
		}
	}
	return false
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, prefix := range prefixes {
		if prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

func containsPort(ports []int, port int) bool {
	for _, p := range ports {
		if p == port {
			return true
		}
	}
	return false
}
