package store

import "sort"

// walker gives the traces of the segments that overlap a window in an order, one after the other, without those that
// an index rules out.
type walker struct {
	m       *matcher
	s       *Store
	byTime  bool
	cursors []*cursor
}

// cursor goes through one segment: down its index, or, as long as it has none, down a heap.
type cursor struct {
	g    *segment
	w    *walker
	plan *plan    // nil when no filter looks at spans
	at   int      // in the index
	heap []uint32 // slots
	key  int64    // of the current slot, larger ones first
	slot uint32
}

func (s *Store) newWalker(m *matcher, byTime bool) *walker {
	w := &walker{m: m, s: s, byTime: byTime}
	for _, g := range s.segments {
		if !m.overlaps(g) {
			continue
		}
		c := &cursor{g: g, w: w}
		if m.ofSpans {
			c.plan = m.plan(g)
		}
		switch x := g.index; {
		case x == nil:
			c.fill()
			for i := len(c.heap)/2 - 1; i >= 0; i-- {
				c.down(i)
			}
		case byTime:
			c.at = sort.Search(len(x.starts), func(i int) bool { return x.starts[i] < m.to })
		case !m.spanDuration:
			c.at = x.notOver(int64(m.q.MaxDuration))
		}
		if c.advance() {
			w.cursors = append(w.cursors, c)
		}
	}
	return w
}

// fill puts the traces of a segment without an index into the heap: all of them, or, where few of its spans can match,
// those that have one and those that may have one in an earlier segment.
func (c *cursor) fill() {
	g, s := c.g, c.w.s
	add := func(slot uint32) {
		if s.traces.at(slot).head.segment() == g.seq && c.w.m.bounds(slot) {
			c.heap = append(c.heap, slot)
		}
	}
	if c.plan == nil || c.plan.spans < 0 || c.plan.spans*8 > g.spans {
		c.heap = make([]uint32, 0, len(g.slots))
		for _, slot := range g.slots {
			add(slot)
		}
		return
	}
	seen := map[uint32]bool{}
	once := func(slot uint32) {
		if !seen[slot] {
			seen[slot] = true
			add(slot)
		}
	}
	for _, slot := range g.carried {
		once(slot)
	}
	c.w.m.each(g, c.plan, func(rec *record) { once(rec.slot) })
	for i := range c.plan.texts {
		w := &c.plan.texts[i]
		if hi, lo, ok := parseUUID(w.text); ok && w.key == requestIDTag {
			s.requests(hi, lo, once)
		}
		g.chain(s.seed[0], w.key, w.text, func(off uint32) bool {
			rec := g.read(off)
			once(rec.slot)
			return true
		})
	}
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
	if c.g.index == nil {
		if len(c.heap) == 0 {
			return false
		}
		last := len(c.heap) - 1
		c.slot, c.heap[0] = c.heap[0], c.heap[last]
		c.heap = c.heap[:last]
		c.down(0)
		c.key = c.w.keyOf(c.slot)
		return true
	}
	x := c.g.index
	for ; c.at < len(x.slots); c.at++ {
		rank := uint32(c.at)
		if c.w.byTime {
			rank = x.byStart[c.at]
		}
		if c.w.m.ofSpans && c.w.m.rulesOut(c.g, c.plan, rank) {
			continue
		}
		c.slot = x.slots[rank]
		// A trace that went on in a later segment is met there.
		if c.w.s.traces.at(c.slot).head.segment() == c.g.seq {
			c.key = c.w.keyOf(c.slot)
			c.at++
			return true
		}
	}
	return false
}

func (c *cursor) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(c.heap) {
			return
		}
		if right := child + 1; right < len(c.heap) && c.before(c.heap[right], c.heap[child]) {
			child = right
		}
		if !c.before(c.heap[child], c.heap[i]) {
			return
		}
		c.heap[i], c.heap[child] = c.heap[child], c.heap[i]
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
