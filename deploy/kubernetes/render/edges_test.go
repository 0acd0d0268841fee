package main

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"example.com/bookinfo/deploy/kubernetes/combine"
)

// policy is a NetworkPolicy, as far as those of the component "hardened" go.
type policy struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		PodSelector     podSelector `json:"podSelector"`
		PolicyTypes     []string    `json:"policyTypes"`
		Ingress, Egress []struct {
			From, To []peer
			Ports    []struct {
				Port     int
				Protocol string
			}
		}
	}
}

type podSelector struct {
	MatchLabels      map[string]string `json:"matchLabels"`
	MatchExpressions []struct {
		Key, Operator string
		Values        []string
	} `json:"matchExpressions"`
}

type peer struct {
	PodSelector, NamespaceSelector *podSelector
	IPBlock                        *struct{ CIDR string } `json:"ipBlock"`
}

func (s podSelector) selects(labels map[string]string) bool {
	for key, value := range s.MatchLabels {
		if labels[key] != value {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		if e.Operator != "In" || !slices.Contains(e.Values, labels[e.Key]) {
			return false
		}
	}
	return true
}

// place is something that sends or receives: a pod of the suite's namespace, or one of another.
type place struct {
	namespace string
	labels    map[string]string
	address   string
}

func (p peer) is(other place) bool {
	if p.IPBlock != nil {
		return other.address != "" && netip.MustParsePrefix(p.IPBlock.CIDR).Contains(netip.MustParseAddr(other.address))
	}
	if p.NamespaceSelector != nil {
		return other.namespace != "" && p.NamespaceSelector.selects(map[string]string{"kubernetes.io/metadata.name": other.namespace}) &&
			(p.PodSelector == nil || p.PodSelector.selects(other.labels))
	}
	return other.namespace == "" && other.address == "" && p.PodSelector.selects(other.labels)
}

// allowed tells whether the policies let from call port of to, as Kubernetes reads them: a pod that no policy of the
// direction selects is open, any other needs one that allows.
func allowed(policies []policy, from, to place, port int) bool {
	open := func(direction string, pod, other place) bool {
		if pod.namespace != "" || pod.address != "" {
			return true // not a pod of this namespace
		}
		isolated := false
		for _, p := range policies {
			if !p.Spec.PodSelector.selects(pod.labels) || !slices.Contains(p.Spec.PolicyTypes, direction) {
				continue
			}
			isolated = true
			rules := p.Spec.Ingress
			if direction == "Egress" {
				rules = p.Spec.Egress
			}
			for _, rule := range rules {
				peers := slices.Concat(rule.From, rule.To)
				portFits := len(rule.Ports) == 0
				for _, allowed := range rule.Ports {
					portFits = portFits || allowed.Port == port
				}
				if portFits && slices.ContainsFunc(peers, func(p peer) bool { return p.is(other) }) {
					return true
				}
			}
		}
		return !isolated
	}
	return open("Egress", from, to) && open("Ingress", to, from)
}

// TestPoliciesAllowTheRealEdgesAlone reads the NetworkPolicies as Kubernetes does, since the network of the cluster on
// which the overlays are tried does not enforce them.
func TestPoliciesAllowTheRealEdgesAlone(t *testing.T) {
	tree, err := combine.Tree("../..")
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := combine.Combination{"mysql", "mongodb", "load", "check", "hardened"}.Render(tree)
	if err != nil {
		t.Fatal(err)
	}
	var policies []policy
	for _, doc := range strings.Split(string(rendered), "\n---\n") {
		var p policy
		if strings.Contains(doc, "kind: NetworkPolicy\n") {
			if err := yaml.Unmarshal([]byte(doc), &p); err != nil {
				t.Fatal(err)
			}
			policies = append(policies, p)
		}
	}
	pod := func(app string) place { return place{labels: map[string]string{"app": app}} }
	places := map[string]place{
		"gateway":     {namespace: "istio-system", labels: map[string]string{"app": "istio-ingressgateway"}},
		"gateway-api": {labels: map[string]string{"gateway.networking.k8s.io/gateway-name": "bookinfo-gateway"}},
		"prometheus":  {namespace: "monitoring"},
		"console":     {namespace: "observability"},
		"dns":         {namespace: "kube-system"},
		"elsewhere":   {namespace: "elsewhere", labels: map[string]string{"app": "productpage"}},
		"outside":     {address: "203.0.113.7"},
		"stranger":    pod("stranger"),
	}
	for _, app := range []string{"productpage", "details", "reviews", "ratings", "mysqldb", "mongodb", "bookinfo-load", "bookinfo-check"} {
		places[app] = pod(app)
	}
	edges := map[string]bool{}
	for _, e := range strings.Fields(`gateway>productpage gateway-api>productpage bookinfo-load>productpage bookinfo-check>productpage
		productpage>details productpage>reviews productpage>ratings reviews>ratings
		prometheus>productpage prometheus>details prometheus>reviews prometheus>ratings`) {
		edges[e+":9080"] = true
	}
	for _, app := range []string{"productpage", "details", "reviews", "ratings", "mysqldb", "mongodb", "bookinfo-load", "bookinfo-check"} {
		edges[app+">dns:53"] = true
		if app != "bookinfo-check" {
			edges[app+">gateway:15012"] = true // istiod's namespace
		}
		if !strings.HasSuffix(app, "db") {
			edges[app+">console:9411"] = true
			if app != "bookinfo-check" {
				edges[app+">console:4317"] = true
			}
		}
	}
	edges["ratings>mysqldb:3306"], edges["ratings>mongodb:27017"] = true, true
	for from, a := range places {
		for to, b := range places {
			if _, suite := a.labels["app"]; from == to || (a.namespace+a.address != "" || !suite || from == "stranger") && (b.namespace+b.address != "" || to == "gateway-api" || to == "stranger") {
				continue // no policy of ours is about it
			}
			for _, port := range []int{9080, 3306, 27017, 53, 15012, 9411, 4317, 443} {
				edge := from + ">" + to + ":" + strconv.Itoa(port)
				if got := allowed(policies, a, b, port); got != edges[edge] {
					t.Errorf("%s: allowed is %t", edge, got)
				}
			}
		}
	}
}
