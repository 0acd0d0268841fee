package compile

import (
	"slices"
	"strconv"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

// inbound writes the table before the application: for each port of its services one virtual host that takes every
// name, and one cluster whose only endpoint is the application.
func (b *builder) inbound() *route.Table {
	clusters := make(map[string]*route.Cluster)
	var hosts []*route.VirtualHost
	for _, service := range b.s.Services {
		// The first service of a port names its operation, as in Istio the oldest does.
		if service.Namespace != b.w.Namespace || !mesh.Selected(service.Selector, b.w.Labels) {
			continue
		}
		for _, port := range service.Ports {
			target := targetPort(port)
			name := "inbound|" + strconv.Itoa(target) + "||"
			if clusters[name] != nil {
				continue
			}
			clusters[name] = b.inboundCluster(name, service.Host(), target)
			hosts = append(hosts, &route.VirtualHost{
				Name: "inbound|http|" + strconv.Itoa(port.Number), Port: target, Domains: []string{"*"},
				Routes: []*route.Route{{
					Name: "default", Source: "Service " + service.Host(),
					Operation: service.Host() + ":" + strconv.Itoa(port.Number) + "/*",
					Clusters:  []route.WeightedCluster{{Cluster: name, Weight: 100}},
				}},
			})
		}
	}
	slices.SortStableFunc(hosts, func(a, b *route.VirtualHost) int { return a.Port - b.Port })
	t := route.NewTable("inbound", b.s.Version, hosts, clusters)
	t.Authorization = b.authorization()
	t.Tracing = b.tracing("inbound")
	return t
}

func (b *builder) inboundCluster(name, host string, port int) *route.Cluster {
	cluster := &route.Cluster{Name: name, Host: host, Port: port, ConnectTimeout: connectTimeout}
	if address := b.w.Ports[port].App; address != "" {
		cluster.Endpoints = []route.Endpoint{{Address: address, Pod: b.w.Pod, IP: b.w.IP, Namespace: b.w.Namespace, Labels: b.w.Labels}}
	}
	return cluster
}

func targetPort(port mesh.ServicePort) int {
	if port.TargetPort != 0 {
		return port.TargetPort
	}
	return port.Number
}
