package compile_test

import (
	"fmt"
	"strings"
	"testing"

	istiofiles "example.com/bookinfo/deploy/istio"
	"example.com/bookinfo/internal/mesh"
)

// The http authorization tutorial: deny all, then open the real edges one by one.
func TestAuthorizationTutorial(t *testing.T) {
	m := bookinfo(t)
	const account = "cluster.local/ns/default/sa/"
	edges := []struct{ from, to string }{
		{"", "productpage-v1"}, {account + "bookinfo-productpage", "details-v1"},
		{account + "bookinfo-productpage", "reviews-v3"}, {account + "bookinfo-reviews", "ratings-v1"},
		// Edges that Bookinfo does not have.
		{account + "bookinfo-details", "ratings-v1"}, {account + "default", "reviews-v1"}, {"", "reviews-v2"},
	}
	allowed := func() (open string) {
		for _, e := range edges {
			r := request(e.to+":9080", "/x/0", "")
			r.Principal = e.from
			ok, policy := tables(t, m, e.to).Inbound.Authorization.Allows(r)
			if !ok && policy != "none" {
				t.Errorf("%v is denied by %q, want no policy that matches: none", e, policy)
			}
			r.Method = "DELETE"
			if ok, _ := tables(t, m, e.to).Inbound.Authorization.Allows(r); ok && len(m.Snapshot().Resources) > 0 {
				t.Errorf("%v may DELETE", e)
			}
			if ok {
				open += "+"
			} else {
				open += "-"
			}
		}
		return open
	}
	for _, step := range []struct{ file, open string }{
		{"", "+++++++"},
		{"authorization-allow-nothing.yaml", "-------"},
		{"authorization-productpage.yaml", "+------"},
		{"authorization-details.yaml", "++-----"},
		{"authorization-reviews.yaml", "+++----"},
		{"authorization-ratings.yaml", "++++---"},
	} {
		if step.file != "" {
			apply(t, m, step.file)
		}
		if got := allowed(); got != step.open {
			t.Errorf("after %s: open %s, want %s", step.file, got, step.open)
		}
	}
}

func TestDenyAndConditions(t *testing.T) {
	m := bookinfo(t)
	applyText(t, m, "deny.yaml", `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  action: DENY
  rules:
  - from: [{source: {namespaces: [other], notServiceAccounts: [other/trusted]}}]
  - to: [{operation: {paths: ["/admin*", "*/secret"], notMethods: [OPTIONS]}}]
    when: [{key: "request.headers[x-role]", notValues: [admin]}]
`)
	for _, c := range []struct {
		method, path, principal, role string
		policy                        string // "" if allowed
	}{
		{"GET", "/reviews/0", "", "", ""},
		{"GET", "/reviews/0", "cluster.local/ns/other/sa/x", "", "ns[default]-policy[deny]-rule[0]"},
		{"GET", "/reviews/0", "cluster.local/ns/other/sa/trusted", "", ""},
		{"GET", "/admin/x", "", "", "ns[default]-policy[deny]-rule[1]"},
		{"GET", "/admin/x?y=/z", "", "user", "ns[default]-policy[deny]-rule[1]"},
		{"GET", "/admin/x", "", "admin", ""},
		{"OPTIONS", "/admin/x", "", "", ""},
		{"GET", "/a/secret", "", "", "ns[default]-policy[deny]-rule[1]"},
	} {
		r := request("reviews:9080", c.path, "")
		r.Method, r.Principal = c.method, c.principal
		if c.role != "" {
			r.Headers.Add("x-role", c.role)
		}
		ok, policy := tables(t, m, "reviews-v1").Inbound.Authorization.Allows(r)
		if ok != (c.policy == "") || policy != c.policy {
			t.Errorf("%+v: allowed %v by %q", c, ok, policy)
		}
	}
	if tables(t, m, "ratings-v1").Inbound.Authorization != nil {
		t.Error("the policy is for reviews alone")
	}
}

func TestTelemetryFiles(t *testing.T) {
	m := bookinfo(t)
	if got := tables(t, m, "productpage-v1").Inbound.Tracing; got != nil {
		t.Fatalf("without Telemetry: %+v", got)
	}
	apply(t, m, "telemetry-otel.yaml", "telemetry-sampling-10.yaml", "telemetry-custom-tags.yaml", "telemetry-disable.yaml")
	page := tables(t, m, "productpage-v1").Outbound.Tracing
	if page.Provider != "otel" || page.Sampling == nil || *page.Sampling != 10 || page.Disabled {
		t.Errorf("productpage: %+v", page)
	}
	if got := fmt.Sprint(page.Tags); got != "[{end_user  end-user  nobody} {lesson tracing   } {pod   POD_NAME unknown}]" {
		t.Errorf("tags %s", got)
	}
	if got := tables(t, m, "details-v1").Inbound.Tracing; len(got.Tags) > 0 || *got.Sampling != 10 {
		t.Errorf("details: %+v", got)
	}
	if got := tables(t, m, "ratings-v1").Inbound.Tracing; !got.Disabled {
		t.Errorf("ratings: %+v", got)
	}
	if got := tables(t, m, "istio-ingressgateway").Gateway.Tracing; *got.Sampling != 100 || got.Provider != "otel" {
		t.Errorf("gateway: %+v", got)
	}
	apply(t, m, "telemetry-zipkin.yaml")
	if got := tables(t, m, "istio-ingressgateway").Gateway.Tracing; got.Provider != "zipkin" {
		t.Errorf("gateway: %+v", got)
	}
}

// What only a cluster can use is refused with the reason.
func TestClusterOnlyFiles(t *testing.T) {
	for name, reason := range map[string]string{
		"authorization-strict-mtls.yaml": "no mutual TLS", "sidecar-bookinfo.yaml": "knows every service",
		"mesh-config-zipkin-b3.yaml": "installs Istio itself", "mesh-config-zipkin-b3-w3c.yaml": "installs Istio itself", "mesh-config-otel.yaml": "installs Istio itself",
	} {
		data, err := istiofiles.Files().ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m := bookinfo(t)
		if result := m.Apply([]mesh.File{{Name: name, Data: data}}, "default", false); len(result.Changes) > 0 || !strings.Contains(fmt.Sprint(result.Problems), reason) {
			t.Errorf("%s: %v, want %q", name, result, reason)
		}
	}
}
