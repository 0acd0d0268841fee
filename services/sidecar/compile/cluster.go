package compile

import (
	"net"
	"strconv"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

// connectTimeout is Istio's default (mesh.connectTimeout).
const connectTimeout = 10 * time.Second

// clusterName is Istio's key of a destination: "outbound|9080|v1|reviews.default.svc.cluster.local".
func clusterName(host string, port int, subset string) string {
	return "outbound|" + strconv.Itoa(port) + "|" + subset + "|" + host
}

// allClusters writes one cluster for each port of each service, and one for each subset that a DestinationRule gives it.
func (b *builder) allClusters() map[string]*route.Cluster {
	clusters := make(map[string]*route.Cluster)
	for _, service := range b.s.Services {
		if !mesh.Visible(service.ExportTo, service.Namespace, b.w.Namespace) {
			continue
		}
		endpoints := make(map[int][]route.Endpoint)
		rule := b.rules.of(service.Host())
		for _, port := range service.Ports {
			endpoints[port.Number] = b.endpoints(service, port)
			b.addCluster(clusters, service, port.Number, rule, nil, endpoints[port.Number])
			if rule == nil {
				continue
			}
			for _, subset := range rule.subsets {
				b.addCluster(clusters, service, port.Number, rule, subset, endpoints[port.Number])
			}
		}
	}
	return clusters
}

func (b *builder) addCluster(clusters map[string]*route.Cluster, service *mesh.Service, port int, rule *destinationRule, subset *networking.Subset, endpoints []route.Endpoint) {
	host := service.Host()
	cluster := &route.Cluster{
		Name: clusterName(host, port, subset.GetName()), Host: host, Port: port, Subset: subset.GetName(),
		DNS: service.DNS, ConnectTimeout: connectTimeout, Balancer: balancer(nil),
	}
	for _, endpoint := range endpoints {
		if mesh.Subsumes(subset.GetLabels(), endpoint.Labels) {
			cluster.Endpoints = append(cluster.Endpoints, endpoint)
		}
	}
	if rule != nil {
		applyPolicy(cluster, rule.policy(subset, port))
	}
	if _, ok := clusters[cluster.Name]; !ok {
		clusters[cluster.Name] = cluster
	}
}

// endpoints lists where a port of the service can be reached: its workloads that listen, and the addresses that a
// ServiceEntry lists.
func (b *builder) endpoints(service *mesh.Service, port mesh.ServicePort) []route.Endpoint {
	var endpoints []route.Endpoint
	for _, w := range b.s.WorkloadsOf(service) {
		if address := w.Ports[targetPort(port)].Proxy; address != "" {
			endpoints = append(endpoints, route.Endpoint{Address: address, Pod: w.Pod, IP: w.IP, Namespace: w.Namespace, Labels: w.Labels})
		}
	}
	for _, e := range service.Endpoints {
		number := e.Ports[port.Name]
		if number == 0 {
			number = targetPort(port)
		}
		address := net.JoinHostPort(e.Address, strconv.Itoa(number))
		endpoints = append(endpoints, route.Endpoint{Address: address, IP: e.Address, Labels: e.Labels, Weight: e.Weight})
	}
	return endpoints
}
