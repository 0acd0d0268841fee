package upstream

import (
	"slices"
	"strconv"

	"example.com/bookinfo/services/sidecar/route"
)

// ringPoint is a place of a host on the ring of consistent hashing.
type ringPoint struct {
	at   uint64
	host *Host
}

// newRing places every host about size/len(hosts) times, in proportion to its weight, so that the loss of one moves
// only its own keys.
func newRing(hosts []*Host, size uint64) []ringPoint {
	if len(hosts) == 0 {
		return nil
	}
	var total uint64
	for _, h := range hosts {
		total += weight(h)
	}
	var ring []ringPoint
	for _, h := range hosts {
		for i := range max(size*weight(h)/total, 1) {
			ring = append(ring, ringPoint{route.HashString(h.Endpoint.Address + "_" + strconv.FormatUint(i, 10)), h})
		}
	}
	slices.SortFunc(ring, func(a, b ringPoint) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	return ring
}

// onRing returns the first host at or behind hash that is among hosts.
func (c *Cluster) onRing(hash uint64, hosts []*Host) *Host {
	i, _ := slices.BinarySearchFunc(c.ring, hash, func(p ringPoint, hash uint64) int {
		switch {
		case p.at < hash:
			return -1
		case p.at > hash:
			return 1
		}
		return 0
	})
	for n := range c.ring {
		if h := c.ring[(i+n)%len(c.ring)].host; contains(hosts, h) {
			return h
		}
	}
	return nil
}
