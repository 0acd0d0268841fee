package store

import "example.com/bookinfo/services/console/span"

// location is where a record stands: the number of its segment and the offset in it. 0 is nowhere.
type location uint64

func locate(seq, off uint32) location { return location(seq)<<32 | location(off) }

func (l location) segment() uint32 { return uint32(l >> 32) }
func (l location) offset() uint32  { return uint32(l) }

// trace is the entry of one trace id. Its spans are a chain of records, the one that came last first.
type trace struct {
	hi, lo       uint64
	reqHi, reqLo uint64   // x-request-id of the first span that has one, when it is a UUID
	head         location // the newest record; its segment is the trace's home, with which it is evicted
	start, end   int64    // nanoseconds since 1970
	received     int64    // when the last span came
	next         uint32   // slot of another trace with the same low half
	nextReq      uint32   // slot of another trace with the same low half of the request id
	spans        uint32
	errors       uint32
}

const traceBytes = 96 + 2*24 // the entry, and its share of the two maps

func (t *trace) id() span.TraceID { return span.TraceID{Hi: t.hi, Lo: t.lo} }

const pageSize = 4096

// traces is a table of entries in pages, addressed by slot numbers from 1.
type traces struct {
	pages []*[pageSize]trace
	byLo  map[uint64]uint32
	byReq map[uint64]uint32
	free  []uint32
	used  uint32 // highest slot given out
	live  int
}

func newTraces() *traces {
	return &traces{byLo: map[uint64]uint32{}, byReq: map[uint64]uint32{}}
}

func (t *traces) at(slot uint32) *trace { return &t.pages[slot/pageSize][slot%pageSize] }

func (t *traces) bytes() int64 { return int64(t.live) * traceBytes }

func (t *traces) find(id span.TraceID) uint32 {
	for slot := t.byLo[id.Lo]; slot != 0; slot = t.at(slot).next {
		if t.at(slot).hi == id.Hi {
			return slot
		}
	}
	return 0
}

// matching returns the slots that a reader's id means: with 16 digits every trace whose right half they are, with
// 32 that trace, or the one that was reported by its right half alone.
func (t *traces) matching(id span.TraceID) []uint32 {
	if id.Hi != 0 {
		if slot := t.find(id); slot != 0 {
			return []uint32{slot}
		}
		if slot := t.find(span.TraceID{Lo: id.Lo}); slot != 0 {
			return []uint32{slot}
		}
		return nil
	}
	var slots []uint32
	for slot := t.byLo[id.Lo]; slot != 0; slot = t.at(slot).next {
		slots = append(slots, slot)
	}
	return slots
}

func (t *traces) add(id span.TraceID) uint32 {
	var slot uint32
	if n := len(t.free); n > 0 {
		slot, t.free = t.free[n-1], t.free[:n-1]
	} else {
		t.used++
		slot = t.used
		if int(slot/pageSize) >= len(t.pages) {
			t.pages = append(t.pages, new([pageSize]trace))
		}
	}
	*t.at(slot) = trace{hi: id.Hi, lo: id.Lo, next: t.byLo[id.Lo]}
	t.byLo[id.Lo] = slot
	t.live++
	return slot
}

func (t *traces) setRequest(slot uint32, hi, lo uint64) {
	e := t.at(slot)
	e.reqHi, e.reqLo, e.nextReq = hi, lo, t.byReq[lo]
	t.byReq[lo] = slot
}

func (t *traces) remove(slot uint32) {
	e := t.at(slot)
	unlink(t, t.byLo, e.lo, slot, func(e *trace) *uint32 { return &e.next })
	if e.reqHi|e.reqLo != 0 {
		unlink(t, t.byReq, e.reqLo, slot, func(e *trace) *uint32 { return &e.nextReq })
	}
	*e = trace{}
	t.free = append(t.free, slot)
	t.live--
}

func unlink(t *traces, heads map[uint64]uint32, key uint64, slot uint32, next func(*trace) *uint32) {
	after := *next(t.at(slot))
	if heads[key] == slot {
		if after == 0 {
			delete(heads, key)
		} else {
			heads[key] = after
		}
		return
	}
	for s := heads[key]; s != 0; s = *next(t.at(s)) {
		if *next(t.at(s)) == slot {
			*next(t.at(s)) = after
			return
		}
	}
}
