package compile

import (
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

// destinationRule is what all DestinationRules for one host say together.
type destinationRule struct {
	spec    *networking.TrafficPolicy
	subsets []*networking.Subset
}

// ruleIndex finds the rule of a host as one workload sees it.
type ruleIndex map[string]*destinationRule

// newRuleIndex chooses for each service: rules in the workload's own namespace before those in the service's before
// those in the root namespace; in one of these an exact host before a wildcard; rules for the same host are merged, the
// first created giving the policy and each adding the subsets that are new.
func newRuleIndex(b *builder) ruleIndex {
	index := make(ruleIndex)
	rules := mesh.Of[*networking.DestinationRule](b.s)
	if len(rules) == 0 {
		return index
	}
	for _, service := range b.s.Services {
		for _, namespace := range []string{b.w.Namespace, service.Namespace, b.s.RootNamespace} {
			if rule := b.mergeRules(rules, service.Host(), namespace); rule != nil {
				index[service.Host()] = rule
				break
			}
		}
	}
	return index
}

func (b *builder) mergeRules(rules []mesh.Typed[*networking.DestinationRule], host, namespace string) *destinationRule {
	var best string
	for _, r := range rules {
		pattern := mesh.FullHost(r.Spec.Host, r.Namespace)
		if b.ruleApplies(r, namespace) && mesh.HostMatches(pattern, host) && (best == "" || moreSpecific(pattern, best)) {
			best = pattern
		}
	}
	if best == "" {
		return nil
	}
	var merged *destinationRule
	known := make(map[string]bool)
	for _, r := range rules {
		if !b.ruleApplies(r, namespace) || mesh.FullHost(r.Spec.Host, r.Namespace) != best {
			continue
		}
		if merged == nil {
			merged = &destinationRule{}
		}
		if merged.spec == nil {
			merged.spec = r.Spec.TrafficPolicy
		}
		for _, subset := range r.Spec.Subsets {
			if !known[subset.Name] {
				known[subset.Name] = true
				merged.subsets = append(merged.subsets, subset)
			}
		}
	}
	return merged
}

func (b *builder) ruleApplies(r mesh.Typed[*networking.DestinationRule], namespace string) bool {
	return r.Namespace == namespace && mesh.Visible(r.Spec.ExportTo, r.Namespace, b.w.Namespace) &&
		mesh.Subsumes(r.Spec.GetWorkloadSelector().GetMatchLabels(), b.w.Labels)
}

// moreSpecific tells whether host pattern a comes before b: exact names before wildcards, longer before shorter.
func moreSpecific(a, b string) bool {
	if wildA, wildB := strings.HasPrefix(a, "*"), strings.HasPrefix(b, "*"); wildA != wildB {
		return wildB
	}
	return len(a) > len(b)
}

func (x ruleIndex) of(host string) *destinationRule { return x[host] }

// policy is the rule's, overridden part by part by the subset's, and replaced part by part by the port's.
func (d *destinationRule) policy(subset *networking.Subset, port int) policy {
	var p policy
	for _, from := range []*networking.TrafficPolicy{d.spec, subset.GetTrafficPolicy()} {
		p.override(from.GetLoadBalancer(), from.GetConnectionPool(), from.GetOutlierDetection(), from.GetTls())
		for _, level := range from.GetPortLevelSettings() {
			if int(level.GetPort().GetNumber()) == port {
				p = policy{level.LoadBalancer, level.ConnectionPool, level.OutlierDetection, level.Tls}
				break
			}
		}
	}
	return p
}

// policy is the part of a traffic policy that the mesh acts on.
type policy struct {
	balancer *networking.LoadBalancerSettings
	pool     *networking.ConnectionPoolSettings
	outlier  *networking.OutlierDetection
	tls      *networking.ClientTLSSettings
}

func (p *policy) override(balancer *networking.LoadBalancerSettings, pool *networking.ConnectionPoolSettings, outlier *networking.OutlierDetection, tls *networking.ClientTLSSettings) {
	if balancer != nil {
		p.balancer = balancer
	}
	if pool != nil {
		p.pool = pool
	}
	if outlier != nil {
		p.outlier = outlier
	}
	if tls != nil {
		p.tls = tls
	}
}

// hash returns what a destination hashes its requests by.
func (x ruleIndex) hash(host string, port int, subset string) []route.HashPolicy {
	rule := x[host]
	if rule == nil {
		return nil
	}
	var found *networking.Subset
	for _, s := range rule.subsets {
		if s.Name == subset {
			found = s
		}
	}
	consistent := rule.policy(found, port).balancer.GetConsistentHash()
	switch key := consistent.GetHashKey().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		return []route.HashPolicy{{Header: strings.ToLower(key.HttpHeaderName)}}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		policy := route.HashPolicy{Cookie: key.HttpCookie.Name, CookiePath: key.HttpCookie.Path}
		if key.HttpCookie.Ttl != nil {
			ttl := key.HttpCookie.Ttl.AsDuration()
			policy.CookieTTL = &ttl
		}
		return []route.HashPolicy{policy}
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		return []route.HashPolicy{{SourceIP: key.UseSourceIp}}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		return []route.HashPolicy{{Query: key.HttpQueryParameterName}}
	}
	return nil
}

