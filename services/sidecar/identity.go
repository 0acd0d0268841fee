package sidecar

import (
	"strings"

	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/stats"
	"example.com/bookinfo/services/sidecar/trace"
)

// Header fields by which sidecars tell each other who they are. A real mesh takes the principal from the certificate
// of mutual TLS; here there is none, so it is the word of the caller's sidecar, and of anybody who reaches the inbound
// port past it. They are sent only by a sidecar that has a service account.
const (
	clientCert   = "x-forwarded-client-cert"
	peerMetadata = "x-envoy-peer-metadata"
)

// identify says who the caller is. A gateway and an outbound listener replace what came with their own workload, so
// that no application or client can speak for another; an inbound one reads it.
func (x *exchange) identify() {
	s := x.l.sidecar
	if x.l.direction == trace.Inbound {
		if s.config.ServiceAccount != "" {
			x.caller = s.callers.of(x.req.Fields.Get(peerMetadata))
			x.req.Fields.Del(peerMetadata)
		}
		return
	}
	x.req.Fields.Del(clientCert)
	if s.config.ServiceAccount != "" {
		x.req.Fields.Set(clientCert, s.certificate)
		x.req.Fields.Set(peerMetadata, s.metadata)
	}
}

// principalOf reads the URI of the last element of an x-forwarded-client-cert, without its scheme.
func principalOf(value string) string {
	if i := strings.LastIndexByte(value, ','); i >= 0 {
		value = value[i+1:]
	}
	for pair := range strings.SplitSeq(value, ";") {
		if uri, ok := strings.CutPrefix(pair, "URI="); ok {
			return strings.TrimPrefix(strings.Trim(uri, `"`), "spiffe://")
		}
	}
	return ""
}

// workload is the sidecar's own, as metrics name it.
func (i Identity) workload() *stats.Workload {
	return &stats.Workload{
		Name: workloadName(i.Service, i.Version), Namespace: i.Namespace, App: i.Service, Version: i.Version,
		Service: i.Service, Revision: i.Version, Cluster: i.ClusterID, Principal: i.principal(),
	}
}

func workloadName(app, version string) string {
	if version == "" || version == "latest" {
		return app
	}
	return app + "-" + version
}

// metadata is what peerMetadata holds: the workload in the words of Istio's baggage in ambient mode.
func (i Identity) metadata() string {
	return "k8s.cluster.name=" + i.ClusterID + ",k8s.namespace.name=" + i.Namespace +
		",k8s.deployment.name=" + workloadName(i.Service, i.Version) +
		",service.name=" + i.Service + ",service.version=" + i.Version + ",principal=" + i.principal()
}

// callers turns peerMetadata into workloads, one for each value, since metrics compare them by address.
type callers struct {
	known syncMap[string, *stats.Workload]
}

// maxCallers bounds what is remembered: anybody may send the field.
const maxCallers = 1000

func (c *callers) of(metadata string) *stats.Workload {
	if metadata == "" {
		return nil
	}
	return c.known.get(metadata, maxCallers, func() *stats.Workload {
		w := &stats.Workload{}
		for pair := range strings.SplitSeq(metadata, ",") {
			key, value, _ := strings.Cut(pair, "=")
			switch key {
			case "k8s.cluster.name":
				w.Cluster = value
			case "k8s.namespace.name":
				w.Namespace = value
			case "k8s.deployment.name":
				w.Name = value
			case "service.name":
				w.Service, w.App = value, value
			case "service.version":
				w.Revision, w.Version = value, value
			case "principal":
				w.Principal = value
			}
		}
		return w
	})
}

// workload is the one behind an endpoint, as far as its labels tell. The mesh is one cluster, the caller's.
func (f *inForce) workload(e *route.Endpoint, cluster string) *stats.Workload {
	return f.workloads.get(e, maxCallers, func() *stats.Workload {
		app, version := e.Labels["app"], e.Labels["version"]
		if app == "" {
			return &stats.Workload{}
		}
		return &stats.Workload{
			Name: workloadName(app, version), Namespace: e.Namespace, App: app, Version: version,
			Service: app, Revision: version, Cluster: cluster,
		}
	})
}
