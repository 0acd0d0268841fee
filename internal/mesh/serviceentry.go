package mesh

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// externalServices makes a service of each host of each ServiceEntry.
func externalServices(s *Snapshot) []*Service {
	var services []*Service
	for _, entry := range Of[*networking.ServiceEntry](s) {
		for _, host := range entry.Spec.Hosts {
			service := &Service{
				Name: entry.Name, Namespace: entry.Namespace, External: true, Hostname: host,
				ExportTo: entry.Spec.ExportTo,
				DNS:      entry.Spec.Resolution == networking.ServiceEntry_DNS || entry.Spec.Resolution == networking.ServiceEntry_DNS_ROUND_ROBIN,
				Selector: entry.Spec.GetWorkloadSelector().GetLabels(),
			}
			if len(entry.Spec.Addresses) > 0 && !strings.Contains(entry.Spec.Addresses[0], "/") {
				service.Address = entry.Spec.Addresses[0]
			}
			for _, port := range entry.Spec.Ports {
				service.Ports = append(service.Ports, ServicePort{
					Name: port.Name, Number: int(port.Number), Protocol: strings.ToUpper(port.Protocol), TargetPort: int(port.TargetPort),
				})
			}
			for _, endpoint := range entry.Spec.Endpoints {
				external := ExternalEndpoint{Address: endpoint.Address, Labels: endpoint.Labels, Weight: endpoint.Weight, Ports: make(map[string]int)}
				for name, port := range endpoint.Ports {
					external.Ports[name] = int(port)
				}
				service.Endpoints = append(service.Endpoints, external)
			}
			// Without endpoints the host itself is asked for: by DNS, or (resolution NONE) where the caller wanted to go,
			// which for the stand-in, that captures nothing, is the same.
			if len(service.Endpoints) == 0 && len(service.Selector) == 0 && !strings.HasPrefix(host, "*") {
				service.DNS = true
				service.Endpoints = []ExternalEndpoint{{Address: host}}
			}
			services = append(services, service)
		}
	}
	return services
}
