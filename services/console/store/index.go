package store

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"example.com/bookinfo/services/console/span"
)

// index is what a full segment has beside its records, so that a search reads few of them: its traces in both orders,
// what the spans of each are, and which shapes have a value.
type index struct {
	// The traces, the longest first; the place here is a trace's rank. A trace that went on in a later segment keeps
	// its rank, and is passed over.
	slots     []uint32
	durations []int64
	// The ranks, the newest first.
	byStart []uint32
	starts  []int64

	// The spans of the trace of rank r are those from spansFrom[r] to spansFrom[r+1]: the shape of each, and its
	// duration as shortLength has it.
	spansFrom []uint32
	shapes    []uint16
	lengths   []uint16

	// The shapes that have value v are those from valuesFrom[v] to valuesFrom[v+1] in valueShapes; held is how many
	// spans they are. The values are the segment's pairs, then its keys where the value stands in the record, then one
	// for spans that failed.
	valuesFrom  []uint32
	valueShapes []uint16
	held        []uint32
}

const (
	// unlisted stands for spans in other segments, and for shapes whose number is too large.
	unlisted = 1<<16 - 1
	// indexAtOnce is how many traces are read while the lock is held.
	indexAtOnce = 512
)

func (x *index) bytes() int64 {
	return int64(len(x.slots))*(4+8+4+8+4) + int64(len(x.shapes))*(2+2) + int64(len(x.valueShapes))*2 + int64(len(x.held))*(4+4)
}

// shortLength is a duration in 16 bits, in steps of a 512th of an octave: of two durations the longer one is never the
// smaller number.
func shortLength(d int64) uint16 {
	if d <= 0 {
		return 0
	}
	n := bits.Len64(uint64(d))
	return uint16(n<<9 | int(uint64(d)<<(64-n)>>54&511))
}

// indexOf makes the index of a full segment, nil when the segment was evicted meanwhile.
func (s *Store) indexOf(g *segment) *index {
	type ranked struct {
		hi, lo          uint64
		start, duration int64
		slot, from, to  uint32
	}
	var traces []ranked
	shapes, lengths := make([]uint16, 0, g.spans), make([]uint16, 0, g.spans)
	read := func(from int) (more bool) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if g.retiring {
			return false
		}
		for _, slot := range g.slots[from:min(from+indexAtOnce, len(g.slots))] {
			e := s.traces.at(slot)
			if e.head.segment() != g.seq {
				continue
			}
			t := ranked{e.hi, e.lo, e.start, e.end - e.start, slot, uint32(len(shapes)), 0}
			for at := e.head; at != 0; {
				id, length := uint32(unlisted), uint16(0)
				if at.segment() == g.seq {
					rec := g.read(at.offset())
					id, length, at = min(rec.shape, unlisted), shortLength(rec.dur), rec.prev
				} else {
					at = 0
				}
				shapes, lengths = append(shapes, uint16(id)), append(lengths, length)
			}
			t.to = uint32(len(shapes))
			traces = append(traces, t)
		}
		return from+indexAtOnce < len(g.slots)
	}
	for from := 0; read(from); {
		from += indexAtOnce
	}

	// From here on nothing is read that changes.
	slices.SortFunc(traces, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.duration, a.duration), cmp.Compare(b.start, a.start), cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
	})
	n := len(traces)
	x := &index{
		slots: make([]uint32, n), durations: make([]int64, n), byStart: make([]uint32, n), starts: make([]int64, n),
		spansFrom: make([]uint32, 1, n+1), shapes: make([]uint16, 0, len(shapes)), lengths: make([]uint16, 0, len(shapes)),
	}
	for r := range traces {
		t := &traces[r]
		x.slots[r], x.durations[r], x.byStart[r] = t.slot, t.duration, uint32(r)
		x.shapes, x.lengths = append(x.shapes, shapes[t.from:t.to]...), append(x.lengths, lengths[t.from:t.to]...)
		x.spansFrom = append(x.spansFrom, uint32(len(x.shapes)))
	}
	slices.SortFunc(x.byStart, func(a, b uint32) int {
		s, t := &traces[a], &traces[b]
		return cmp.Or(cmp.Compare(t.start, s.start), cmp.Compare(s.hi, t.hi), cmp.Compare(s.lo, t.lo))
	})
	for i, r := range x.byStart {
		x.starts[i] = traces[r].start
	}
	x.post(g)
	return x
}

// post notes for each value which shapes have it.
func (x *index) post(g *segment) {
	values := len(g.pairs) + len(g.keys) + 1
	x.valuesFrom, x.held = make([]uint32, values+1), make([]uint32, values)
	each := func(f func(shape int, value uint32)) {
		for id := range g.shapes {
			sh := &g.shapes[id]
			for enc := sh.encoded; len(enc) > 0; {
				v, n := binary.Uvarint(enc)
				enc = enc[n:]
				f(id, g.value(v))
			}
			if sh.status == span.StatusError {
				f(id, uint32(values-1))
			}
		}
	}
	each(func(shape int, value uint32) {
		x.valuesFrom[value+1]++
		x.held[value] += g.shapes[shape].spans
	})
	for v := range values {
		x.valuesFrom[v+1] += x.valuesFrom[v]
	}
	x.valueShapes = make([]uint16, x.valuesFrom[values])
	next := slices.Clone(x.valuesFrom)
	each(func(shape int, value uint32) {
		x.valueShapes[next[value]] = uint16(min(shape, unlisted))
		next[value]++
	})
}

// value is the number, in an index, of what a shape's encoding says.
func (g *segment) value(encoded uint64) uint32 {
	if encoded&1 == 1 {
		return g.inlineValue(uint32(encoded >> 1))
	}
	return uint32(encoded >> 1)
}

func (g *segment) inlineValue(key uint32) uint32 { return uint32(len(g.pairs)) + key }
func (g *segment) failedValue() uint32           { return uint32(len(g.pairs) + len(g.keys)) }

// withValue are the shapes that have a value.
func (x *index) withValue(v uint32) []uint16 { return x.valueShapes[x.valuesFrom[v]:x.valuesFrom[v+1]] }
