package mesh

import "fmt"

// Bookinfo is the application of Istio's tutorials as its manifests describe it: the services, those of
// bookinfo-versions.yaml among them, one workload of each version, and the ingress gateway. Pod names and addresses are
// invented but look like a cluster's, so that pages and spans show which instance answered.
func Bookinfo() Config {
	var config Config
	add := func(name, address string, selector map[string]string) {
		config.Services = append(config.Services, Service{
			Name: name, Namespace: "default", Address: address, Selector: selector,
			Ports: []ServicePort{{Name: "http", Number: 9080, Protocol: "HTTP"}},
		})
	}
	// In the order of bookinfo.yaml.
	for i, app := range []string{"details", "ratings", "reviews", "productpage"} {
		add(app, fmt.Sprintf("10.96.0.%d", 10+i), map[string]string{"app": app})
	}
	// In the order of bookinfo-versions.yaml.
	versions := []struct{ app, version string }{
		{"reviews", "v1"}, {"reviews", "v2"}, {"reviews", "v3"}, {"productpage", "v1"}, {"ratings", "v1"}, {"details", "v1"},
	}
	for i, v := range versions {
		add(v.app+"-"+v.version, fmt.Sprintf("10.96.0.%d", 20+i), map[string]string{"app": v.app, "version": v.version})
	}
	config.Services = append(config.Services, Service{
		Name: "istio-ingressgateway", Namespace: "istio-system", Address: "10.96.0.9",
		Selector: map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"},
		Ports:    []ServicePort{{Name: "http2", Number: 80, Protocol: "HTTP2", TargetPort: 8080}},
	})

	for _, w := range []struct{ app, version, pod, ip string }{
		{"details", "v1", "details-v1-7f6df6f54b-x7kqn", "10.244.0.11"},
		{"ratings", "v1", "ratings-v1-5c9d7b6c8d-m2vtz", "10.244.0.12"},
		{"reviews", "v1", "reviews-v1-6d4f8bcf7c-q9wlp", "10.244.0.13"},
		{"reviews", "v2", "reviews-v2-74b8c9d5f6-hd4xs", "10.244.0.14"},
		{"reviews", "v3", "reviews-v3-58bbd6f7c9-t6rjg", "10.244.0.15"},
		{"productpage", "v1", "productpage-v1-85c6f4d9b8-n5zcf", "10.244.0.16"},
	} {
		config.Workloads = append(config.Workloads, Workload{
			Name: w.app + "-" + w.version, Namespace: "default", Pod: w.pod, IP: w.ip,
			Labels:         map[string]string{"app": w.app, "version": w.version},
			ServiceAccount: "bookinfo-" + w.app,
		})
	}
	config.Workloads = append(config.Workloads, Workload{
		Name: "istio-ingressgateway", Namespace: "istio-system", Pod: "istio-ingressgateway-6b9f7d8c54-k8mbw", IP: "10.244.0.10",
		Labels:         map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"},
		ServiceAccount: "istio-ingressgateway", Gateway: true,
	})
	return config
}
