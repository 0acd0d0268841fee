package upstream

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"example.com/bookinfo/services/sidecar/route"
)

// Cluster is the running state of a route.Cluster: which of its hosts are in use, and how much.
type Cluster struct {
	Route    *route.Cluster
	hosts    []*Host
	total    uint64 // sum of weights
	next     atomic.Uint64
	requests atomic.Int64
	retries  atomic.Int64
	ring     []ringPoint

	mu          sync.Mutex // of what follows, which only a limit on connections uses
	connections int
	queue       []chan struct{}
}

// Host is one endpoint of a cluster.
type Host struct {
	Endpoint *route.Endpoint
	requests atomic.Int64
	health   health
}

// NewCluster returns the state of r. What is known of the hosts of before, which may be nil, is kept.
func NewCluster(r *route.Cluster, before *Cluster) *Cluster {
	c := &Cluster{Route: r}
	known := map[string]*Host{}
	if before != nil {
		for _, h := range before.hosts {
			known[h.Endpoint.Address] = h
		}
	}
	for i := range r.Endpoints {
		h := &Host{Endpoint: &r.Endpoints[i]}
		if old := known[h.Endpoint.Address]; old != nil {
			h.health.copyFrom(&old.health)
		}
		c.hosts = append(c.hosts, h)
		c.total += weight(h)
	}
	if r.Balancer.Kind == route.RingHash || r.Balancer.Kind == route.Maglev {
		c.ring = newRing(c.hosts)
	}
	return c
}

func weight(h *Host) uint64 { return uint64(max(h.Endpoint.Weight, 1)) }

// Admission is the circuit breaker's answer to a request.
type Admission int

// The answers.
const (
	Admitted Admission = iota
	Queued             // wait for the channel, then it is admitted
	Refused            // the answer is Envoy's "overflow"
)

// Begin asks the cluster's circuit breakers for a request. One that is admitted needs an End, one that is queued an
// End after its channel was closed, or a Leave before.
func (c *Cluster) Begin() (Admission, chan struct{}) {
	limits := &c.Route.Limits
	n := c.requests.Add(1)
	if limits.MaxRequests > 0 && n > int64(limits.MaxRequests) || limits.MaxRequests < 0 {
		c.requests.Add(-1)
		return Refused, nil
	}
	if limits.MaxConnections <= 0 {
		return Admitted, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connections < limits.MaxConnections {
		c.connections++
		return Admitted, nil
	}
	if limits.MaxPending > 0 && len(c.queue) >= limits.MaxPending {
		c.requests.Add(-1)
		return Refused, nil
	}
	turn := make(chan struct{})
	c.queue = append(c.queue, turn)
	return Queued, turn
}

// Leave gives up waiting.
func (c *Cluster) Leave(turn chan struct{}) {
	c.mu.Lock()
	i := slices.Index(c.queue, turn)
	if i >= 0 {
		c.queue = slices.Delete(c.queue, i, i+1)
	}
	c.mu.Unlock()
	if i < 0 { // its turn has come meanwhile
		c.End()
		return
	}
	c.requests.Add(-1)
}

// End counts a request out and lets the next one in.
func (c *Cluster) End() {
	c.requests.Add(-1)
	if c.Route.Limits.MaxConnections <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) > 0 {
		close(c.queue[0])
		c.queue = c.queue[1:]
		return
	}
	c.connections--
}

// BeginRetry counts a retry in; false if too many are under way. One that is let in needs an EndRetry.
func (c *Cluster) BeginRetry() bool {
	n := c.retries.Add(1)
	if limit := c.Route.Limits.MaxRetries; limit > 0 && n > int64(limit) {
		c.retries.Add(-1)
		return false
	}
	return true
}

// EndRetry counts a retry out.
func (c *Cluster) EndRetry() { c.retries.Add(-1) }

// Pick chooses a host by the cluster's policy; nil if there is none. hash counts for the policies that hash, if
// hashed; they and Random draw from dice otherwise. avoid names hosts that were tried already.
func (c *Cluster) Pick(dice rand.Source, hash uint64, hashed bool, avoid []*Host) *Host {
	h := c.pick(dice, hash, hashed)
	for tries := 0; h != nil && tries < 5 && contains(avoid, h); tries++ {
		h = c.pick(dice, dice.Uint64(), hashed)
	}
	if h != nil {
		h.requests.Add(1)
	}
	return h
}

// Done says that the request which Pick chose h for is over, and with what status; 0 is a connection that failed.
func (c *Cluster) Done(h *Host, status int) {
	h.requests.Add(-1)
	c.observe(h, status)
}

func (c *Cluster) pick(dice rand.Source, hash uint64, hashed bool) *Host {
	hosts := c.hosts
	if c.Route.Outlier != nil {
		hosts = c.inRotation()
	}
	switch n := uint64(len(hosts)); {
	case n == 0:
		return nil
	case n == 1:
		return hosts[0]
	}
	switch c.Route.Balancer.Kind {
	case route.RoundRobin:
		return hosts[(c.next.Add(1)-1)%uint64(len(hosts))]
	case route.RingHash, route.Maglev:
		if !hashed {
			hash = dice.Uint64()
		}
		return c.onRing(hash, hosts)
	case route.LeastRequest:
		a, b := c.draw(dice, hosts), c.draw(dice, hosts)
		if b.requests.Load()*int64(weight(a)) < a.requests.Load()*int64(weight(b)) {
			return b
		}
		return a
	}
	return c.draw(dice, hosts)
}

// draw throws weighted dice.
func (c *Cluster) draw(dice rand.Source, hosts []*Host) *Host {
	if len(hosts) == len(c.hosts) && c.total == uint64(len(hosts)) {
		return hosts[dice.Uint64()%uint64(len(hosts))]
	}
	var total uint64
	for _, h := range hosts {
		total += weight(h)
	}
	at := dice.Uint64() % total
	for _, h := range hosts {
		if at < weight(h) {
			return h
		}
		at -= weight(h)
	}
	return hosts[0]
}

func contains(hosts []*Host, h *Host) bool {
	for _, other := range hosts {
		if other == h {
			return true
		}
	}
	return false
}
