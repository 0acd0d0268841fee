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

// How often a host stands on the ring, for each unit of its weight and at most.
const (
	pointsPerWeight = 256
	maxPoints       = 16 * pointsPerWeight
)

// newRing places every host in proportion to its weight. Its places depend on nothing but itself, so that the loss of a
// host moves only that host's keys. (Envoy fills a ring of a given size, which moves a few others.)
func newRing(hosts []*Host) []ringPoint {
	var ring []ringPoint
	for _, h := range hosts {
		for i := range min(pointsPerWeight*weight(h), maxPoints) {
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
