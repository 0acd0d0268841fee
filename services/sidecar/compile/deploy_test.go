package compile_test

import (
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	gatewayfiles "example.com/bookinfo/deploy/gateway-api"
	istiofiles "example.com/bookinfo/deploy/istio"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

// effect is what a file of deploy/ must bring about in the mesh that it is applied to.
type effect func(t *testing.T, m *mesh.Mesh)

// leads wants requests from a workload to be spread over subsets (or, with Gateway API, services) by percent.
func leads(from, host, user string, percent map[string]int) effect {
	return func(t *testing.T, m *mesh.Mesh) {
		t.Helper()
		const n = 2000
		got := clusters(tables(t, m, from).Outbound, request(host+":9080", "/"+host+"/0", user), n)
		sum := 0
		for name, want := range percent {
			p := float64(want) / 100
			// Five standard deviations of a binomial distribution: missed once in a million runs, and the dice are fixed.
			bound := 5 * math.Sqrt(n*p*(1-p))
			if have := float64(got[name]); math.Abs(have-n*p) > bound {
				t.Errorf("%s from %s as %q: %v of %d requests to %s, want %v±%.0f", host, from, user, have, n, name, n*p, bound)
			}
			sum += got[name]
		}
		if sum != n {
			t.Errorf("%s as %q: %v, want only %v", host, user, got, percent)
		}
	}
}

func subset(host, name string) string {
	return "outbound|9080|" + name + "|" + host + ".default.svc.cluster.local"
}

func all(effects ...effect) effect {
	return func(t *testing.T, m *mesh.Mesh) {
		t.Helper()
		for _, e := range effects {
			e(t, m)
		}
	}
}

func allV1(t *testing.T, m *mesh.Mesh) {
	t.Helper()
	leads("details-v1", "productpage", "", map[string]int{subset("productpage", "v1"): 100})(t, m)
	for _, host := range []string{"reviews", "ratings", "details"} {
		leads("productpage-v1", host, "", map[string]int{subset(host, "v1"): 100})(t, m)
	}
}

// faulty wants jason's requests to ratings to meet a fault, and nobody else's.
func faulty(delay time.Duration, abort int) effect {
	return func(t *testing.T, m *mesh.Mesh) {
		t.Helper()
		out := tables(t, m, "reviews-v2").Outbound
		choice := out.Choose(request("ratings:9080", "/ratings/0", "jason"), rand.NewPCG(1, 2))
		if choice.Delay != delay || choice.Abort != abort || choice.Cluster == nil || choice.Cluster.Subset != "v1" {
			t.Errorf("jason: delay %v abort %d to %+v, want %v and %d", choice.Delay, choice.Abort, choice.Cluster, delay, abort)
		}
		if choice := out.Choose(request("ratings:9080", "/ratings/0", ""), rand.NewPCG(1, 2)); choice.Delay != 0 || choice.Abort != 0 {
			t.Errorf("others: delay %v abort %d", choice.Delay, choice.Abort)
		}
	}
}

// exposed wants the gateway to lead these paths to productpage, and no others.
func exposed(t *testing.T, m *mesh.Mesh) {
	t.Helper()
	table := tables(t, m, "istio-ingressgateway").Gateway
	for _, path := range []string{"/productpage", "/static/x.css", "/login", "/logout", "/api/v1/products", "/api/v1/products/0/reviews"} {
		if choice := table.Choose(request("bookinfo.example", path, ""), rand.NewPCG(1, 2)); choice.Cluster == nil || choice.Cluster.Host != "productpage.default.svc.cluster.local" {
			t.Errorf("%s: %+v", path, choice)
		}
	}
	for _, path := range []string{"/", "/health", "/metrics", "/productpage/x"} {
		if choice := table.Choose(request("bookinfo.example", path, ""), rand.NewPCG(1, 2)); choice.Route != nil {
			t.Errorf("%s is exposed", path)
		}
	}
}

// endpoints wants every subset of destination-rule-all to have the pods of that version.
func endpoints(t *testing.T, m *mesh.Mesh) {
	t.Helper()
	out := tables(t, m, "productpage-v1").Outbound
	for name, want := range map[string]int{
		subset("productpage", "v1"): 1, subset("reviews", "v1"): 1, subset("reviews", "v2"): 1, subset("reviews", "v3"): 1,
		subset("ratings", "v1"): 1, subset("ratings", "v2-mysql"): 0, subset("details", "v1"): 1, subset("details", "v2"): 0,
	} {
		if cluster := out.Clusters[name]; cluster == nil || len(cluster.Endpoints) != want {
			t.Errorf("%s: %+v, want %d endpoints", name, cluster, want)
		}
	}
}

func istioEffects() map[string]effect {
	return map[string]effect{
		"bookinfo-gateway.yaml":          exposed,
		"destination-rule-all.yaml":      endpoints,
		"destination-rule-all-mtls.yaml": endpoints,
		"destination-rule-reviews.yaml": func(t *testing.T, m *mesh.Mesh) {
			t.Helper()
			if c := tables(t, m, "productpage-v1").Outbound.Clusters[subset("reviews", "v3")]; c == nil || c.Balancer.Kind != route.Random {
				t.Errorf("reviews v3: %+v, want balancer RANDOM", c)
			}
		},
		"virtual-service-all-v1.yaml": allV1,
		"virtual-service-reviews-test-v2.yaml": all(
			leads("productpage-v1", "reviews", "jason", map[string]int{subset("reviews", "v2"): 100}),
			leads("productpage-v1", "reviews", "", map[string]int{subset("reviews", "v1"): 100})),
		"virtual-service-reviews-jason-v2-v3.yaml": all(
			leads("productpage-v1", "reviews", "jason", map[string]int{subset("reviews", "v2"): 100}),
			leads("productpage-v1", "reviews", "", map[string]int{subset("reviews", "v3"): 100})),
		"virtual-service-reviews-50-v3.yaml":      leads("productpage-v1", "reviews", "", map[string]int{subset("reviews", "v1"): 50, subset("reviews", "v3"): 50}),
		"virtual-service-reviews-80-20.yaml":      leads("productpage-v1", "reviews", "", map[string]int{subset("reviews", "v1"): 80, subset("reviews", "v2"): 20}),
		"virtual-service-reviews-90-10.yaml":      leads("productpage-v1", "reviews", "", map[string]int{subset("reviews", "v1"): 90, subset("reviews", "v2"): 10}),
		"virtual-service-reviews-v2-v3.yaml":      leads("productpage-v1", "reviews", "", map[string]int{subset("reviews", "v2"): 50, subset("reviews", "v3"): 50}),
		"virtual-service-reviews-v3.yaml":         leads("productpage-v1", "reviews", "", map[string]int{subset("reviews", "v3"): 100}),
		"virtual-service-ratings-test-delay.yaml": faulty(7*time.Second, 0),
		"virtual-service-ratings-test-abort.yaml": faulty(0, 500),
		"virtual-service-ratings-db.yaml":         ratingsFrom("v2"),
		"virtual-service-ratings-mysql.yaml":      ratingsFrom("v2-mysql"),
		"virtual-service-ratings-mysql-vm.yaml":   ratingsFrom("v2-mysql-vm"),
		"virtual-service-details-v2.yaml":         leads("productpage-v1", "details", "", map[string]int{subset("details", "v2"): 100}),
		"fault-injection-details-v1.yaml": func(t *testing.T, m *mesh.Mesh) {
			t.Helper()
			if choice := tables(t, m, "productpage-v1").Outbound.Choose(request("details:9080", "/details/0", ""), rand.NewPCG(1, 2)); choice.Abort != 555 {
				t.Errorf("abort %d, want 555", choice.Abort)
			}
		},
		"egress-rule-google-apis.yaml": func(t *testing.T, m *mesh.Mesh) {
			t.Helper()
			choice := tables(t, m, "details-v1").Outbound.Choose(request("www.googleapis.com", "/books/v1/volumes", ""), rand.NewPCG(1, 2))
			c := choice.Cluster
			if c == nil || c.Name != "outbound|443||www.googleapis.com" || c.TLS == nil || c.TLS.SNI != "www.googleapis.com" || !c.DNS ||
				len(c.Endpoints) != 1 || c.Endpoints[0].Address != "www.googleapis.com:443" {
				t.Errorf("%+v", c)
			}
		},
		"certmanager-gateway.yaml": func(t *testing.T, m *mesh.Mesh) {
			t.Helper()
			choice := tables(t, m, "istio-ingressgateway").Gateway.Choose(request("bookinfo.example", "/.well-known/acme-challenge/x", ""), rand.NewPCG(1, 2))
			if choice.Cluster == nil || choice.Cluster.Name != "outbound|8089||cert-manager-resolver.istio-system.svc.cluster.local" {
				t.Errorf("%+v", choice)
			}
		},
	}
}

func ratingsFrom(version string) effect {
	return all(
		leads("productpage-v1", "reviews", "", map[string]int{subset("reviews", "v3"): 100}),
		leads("reviews-v3", "ratings", "", map[string]int{subset("ratings", version): 100}))
}

// refusals lists the files that are for a cluster, with a word of the reason.
func refusals() map[string]string {
	return map[string]string{
		"demo-profile-no-gateways.yaml":           "installs Istio itself",
		"policy/productpage_envoy_ratelimit.yaml": "patches the configuration of a real Envoy",
	}
}

// Every file of deploy/istio is applied to the mesh that the tutorials apply it to, and must act.
func TestEachIstioFile(t *testing.T) {
	effects, refused := istioEffects(), refusals()
	eachFile(t, istiofiles.Files(), func(t *testing.T, name string, data []byte) {
		t.Helper()
		if others(name) {
			return // tested beside what they are for
		}
		m := bookinfo(t)
		if reason := refused[name]; reason != "" {
			result := m.Apply([]mesh.File{{Name: name, Data: data}}, "default", false)
			if len(result.Changes) > 0 || !strings.Contains(fmt.Sprint(result.Problems), reason) {
				t.Errorf("%v, want it refused since it %s", result, reason)
			}
			return
		}
		check := effects[name]
		if check == nil {
			t.Fatal("no effect of this file is tested")
		}
		if name == "certmanager-gateway.yaml" {
			m.AddService(mesh.Service{Name: "cert-manager-resolver", Namespace: "istio-system", Ports: []mesh.ServicePort{{Number: 8089, Protocol: "HTTP"}}})
		}
		if name != "destination-rule-reviews.yaml" {
			apply(t, m, "destination-rule-all.yaml")
		}
		applyText(t, m, name, string(data))
		check(t, m)
	})
}

// others tells which files are tested elsewhere in this package.
func others(name string) bool {
	return strings.HasPrefix(name, "authorization-") || strings.HasPrefix(name, "telemetry-") || strings.HasPrefix(name, "mesh-config-") || strings.HasPrefix(name, "sidecar-")
}

func TestEachGatewayAPIFile(t *testing.T) {
	version := func(name string) string { return "outbound|9080||" + name + ".default.svc.cluster.local" }
	effects := map[string]effect{
		"bookinfo-gateway.yaml": exposed,
		"route-all-v1.yaml": func(t *testing.T, m *mesh.Mesh) {
			t.Helper()
			leads("details-v1", "productpage", "", map[string]int{version("productpage-v1"): 100})(t, m)
			for _, host := range []string{"reviews", "ratings", "details"} {
				leads("productpage-v1", host, "", map[string]int{version(host + "-v1"): 100})(t, m)
			}
		},
		"route-reviews-v1.yaml":    leads("productpage-v1", "reviews", "", map[string]int{version("reviews-v1"): 100}),
		"route-reviews-v3.yaml":    leads("productpage-v1", "reviews", "", map[string]int{version("reviews-v3"): 100}),
		"route-reviews-50-v3.yaml": leads("productpage-v1", "reviews", "", map[string]int{version("reviews-v1"): 50, version("reviews-v3"): 50}),
		"route-reviews-90-10.yaml": leads("productpage-v1", "reviews", "", map[string]int{version("reviews-v1"): 90, version("reviews-v2"): 10}),
	}
	eachFile(t, gatewayfiles.Files(), func(t *testing.T, name string, data []byte) {
		t.Helper()
		m := bookinfo(t)
		applyText(t, m, name, string(data))
		if effects[name] == nil {
			t.Fatal("no effect of this file is tested")
		}
		effects[name](t, m)
	})
}

func eachFile(t *testing.T, files fs.FS, test func(t *testing.T, name string, data []byte)) {
	t.Helper()
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		t.Run(name, func(t *testing.T) {
			data, err := fs.ReadFile(files, name)
			if err != nil {
				t.Fatal(err)
			}
			test(t, name, data)
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
