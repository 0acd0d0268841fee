package sidecar

import (
	"fmt"
	"strconv"
	"strings"

	"example.com/bookinfo/services/sidecar/route"
)

// Destinations are services and where they are found, for a sidecar that is told by flags and not by a mesh. The
// tables that it makes name clusters, routes and spans as Istio does.
type Destinations struct {
	Namespace string // of names without one; "default" if empty
	Port      int    // of the services, in names; 9080 if 0

	// Operation replaces the decorator's name; nil leaves Istio's, "" makes none.
	Operation *string
	// Retries replaces Istio's default retries by so many on 5xx, if not negative.
	Retries int

	services []*service
}

type service struct {
	name    string // fully qualified
	subsets []subset
}

type subset struct {
	name      string // "" for endpoints of no subset
	endpoints []route.Endpoint
}

func digits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// Add adds endpoints (HOST:PORT) of a service, of a subset if that is not empty.
func (d *Destinations) Add(name, subsetName string, endpoints []string) error {
	s := d.find(d.qualified(name))
	if s == nil {
		s = &service{name: d.qualified(name)}
		d.services = append(d.services, s)
	}
	set := subset{name: subsetName}
	short, rest, _ := strings.Cut(s.name, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	for _, e := range endpoints {
		if err := validAddr(e); err != nil {
			return err
		}
		labels := map[string]string{"app": short}
		if subsetName != "" {
			labels["version"] = subsetName
		}
		set.endpoints = append(set.endpoints, route.Endpoint{Address: e, Namespace: namespace, Labels: labels})
	}
	s.subsets = append(s.subsets, set)
	return nil
}

func validAddr(addr string) error {
	i := strings.LastIndexByte(addr, ':')
	if i > 0 {
		if port, err := strconv.ParseUint(addr[i+1:], 10, 16); err == nil && port > 0 {
			return nil
		}
	}
	return fmt.Errorf("%q: want HOST:PORT", addr)
}

// qualified completes a name: reviews, reviews.default or reviews.default.svc.cluster.local.
func (d *Destinations) qualified(name string) string {
	namespace := d.Namespace
	if namespace == "" {
		namespace = "default"
	}
	switch parts := strings.Split(name, "."); len(parts) {
	case 1:
		return name + "." + namespace + ".svc.cluster.local"
	case 2:
		return name + ".svc.cluster.local"
	case 3:
		if parts[2] == "svc" {
			return name + ".cluster.local"
		}
	}
	return name
}

func (d *Destinations) find(name string) *service {
	for _, s := range d.services {
		if s.name == name {
			return s
		}
	}
	return nil
}

func (d *Destinations) port() int {
	if d.Port == 0 {
		return 9080
	}
	return d.Port
}

// cluster is that of a service or of one of its subsets; ok is false if there is none.
func (d *Destinations) cluster(name, subsetName string) (*route.Cluster, bool) {
	s := d.find(name)
	if s == nil {
		return nil, false
	}
	c := &route.Cluster{
		Name: fmt.Sprintf("outbound|%d|%s|%s", d.port(), subsetName, name),
		Host: name, Port: d.port(), Subset: subsetName, DNS: true,
	}
	found := subsetName == ""
	for _, set := range s.subsets {
		if subsetName == "" || set.name == subsetName {
			c.Endpoints = append(c.Endpoints, set.endpoints...)
			found = true
		}
	}
	return c, found
}

// virtualHost routes the names of a service to it.
func (d *Destinations) virtualHost(c *route.Cluster, domains []string) *route.VirtualHost {
	operation := fmt.Sprintf("%s:%d/*", c.Host, c.Port)
	if d.Operation != nil {
		operation = *d.Operation
	}
	retry := &route.Retry{ // Istio's default (pilot/pkg/networking/core/route/retry/retry.go)
		Attempts: 2, On: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", AvoidPrevious: 5,
	}
	switch {
	case d.Retries > 0:
		retry = &route.Retry{Attempts: d.Retries, On: "5xx"}
	case d.Retries == 0:
		retry = nil
	}
	return &route.VirtualHost{
		Name: fmt.Sprintf("%s:%d", c.Host, c.Port), Domains: domains,
		Routes: []*route.Route{{
			Name: "default", Source: "flags", Operation: operation, Retry: retry,
			Clusters: []route.WeightedCluster{{Cluster: c.Name, Weight: 1}},
		}},
	}
}

// Outbound is the table of a listener on which the Host field names the destination.
func (d *Destinations) Outbound() *route.Table {
	var hosts []*route.VirtualHost
	clusters := map[string]*route.Cluster{}
	for _, s := range d.services {
		c, _ := d.cluster(s.name, "")
		clusters[c.Name] = c
		hosts = append(hosts, d.virtualHost(c, shortNames(s.name)))
	}
	return route.NewTable(strconv.Itoa(d.port()), 1, hosts, clusters)
}

// shortNames are the names by which a service of the cluster is called, from the longest.
func shortNames(name string) []string {
	names := []string{name}
	if short, ok := strings.CutSuffix(name, ".svc.cluster.local"); ok {
		app, _, _ := strings.Cut(short, ".")
		names = append(names, short+".svc", short, app)
	}
	return names
}

// To is the table of a listener that stands for one destination, NAME or NAME:SUBSET.
func (d *Destinations) To(destination string) (*route.Table, error) {
	name, subsetName, _ := strings.Cut(destination, ":")
	if digits(subsetName) { // NAME:PORT, as a Host field has it
		subsetName = ""
	}
	c, ok := d.cluster(d.qualified(name), subsetName)
	if !ok {
		return nil, fmt.Errorf("destination %q: no endpoint of it is known", destination)
	}
	host := d.virtualHost(c, []string{"*"})
	return route.NewTable(strconv.Itoa(d.port()), 1, []*route.VirtualHost{host}, map[string]*route.Cluster{c.Name: c}), nil
}

// Inbound is the table of the listener in front of the application of a service, which listens at app.
func (d *Destinations) Inbound(serviceName, app string) (*route.Table, error) {
	if err := validAddr(app); err != nil {
		return nil, err
	}
	c := &route.Cluster{
		Name: fmt.Sprintf("inbound|%d||", d.port()), Host: d.qualified(serviceName), Port: d.port(), DNS: true,
		Endpoints: []route.Endpoint{{Address: app}},
	}
	plain := *d
	plain.Retries = max(d.Retries, 0) // Istio retries at the caller alone
	host := plain.virtualHost(c, []string{"*"})
	return route.NewTable(c.Name, 1, []*route.VirtualHost{host}, map[string]*route.Cluster{c.Name: c}), nil
}