func applyPolicy(cluster *route.Cluster, p policy) {
	cluster.Balancer = balancer(p.balancer)
	tcp, http := p.pool.GetTcp(), p.pool.GetHttp()
	cluster.Limits = route.Limits{
		MaxConnections: int(tcp.GetMaxConnections()), MaxPending: int(http.GetHttp1MaxPendingRequests()),
		MaxRequests: int(http.GetHttp2MaxRequests()), MaxRetries: int(http.GetMaxRetries()),
		MaxRequestsPerConnection: int(http.GetMaxRequestsPerConnection()), IdleTimeout: http.GetIdleTimeout().AsDuration(),
	}
	if tcp.GetConnectTimeout() != nil {
		cluster.ConnectTimeout = tcp.GetConnectTimeout().AsDuration()
	}
	if p.outlier != nil {
		cluster.Outlier = outlier(p.outlier)
	}
	// ISTIO_MUTUAL is the mesh's own: the stand-in has no mutual TLS, and says so when the rule is applied.
	switch p.tls.GetMode() {
	case networking.ClientTLSSettings_SIMPLE, networking.ClientTLSSettings_MUTUAL:
		cluster.TLS = &route.TLS{SNI: p.tls.Sni, Insecure: p.tls.GetInsecureSkipVerify().GetValue()}
		if cluster.TLS.SNI == "" {
			cluster.TLS.SNI = cluster.Host
		}
	}
}

func balancer(settings *networking.LoadBalancerSettings) route.Balancer {
	if consistent := settings.GetConsistentHash(); consistent != nil {
		if maglev := consistent.GetMaglev(); maglev != nil {
			return route.Balancer{Kind: route.Maglev, TableSize: maglev.TableSize}
		}
		size := consistent.GetRingHash().GetMinimumRingSize()
		if size == 0 {
			size = 1024
		}
		return route.Balancer{Kind: route.RingHash, MinimumRingSize: size}
	}
	switch settings.GetSimple() {
	case networking.LoadBalancerSettings_UNSPECIFIED, networking.LoadBalancerSettings_ROUND_ROBIN:
		// Istio takes LEAST_REQUEST for unspecified. Between idle endpoints that is chance, and who reloads a page to see
		// the stars change would see the same version again and again.
		return route.Balancer{Kind: route.RoundRobin}
	case networking.LoadBalancerSettings_RANDOM:
		return route.Balancer{Kind: route.Random}
	}
	return route.Balancer{Kind: route.LeastRequest}
}

// outlier takes Envoy's defaults for what is not set: five 5xx in a row eject, gateway errors alone are counted only when the
// rule names them (istio: applyOutlierDetection).
func outlier(o *networking.OutlierDetection) *route.Outlier {
	out := &route.Outlier{
		Consecutive5xx: 5, Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjectionPercent: 10,
		MinHealthPercent: int(o.MinHealthPercent),
	}
	if e := o.Consecutive_5XxErrors; e != nil {
		out.Consecutive5xx = int(e.Value)
	}
	if e := o.ConsecutiveGatewayErrors; e != nil {
		out.ConsecutiveGateway = int(e.Value)
	}
	if o.Interval != nil {
		out.Interval = o.Interval.AsDuration()
	}
	if o.BaseEjectionTime != nil {
		out.BaseEjection = o.BaseEjectionTime.AsDuration()
	}
	if o.MaxEjectionPercent > 0 {
		out.MaxEjectionPercent = int(o.MaxEjectionPercent)
	}
	return out
}
