package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"example.com/bookinfo/services/sidecar/access"
	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/stats"
	"example.com/bookinfo/services/sidecar/trace"
)

// Config is what one sidecar is told. Identity and Listeners are needed, the rest has defaults.
type Config struct {
	Identity
	// Listeners of the sidecar, of which any kind may be absent or there more than once.
	Listeners []Listener
	// Tracing of every listener. Direction and SpawnUpstreamSpan are set for each, the latter from GatewaySpans.
	Tracing trace.Config
	// GatewaySpans is 2 for a SERVER and a CLIENT span at a gateway (Istio 1.28 and later, the default), 1 for one
	// CLIENT span.
	GatewaySpans int
	// Reporter takes the spans; nil drops them.
	Reporter trace.Reporter
	// NoDecoratorPropagation keeps the name of a span to this proxy.
	NoDecoratorPropagation bool

	// AccessLog gets a line for every request; nil writes none.
	AccessLog *access.Log
	// Stats counts every request; nil counts none. It may be shared by sidecars.
	Stats *stats.Stats

	// Dial makes connections to endpoints; nil is plain TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Random is safe for concurrent use; nil is math/rand/v2's.
	Random func() uint64
	// Getenv gives custom tags their values from the environment; nil knows none.
	Getenv func(string) string
}

// Identity is who the workload is, as spans, metrics and other workloads see it.
type Identity struct {
	Service        string // canonical service: "reviews"
	Version        string // canonical revision: "v2"
	Namespace      string // "default" if empty
	Pod            string // "SERVICE-VERSION-0" if empty
	PodIP          string // "127.0.0.1" if empty
	ClusterID      string // "Kubernetes" if empty
	MeshID         string // "cluster.local" if empty
	ServiceAccount string // sent to other workloads as the caller's principal; none is if empty
	Zone           string // may be empty
	NodeID         string // "sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local" if empty, at a gateway "router~..."
}

// Listener is one address that a sidecar listens on.
type Listener struct {
	// Name tells listeners apart for [Sidecar.SetTable]; "inbound", "outbound" or "gateway" if empty.
	Name      string
	Direction trace.Direction
	// Addr is HOST:PORT; port 0 picks one.
	Addr string
	// Port of the destination that the listener stands for; 0 takes it from the request's authority.
	Port int
	// Table to begin with.
	Table *route.Table
}

// WithDefaults fills the fields that are empty and have a default, except NodeID.
func (i Identity) WithDefaults() Identity {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&i.Namespace, "default")
	set(&i.Version, "latest")
	set(&i.Pod, i.Service+"-"+i.Version+"-0")
	set(&i.PodIP, "127.0.0.1")
	set(&i.ClusterID, "Kubernetes")
	set(&i.MeshID, "cluster.local")
	return i
}

// node is the identity in the words of spans. A gateway's node is of type "router" (Istio's pkg/model/proxy.go).
func (i Identity) node(gateway bool) (trace.Node, error) {
	ip, err := netip.ParseAddr(i.PodIP)
	if err != nil {
		return trace.Node{}, fmt.Errorf("pod-ip %q: want an IP address", i.PodIP)
	}
	kind := "sidecar"
	if gateway {
		kind = "router"
	}
	id := i.NodeID
	if id == "" {
		id = kind + "~" + i.PodIP + "~" + i.Pod + "." + i.Namespace + "~" + i.Namespace + ".svc.cluster.local"
	}
	return trace.Node{
		ID: id, Service: i.Service + "." + i.Namespace, Address: ip, Zone: i.Zone,
		CanonicalService: i.Service, CanonicalRevision: i.Version,
		MeshID: i.MeshID, Namespace: i.Namespace, ClusterID: i.ClusterID,
	}, nil
}

// principal is the workload's SPIFFE identity, "" without a service account.
func (i Identity) principal() string {
	if i.ServiceAccount == "" {
		return ""
	}
	return "spiffe://cluster.local/ns/" + i.Namespace + "/sa/" + i.ServiceAccount
}

func (c *Config) validate() error {
	switch {
	case c.Service == "":
		return errors.New("service: want the name of the workload's service, for example reviews")
	case len(c.Listeners) == 0:
		return errors.New("no listener: want at least one of inbound, outbound, gateway")
	case c.GatewaySpans < 0 || c.GatewaySpans > 2:
		return fmt.Errorf("gateway-spans %d: want 1 or 2", c.GatewaySpans)
	}
	names := map[string]bool{}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Name == "" {
			l.Name = string(l.Direction)
			for n := 2; names[l.Name]; n++ {
				l.Name = fmt.Sprintf("%s-%d", l.Direction, n)
			}
		}
		if names[l.Name] {
			return fmt.Errorf("listener %q: the name is there twice", l.Name)
		}
		names[l.Name] = true
		if l.Table == nil {
			return fmt.Errorf("listener %q: want a route table", l.Name)
		}
	}
	return nil
}

// tracingOf is the tracing of one listener: the sidecar's own, then what its table says.
func (c *Config) tracingOf(l *Listener, table *route.Table) trace.Config {
	t := c.Tracing
	t.Direction = l.Direction
	if l.Direction == trace.Gateway {
		t.SpawnUpstreamSpan = c.GatewaySpans != 1
	}
	o := table.Tracing
	if o == nil {
		return t
	}
	if o.Disabled {
		t.Tracing = false
	}
	if o.Sampling != nil {
		t.Sampling = *o.Sampling
	}
	for _, tag := range o.Tags {
		t.CustomTags = append(t.CustomTags[:len(t.CustomTags):len(t.CustomTags)], trace.CustomTag{
			Name: tag.Name, Literal: tag.Literal, Header: tag.Header, Environment: tag.Environment, Default: tag.Default,
		})
	}
	return t
}

// shutdownGrace is how long a Close waits for exchanges in flight.
const shutdownGrace = 5 * time.Second
