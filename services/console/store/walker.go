package store

import "sort"

// walker gives the traces of the segments that overlap a window in an order, one after the other.
type walker struct {
	s       *Store
	byTime  bool
	cursors []*cursor
}

// cursor goes through one segment: down its sorted list, or, as long as it takes new records, down a heap.
type cursor struct {
	g    *segment
	list []uint32
	heap bool
	w    *walker
	key  int64 // of the current slot, larger ones first
	slot uint32
}

func (s *Store) newWalker(m *matcher, byTime bool) *walker {
	w := &walker{s: s, byTime: byTime}
	for _, g := range s.segments {
		if !m.overlaps(g) {
			continue
		}
		c := &cursor{g: g, w: w}
		switch {
		case !g.sealed:
			c.heap = true
			c.list = make([]uint32, 0, len(g.slots))
			for _, slot := range g.slots {
				if s.traces.at(slot).head.segment() == g.seq {
					c.list = append(c.list, slot)
				}
			}
			for i := len(c.list)/2 - 1; i >= 0; i-- {
				c.down(i)
			}
		case byTime:
			i := sort.Search(len(g.starts), func(i int) bool { return g.starts[i] < m.to })
			c.list = g.byStart[i:]
		default:
			c.list = g.byDuration
		}
		if c.advance() {
			w.cursors = append(w.cursors, c)
		}
	}
	return w
}

// next returns the slot that follows, 0 at the end.
func (w *walker) next() uint32 {
	best := -1
	for i, c := range w.cursors {
		if best < 0 || c.key > w.cursors[best].key || c.key == w.cursors[best].key && w.before(c.slot, w.cursors[best].slot) {
			best = i
		}
	}
	if best < 0 {
		return 0
	}
	c := w.cursors[best]
	slot := c.slot
	if !c.advance() {
		w.cursors = append(w.cursors[:best], w.cursors[best+1:]...)
	}
	return slot
}

func (w *walker) keyOf(slot uint32) int64 {
	e := w.s.traces.at(slot)
	if w.byTime {
		return e.start
	}
	return e.end - e.start
}

func (c *cursor) advance() bool {
	for len(c.list) > 0 {
		c.slot = c.list[0]
		if c.heap {
			last := len(c.list) - 1
			c.list[0] = c.list[last]
			c.list = c.list[:last]
			c.down(0)
		} else {
			c.list = c.list[1:]
		}
		// A trace that went on in a later segment is met there.
		if c.w.s.traces.at(c.slot).head.segment() == c.g.seq {
			c.key = c.w.keyOf(c.slot)
			return true
		}
	}
	return false
}

func (c *cursor) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(c.list) {
			return
		}
		if right := child + 1; right < len(c.list) && c.before(c.list[right], c.list[child]) {
			child = right
		}
		if !c.before(c.list[child], c.list[i]) {
			return
		}
		c.list[i], c.list[child] = c.list[child], c.list[i]
		i = child
	}
}

func (c *cursor) before(a, b uint32) bool { return c.w.before(a, b) }

func (w *walker) before(a, b uint32) bool {
	if w.byTime {
		return w.s.compareStart(a, b) < 0
	}
	return w.s.compareDuration(a, b) < 0
}
