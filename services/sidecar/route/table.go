package route

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Table is everything that one listener of a proxy routes by. It is immutable: a change of the mesh makes a new one,
// and the relay swaps the pointer, so that each request sees the old table or the new one and never half of both.
type Table struct {
	// Name is that of Envoy's route configuration, for example "9080", "http.8080" or "inbound|9080||".
	Name string
	// Version counts the changes of the mesh that the table was made from, from 1.
	Version uint64
	// Clusters by name. A cluster that a route names may be absent: the answer is then Envoy's 503 with flag NC.
	Clusters map[string]*Cluster
	// Authorization is checked before routing; nil allows every request.
	Authorization *Authorization
	// Tracing is what Telemetry resources set for the listener; nil leaves the proxy's own settings.
	Tracing *Tracing

	hosts []*VirtualHost
	ports map[int]*domainIndex
}

// VirtualHost is a group of routes for some names of a host.
type VirtualHost struct {
	// Name as Istio writes it: "reviews.default.svc.cluster.local:9080".
	Name string
	// Port that the request must be for; 0 is any.
	Port int
	// Domains that the Host header (without its port, in lower case) must be one of: a name, "*.suffix", or "*".
	Domains []string
	// Routes in order: the first that matches is taken.
	Routes []*Route

	index pathIndex
}

// NewTable indexes the virtual hosts. They and everything below them must not be changed afterwards. Where two claim
// one domain of one port the first wins.
func NewTable(name string, version uint64, hosts []*VirtualHost, clusters map[string]*Cluster) *Table {
	t := &Table{Name: name, Version: version, Clusters: clusters, hosts: hosts, ports: make(map[int]*domainIndex)}
	for _, host := range hosts {
		host.index = newPathIndex(host.Routes)
		for _, port := range []int{host.Port, anyPort} {
			index := t.ports[port]
			if index == nil {
				index = newDomainIndex()
				t.ports[port] = index
			}
			for _, domain := range host.Domains {
				index.add(strings.ToLower(domain), host)
			}
		}
	}
	return t
}

// anyPort is the key of the index over the virtual hosts of every port: it answers a request that names no port.
const anyPort = -1

// Hosts returns the virtual hosts in order, for printing; the caller must not change them.
func (t *Table) Hosts() []*VirtualHost { return t.hosts }

// Choice is what shall happen to one request.
type Choice struct {
	// Host is the virtual host, nil if none has the request's authority.
	Host *VirtualHost
	// Route is the one taken, nil if none matched: the answer is Envoy's 404 with flag NR.
	Route *Route
	// Destination is the weighted cluster that the dice chose; nil for a redirect or a direct response.
	Destination *WeightedCluster
	// Cluster is the destination's, nil if the table has none of that name (503, flag NC).
	Cluster *Cluster
	// Delay and Abort are the faults that the dice chose: a wait before anything is sent, and a status (0: none).
	Delay time.Duration
	Abort int
	// Mirrors are the clusters that get a copy.
	Mirrors []*Cluster
}

// Choose finds the route of r and throws the dice for its weights, faults and mirrors. It allocates only if a request
// must be mirrored, or if the authority has capital letters.
func (t *Table) Choose(r *Request, dice rand.Source) Choice {
	host := t.Host(r)
	if host == nil {
		return Choice{}
	}
	choice := Choice{Host: host, Route: host.index.first(r)}
	route := choice.Route
	if route == nil {
		return choice
	}
	if route.Fault != nil {
		choice.Delay, choice.Abort = route.Fault.throw(dice)
	}
	if route.Redirect != nil || route.Direct != nil {
		return choice
	}
	if choice.Destination = route.pick(dice); choice.Destination != nil {
		choice.Cluster = t.Clusters[choice.Destination.Cluster]
	}
	for i := range route.Mirrors {
		if route.Mirrors[i].Percent.Hit(dice) {
			if cluster := t.Clusters[route.Mirrors[i].Cluster]; cluster != nil {
				choice.Mirrors = append(choice.Mirrors, cluster)
			}
		}
	}
	return choice
}

// Host returns the virtual host that the request's authority and port name, nil if there is none.
func (t *Table) Host(r *Request) *VirtualHost {
	name, port := splitAuthority(r.Authority)
	if r.Port != 0 {
		port = r.Port
	}
	if port == 0 {
		port = anyPort
	}
	name = lower(name)
	if index := t.ports[port]; index != nil {
		if host := index.find(name); host != nil {
			return host
		}
	}
	if index := t.ports[0]; index != nil {
		return index.find(name)
	}
	return nil
}

// splitAuthority separates "name:port" and "[::1]:port"; port is 0 if there is none.
func splitAuthority(authority string) (name string, port int) {
	colon := strings.LastIndexByte(authority, ':')
	if colon < 0 || strings.IndexByte(authority[colon:], ']') >= 0 {
		return authority, 0
	}
	if strings.IndexByte(authority[:colon], ':') >= 0 && authority[0] != '[' {
		return authority, 0 // a bare IPv6 address
	}
	number, err := strconv.ParseUint(authority[colon+1:], 10, 16)
	if err != nil {
		return authority, 0
	}
	return authority[:colon], int(number)
}

// lower is strings.ToLower, which returns its argument unchanged, without allocating, when nothing is to be done.
func lower(s string) string { return strings.ToLower(s) }

// domainIndex finds the virtual host of a name in Envoy's order: the exact name, the longest suffix, "*".
type domainIndex struct {
	exact    map[string]*VirtualHost
	suffixes map[string]*VirtualHost // "*.example.com" is kept as ".example.com"
	star     *VirtualHost
}

func newDomainIndex() *domainIndex {
	return &domainIndex{exact: make(map[string]*VirtualHost), suffixes: make(map[string]*VirtualHost)}
}

func (d *domainIndex) add(domain string, host *VirtualHost) {
	into, key := d.exact, domain
	switch {
	case domain == "*":
		if d.star == nil {
			d.star = host
		}
		return
	case strings.HasPrefix(domain, "*"):
		into, key = d.suffixes, domain[1:]
	}
	if into[key] == nil {
		into[key] = host
	}
}

func (d *domainIndex) find(name string) *VirtualHost {
	if host := d.exact[name]; host != nil {
		return host
	}
	if len(d.suffixes) > 0 {
		for i := 1; i < len(name); i++ {
			if host := d.suffixes[name[i:]]; host != nil {
				return host
			}
		}
	}
	return d.star
}
