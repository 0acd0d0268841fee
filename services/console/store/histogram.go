package store

import (
	"math"
	"math/bits"
	"time"
)

// histogram counts durations in buckets of an eighth of an octave (at most 6.25 % off the true value), in
// microseconds. Only the range between the smallest and largest bucket in use is kept: a service's durations of one
// minute mostly need some 30 of them.
type histogram struct {
	low    int
	counts []uint32
}

func bucketOf(d time.Duration) int {
	us := uint64(max(d, 0)) / 1000
	if us < 8 {
		return int(us)
	}
	e := bits.Len64(us) - 4
	return e<<3 + int(us>>e)
}

// bucketMiddle is the duration that stands for all of a bucket.
func bucketMiddle(b int) time.Duration {
	if b < 16 {
		return time.Duration(b) * time.Microsecond
	}
	e := b>>3 - 1
	low := uint64(b-e<<3) << e
	return time.Duration(low+(1<<e)/2) * time.Microsecond
}

func (h *histogram) add(bucket int, n int64) {
	switch {
	case h.counts == nil:
		h.low, h.counts = bucket, make([]uint32, 1, 8)
	case bucket < h.low:
		grown := make([]uint32, h.low-bucket+len(h.counts))
		copy(grown[h.low-bucket:], h.counts)
		h.low, h.counts = bucket, grown
	case bucket >= h.low+len(h.counts):
		for bucket >= h.low+len(h.counts) {
			h.counts = append(h.counts, 0)
		}
	}
	c := &h.counts[bucket-h.low]
	*c = uint32(max(int64(*c)+n, 0))
}

func (h *histogram) merge(o *histogram) {
	if len(o.counts) == 0 {
		return
	}
	h.add(o.low, 0)
	h.add(o.low+len(o.counts)-1, 0)
	for i, n := range o.counts {
		h.counts[o.low-h.low+i] += n
	}
}

// quantile returns the duration below which the share q of all counted ones lies, 0 for an empty histogram.
func (h *histogram) quantile(q float64) time.Duration {
	var total uint64
	for _, n := range h.counts {
		total += uint64(n)
	}
	if total == 0 {
		return 0
	}
	// Nearest rank: of two durations the 95th percentile is the longer one.
	rank := max(1, uint64(math.Ceil(q*float64(total))))
	for i, n := range h.counts {
		if rank <= uint64(n) {
			return bucketMiddle(h.low + i)
		}
		rank -= uint64(n)
	}
	return bucketMiddle(h.low + len(h.counts) - 1)
}
