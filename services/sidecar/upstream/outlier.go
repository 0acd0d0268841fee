package upstream

import (
	"sync/atomic"
	"time"
)

// health is what outlier detection knows of a host.
type health struct {
	failures        atomic.Int64 // 5xx in a row
	gatewayFailures atomic.Int64 // 502, 503, 504 and failed connections in a row
	ejections       atomic.Int64 // so far; each doubles nothing, but adds the base once more
	ejectedUntil    atomic.Int64 // Unix nanoseconds; 0 when in rotation
}

func (h *health) copyFrom(o *health) {
	h.failures.Store(o.failures.Load())
	h.gatewayFailures.Store(o.gatewayFailures.Load())
	h.ejections.Store(o.ejections.Load())
	h.ejectedUntil.Store(o.ejectedUntil.Load())
}

// Envoy's defaults where a DestinationRule leaves them out.
const (
	defaultBaseEjection       = 30 * time.Second
	defaultMaxEjectionPercent = 10
)

// observe counts the outcome of a request to h and ejects h when it failed too often in a row (envoy
// source/common/upstream/outlier_detection_impl.cc).
func (c *Cluster) observe(h *Host, status int) {
	o := c.Route.Outlier
	if o == nil {
		return
	}
	failed := status == 0 || status >= 500
	gateway := status == 0 || status >= 502 && status <= 504
	if count(&h.health.failures, failed) == int64(o.Consecutive5xx) && failed ||
		count(&h.health.gatewayFailures, gateway) == int64(o.ConsecutiveGateway) && gateway {
		c.eject(h)
	}
}

func count(n *atomic.Int64, failed bool) int64 {
	if failed {
		return n.Add(1)
	}
	n.Store(0)
	return 0
}

func (c *Cluster) eject(h *Host) {
	o := c.Route.Outlier
	percent := o.MaxEjectionPercent
	if percent == 0 {
		percent = defaultMaxEjectionPercent
	}
	ejected := len(c.hosts) - len(c.inRotation())
	if ejected > 0 && (ejected+1)*100 > percent*len(c.hosts) {
		return
	}
	base := o.BaseEjection
	if base == 0 {
		base = defaultBaseEjection
	}
	times := h.health.ejections.Add(1)
	h.health.failures.Store(0)
	h.health.gatewayFailures.Store(0)
	h.health.ejectedUntil.Store(time.Now().Add(base * time.Duration(times)).UnixNano())
}

// inRotation returns the hosts that are not ejected; all of them when too few are left.
func (c *Cluster) inRotation() []*Host {
	var in []*Host
	now := time.Now().UnixNano()
	for _, h := range c.hosts {
		if until := h.health.ejectedUntil.Load(); until == 0 || until <= now {
			in = append(in, h)
		}
	}
	if len(in)*100 < c.Route.Outlier.MinHealthPercent*len(c.hosts) {
		return c.hosts
	}
	return in
}
