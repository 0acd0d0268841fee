// Package compile writes the route tables of each proxy from a mesh, as Istio's control plane (pilot/pkg/networking/core)
// writes route configurations and clusters for Envoy. It is a function of the snapshot: the same mesh gives the same
// tables.
package compile

import (
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

// Tables are those of one workload's proxy. An application's sidecar has Inbound and Outbound, a gateway has Gateway
// and Outbound.
type Tables struct {
	// Inbound stands before the application, for every port of its services.
	Inbound *route.Table
	// Outbound is for the application's calls.
	Outbound *route.Table
	// Gateway is for requests from outside, whatever port of a Gateway they came to: locally there is one listener.
	Gateway *route.Table
}

// For writes the tables of the workload's proxy.
func For(s *mesh.Snapshot, w *mesh.Workload) Tables {
	b := newBuilder(s, w)
	tables := Tables{Outbound: b.outbound()}
	if w.Gateway {
		tables.Gateway = b.gateway()
	} else {
		tables.Inbound = b.inbound()
	}
	return tables
}

// Watch calls set with the tables of the pod's proxy, now and after each change of the mesh, before the change is
// reported as done. While the mesh has no such pod, set is not called.
func Watch(m *mesh.Mesh, pod string, set func(Tables)) (stop func()) {
	return m.OnChange(func(s *mesh.Snapshot) {
		if w := s.Workload(pod); w != nil {
			set(For(s, w))
		}
	})
}

// builder gathers what the tables of one proxy are made from.
type builder struct {
	s *mesh.Snapshot
	w *mesh.Workload

	clusters map[string]*route.Cluster
	rules    ruleIndex
}

func newBuilder(s *mesh.Snapshot, w *mesh.Workload) *builder {
	b := &builder{s: s, w: w}
	b.rules = newRuleIndex(b)
	b.clusters = b.allClusters()
	return b
}
