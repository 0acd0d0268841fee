package compile_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	istiofiles "example.com/bookinfo/deploy/istio"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/compile"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/route"
)

// bookinfo is a running mesh: every workload listens, at addresses that say which it is.
func bookinfo(t testing.TB) *mesh.Mesh {
	t.Helper()
	m := mesh.New(mesh.Bookinfo())
	for i, w := range m.Snapshot().Workloads {
		if err := m.SetAddress(w.Pod, 9080, mesh.Address{Proxy: fmt.Sprintf("127.0.1.%d:15006", i), App: fmt.Sprintf("127.0.2.%d:9080", i)}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// apply applies files of deploy/istio and fails the test at the first error.
func apply(t testing.TB, m *mesh.Mesh, names ...string) {
	t.Helper()
	for _, name := range names {
		data, err := istiofiles.Files().ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		applyText(t, m, name, string(data))
	}
}

func applyText(t testing.TB, m *mesh.Mesh, name, text string) {
	t.Helper()
	result := m.Apply([]mesh.File{{Name: name, Data: []byte(text)}}, "default", false)
	if result.Failed() {
		t.Fatalf("%s: %v", name, result.Problems)
	}
}

// tables returns those of the workload with that name.
func tables(t testing.TB, m *mesh.Mesh, name string) compile.Tables {
	t.Helper()
	s := m.Snapshot()
	for _, w := range s.Workloads {
		if w.Name == name {
			return compile.For(s, w)
		}
	}
	t.Fatalf("no workload %s", name)
	return compile.Tables{}
}

// request is a GET by a workload; user is the end-user header, "" for none.
func request(authority, path, user string) *route.Request {
	r := &route.Request{Method: "GET", Scheme: "http", Authority: authority, Path: path}
	if user != "" {
		r.Headers = header.Fields{{Name: "end-user", Value: user}}
	}
	return r
}

// clusters counts the clusters that n requests are led to.
func clusters(table *route.Table, r *route.Request, n int) map[string]int {
	dice := rand.NewPCG(1, 2)
	counts := make(map[string]int)
	for range n {
		choice := table.Choose(r, dice)
		if choice.Destination != nil {
			counts[choice.Destination.Cluster]++
		} else {
			counts[""]++
		}
	}
	return counts
}

func TestDefault(t *testing.T) {
	m := bookinfo(t)
	out := tables(t, m, "productpage-v1").Outbound
	for _, authority := range []string{"reviews:9080", "reviews.default:9080", "reviews.default.svc:9080", "reviews.default.svc.cluster.local:9080", "REVIEWS:9080", "10.96.0.12:9080"} {
		choice := out.Choose(request(authority, "/reviews/0", ""), rand.NewPCG(1, 2))
		if choice.Cluster == nil {
			t.Fatalf("%s: no cluster", authority)
		}
		if got, want := choice.Cluster.Name, "outbound|9080||reviews.default.svc.cluster.local"; got != want {
			t.Errorf("%s: cluster %s, want %s", authority, got, want)
		}
		if got, want := choice.Route.Operation, "reviews.default.svc.cluster.local:9080/*"; got != want {
			t.Errorf("%s: operation %s, want %s", authority, got, want)
		}
		if got := len(choice.Cluster.Endpoints); got != 3 {
			t.Errorf("%s: %d endpoints, want those of v1, v2 and v3", authority, got)
		}
		if r := choice.Route.Retry; r == nil || r.Attempts != 2 {
			t.Errorf("%s: retry %+v, want Istio's two", authority, r)
		}
	}
	in := tables(t, m, "reviews-v2").Inbound
	choice := in.Choose(request("reviews:9080", "/reviews/0", ""), rand.NewPCG(1, 2))
	if choice.Cluster == nil || choice.Cluster.Name != "inbound|9080||" || len(choice.Cluster.Endpoints) != 1 {
		t.Fatalf("inbound: %+v", choice.Cluster)
	}
	if got, want := choice.Route.Operation, "reviews.default.svc.cluster.local:9080/*"; got != want {
		t.Errorf("inbound operation %s, want %s", got, want)
	}
	if choice := tables(t, m, "istio-ingressgateway").Gateway.Choose(request("localhost", "/productpage", ""), rand.NewPCG(1, 2)); choice.Route != nil {
		t.Error("a gateway without a Gateway routes")
	}
}

func TestGateway(t *testing.T) {
	m := bookinfo(t)
	apply(t, m, "bookinfo-gateway.yaml")
	table := tables(t, m, "istio-ingressgateway").Gateway
	for path, operation := range map[string]string{
		"/productpage":              "productpage.default.svc.cluster.local:9080/productpage",
		"/productpage?u=test":       "productpage.default.svc.cluster.local:9080/productpage",
		"/static/tailwind/site.css": "productpage.default.svc.cluster.local:9080/static*",
		"/login":                    "productpage.default.svc.cluster.local:9080/login",
		"/logout":                   "productpage.default.svc.cluster.local:9080/logout",
		"/api/v1/products/0":        "productpage.default.svc.cluster.local:9080/api/v1/products*",
		"/":                         "", "/health": "", "/metrics": "", "/productpage/": "", "/login/x": "",
	} {
		choice := table.Choose(request("127.0.0.1:43210", path, ""), rand.NewPCG(1, 2))
		switch {
		case operation == "" && choice.Route != nil:
			t.Errorf("%s is exposed by %s", path, choice.Route.Source)
		case operation != "" && (choice.Route == nil || choice.Route.Operation != operation || choice.Cluster == nil):
			t.Errorf("%s: %+v, want operation %s", path, choice, operation)
		}
	}
}

func TestRequestRouting(t *testing.T) {
	m := bookinfo(t)
	apply(t, m, "destination-rule-all.yaml", "virtual-service-all-v1.yaml", "virtual-service-reviews-test-v2.yaml")
	out := tables(t, m, "productpage-v1").Outbound
	for user, want := range map[string]string{
		"": "v1", "anna": "v1", "jason": "v2", "Jason": "v1", "jasonx": "v1",
	} {
		got := clusters(out, request("reviews:9080", "/reviews/0", user), 10)
		if got["outbound|9080|"+want+"|reviews.default.svc.cluster.local"] != 10 {
			t.Errorf("user %q: %v, want %s", user, got, want)
		}
	}
}
