// Package store keeps spans in memory, compact and bounded by bytes, and answers the console's questions about them.
//
// Spans are appended to segments, each with its own dictionary: a stretch of arrival time that is evicted whole,
// oldest first. Spans that differ only in ids, times and a few values share one shape, so a filter is decided once a
// shape and not once a span. The spans of a trace are a chain of records through the segments. Numbers by minute are
// counted while spans come in.
package store

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"example.com/bookinfo/services/console/span"
)

// DefaultMaxBytes is the memory that a store takes when nothing else is said.
const DefaultMaxBytes = 256 << 20

// MinMaxBytes is the least memory that a store can work in.
const MinMaxBytes = 8 << 20

// Options configure a Store. The zero value works.
type Options struct {
	// MaxBytes bounds what is held, by the store's own count (default DefaultMaxBytes, at least MinMaxBytes).
	MaxBytes int64
	// Now is the clock (default time.Now). It decides which traces still arrive.
	Now func() time.Time
}

// Store holds spans. It implements backend.Backend. Every method is safe for concurrent use.
type Store struct {
	opts Options
	seed [2]maphash.Seed

	mu        sync.RWMutex
	segments  []*segment // by number, without gaps; the last one takes new records
	nextSeq   uint32
	full      []*segment // by the post that is being stored
	spare     [][]byte   // chunks of evicted segments
	traces    *traces
	rollups   *rollups
	shaper    shaper
	long      map[uint32]*longTrace // by slot: traces that are too long to walk for each new span
	longSpans int64
	held      int64 // bytes of sealed segments
	kin       kin
	evicted   int64
	twice     int64

	watchMu  sync.Mutex
	watchers map[*watcher]struct{}
}

// New returns an empty store.
func New(o Options) *Store {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	o.MaxBytes = max(o.MaxBytes, MinMaxBytes)
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{
		opts: o, seed: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		traces: newTraces(), rollups: newRollups(o.MaxBytes / 16), long: map[uint32]*longTrace{},
		watchers: map[*watcher]struct{}{}, nextSeq: 1,
	}
	s.shaper.seeds = s.seed
	return s
}

// Stats are what the store counts of itself.
type Stats struct {
	Spans, Traces, Bytes, MaxBytes int64
	Evicted                        int64 // spans evicted since start
	Duplicates                     int64 // spans that came again and were not stored
	Segments                       int
}

// Stats returns the current counts.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Stats{Bytes: s.bytes(), MaxBytes: s.opts.MaxBytes, Evicted: s.evicted, Duplicates: s.twice, Traces: int64(s.traces.live)}
	for _, g := range s.segments {
		if !g.retiring {
			st.Spans += g.spans
			st.Segments++
			continue
		}
		for _, slot := range g.slots {
			if s.traces.at(slot).head.segment() == g.seq {
				st.Traces--
			}
		}
	}
	return st
}

func (s *Store) bytes() int64 {
	n := s.held + s.traces.bytes() + s.rollups.bytes() + int64(len(s.spare))*chunkSize + s.longSpans*longBytes
	if k := len(s.segments); k > 0 {
		n += s.segments[k-1].bytes()
	}
	return n
}

// segmentBytes is the size at which a segment is sealed.
func (s *Store) segmentBytes() int64 { return min(max(s.opts.MaxBytes/16, 2*chunkSize), 8<<20) }

const (
	// appendAtOnce is how many spans are stored, and retireAtOnce how many traces are dropped, before others get the
	// lock: a search must not wait for a large post or the end of a segment.
	appendAtOnce = 256
	retireAtOnce = 2048
)

// Append stores spans; they can be found when it returns. It keeps no reference to them. Spans that it holds already
// are left out.
func (s *Store) Append(spans []span.Span) {
	for rest := spans; len(rest) > 0; {
		n := min(len(rest), appendAtOnce)
		full := s.appendSome(rest[:n])
		rest = rest[n:]
		// Whoever fills a segment makes its index, while others read and append.
		for _, g := range full {
			if x := s.indexOf(g); x != nil {
				s.install(g, x)
			}
		}
	}
	if len(spans) > 0 {
		s.notify(spans)
	}
}

// appendSome returns the segments that it filled.
func (s *Store) appendSome(spans []span.Span) (full []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range spans {
		s.append(&spans[i])
	}
	full, s.full = s.full, nil
	// Begin to make room a little early, so that it can be done a little at a time.
	if s.bytes() > s.opts.MaxBytes-s.segmentBytes()/4-chunkSize {
		s.retire(retireAtOnce)
	}
	for s.bytes() > s.opts.MaxBytes && len(s.segments) > 1 {
		s.retire(retireAtOnce)
	}
	return full
}

func (s *Store) install(g *segment, x *index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.retiring {
		return
	}
	s.held -= g.bytes()
	g.index, g.slots, g.carried = x, x.slots, nil
	s.held += g.bytes()
}

func (s *Store) append(sp *span.Span) {
	g := s.active(sp)
	slot := s.traces.find(sp.TraceID)
	if slot != 0 && s.segment(s.traces.at(slot).head.segment()) == nil {
		s.drop(slot)
		slot = 0
	}
	start := sp.Start.UnixNano()
	s.kin.reset()
	if slot != 0 {
		if s.findKin(slot, sp, start) {
			s.twice++
			return
		}
	} else {
		slot = s.traces.add(sp.TraceID)
		e := s.traces.at(slot)
		e.start, e.end = start, start+int64(max(sp.Duration, 0))
	}
	e := s.traces.at(slot)
	if e.reqHi|e.reqLo == 0 {
		if hi, lo, ok := parseUUID(sp.RequestID()); ok && hi|lo != 0 {
			s.traces.setRequest(slot, hi, lo)
		}
	}
	shapeID := s.shaper.shapeOf(g, sp, s.rollups)
	off := g.used
	if int(off&(chunkSize-1))+s.shaper.recordBound(sp) > chunkSize || int(off>>chunkBits) >= len(g.chunks) {
		if len(g.chunks) > 0 {
			off = uint32(len(g.chunks)) << chunkBits
		}
		g.chunks = append(g.chunks, s.chunk())
	}
	rec := s.shaper.encode(g, sp, e, slot, shapeID, off)
	copy(g.at(off), rec)
	g.used = off + uint32(len(rec))

	sh := &g.shapes[shapeID]
	sh.last = off
	sh.spans++
	if e.head.segment() != g.seq {
		g.slots = append(g.slots, slot)
		if e.head != 0 {
			g.carried = append(g.carried, slot)
		}
	}
	e.head = locate(g.seq, off)
	e.spans++
	e.start = min(e.start, start)
	e.end = max(e.end, start+int64(max(sp.Duration, 0)))
	e.received = max(e.received, sp.Received.UnixNano())
	if sp.Status == span.StatusError {
		e.errors++
	}
	g.spans++
	g.minStart, g.maxStart = min(g.minStart, start), max(g.maxStart, start)
	s.remember(slot, e, sp.ID, sp.ParentID)
	s.count(g, sh, slot, sp, start)
}

// textBytes is what all text of the span takes.
func textBytes(sp *span.Span) int {
	n := len(sp.Name) + len(sp.StatusMessage) + len(sp.TraceState) + len(sp.Scope)
	add := func(tags span.Tags) {
		for i := range tags {
			n += len(tags[i].Key) + len(tags[i].Value) + 12
		}
	}
	add(sp.Tags)
	add(sp.Resource)
	for i := range sp.Events {
		n += len(sp.Events[i].Name)
		add(sp.Events[i].Tags)
	}
	for i := range sp.Links {
		add(sp.Links[i].Tags)
	}
	return n
}

// fit cuts a span whose record would not fit a chunk: what a receiver's limits let through is smaller by far.
func fit(sp *span.Span) {
	cut := func(what string) { sp.Cut = append(slices.Clip(sp.Cut), what) }
	if len(sp.Links) > 0 {
		sp.Links = nil
		cut("links")
	}
	if textBytes(sp) > maxSpanBytes && len(sp.Events) > 0 {
		sp.Events = nil
		cut("events")
	}
	if textBytes(sp) > maxSpanBytes {
		n := maxSpanBytes / 2
		for _, text := range [...]*string{&sp.Name, &sp.StatusMessage, &sp.TraceState, &sp.Scope} {
			*text = (*text)[:min(len(*text), 4096)]
		}
		for _, tags := range [...]*span.Tags{&sp.Tags, &sp.Resource} {
			kept := make(span.Tags, 0, len(*tags))
			for _, t := range *tags {
				if n -= len(t.Value) + 12; n >= 0 {
					kept = append(kept, t)
				}
			}
			*tags = kept
		}
		cut("tags")
	}
}

func (s *Store) chunk() []byte {
	if n := len(s.spare); n > 0 {
		c := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return c
	}
	return make([]byte, chunkSize)
}

// active returns the segment that takes new records, a new one when it is full.
func (s *Store) active(sp *span.Span) *segment {
	n := len(s.segments)
	if n > 0 && s.segments[n-1].bytes() < s.segmentBytes() && len(s.segments[n-1].keys) < 1<<16 {
		return s.segments[n-1]
	}
	var before *segment
	if n > 0 {
		before = s.segments[n-1]
		before.sealed = true
		before.keyIDs, before.pairID, before.byHash = nil, nil, nil
		s.held += before.bytes()
		s.full = append(s.full, before)
	}
	g := newSegment(s.nextSeq, sp.Start.UnixNano(), before)
	s.nextSeq++
	s.segments = append(s.segments, g)
	return g
}

// retire drops up to n traces of the oldest segment, those that have no later span, and with the last of them the
// segment. From the first on nobody sees any.
func (s *Store) retire(n int) {
	if len(s.segments) < 2 {
		return
	}
	g := s.segments[0]
	if !g.retiring {
		g.retiring = true
		s.evicted += g.spans
	}
	left := max(len(g.slots)-n, 0)
	for _, slot := range g.slots[left:] {
		if s.traces.at(slot).head.segment() == g.seq {
			s.drop(slot)
		}
	}
	if g.slots = g.slots[:left]; left > 0 {
		return
	}
	s.segments = slices.Delete(s.segments, 0, 1)
	s.held -= g.bytes()
	for _, c := range g.chunks {
		if len(s.spare) < 8 {
			s.spare = append(s.spare, c)
		}
	}
}

func (s *Store) drop(slot uint32) {
	s.traces.remove(slot)
	s.forget(slot)
}

// segment returns the segment of that number, nil when it was evicted.
func (s *Store) segment(seq uint32) *segment {
	if len(s.segments) == 0 || seq < s.segments[0].seq {
		return nil
	}
	if g := s.segments[seq-s.segments[0].seq]; !g.retiring {
		return g
	}
	return nil
}

// walk calls f with each record of a trace, the one that came last first, until f returns false.
func (s *Store) walk(slot uint32, f func(g *segment, rec *record) bool) {
	for at := s.traces.at(slot).head; at != 0; {
		g := s.segment(at.segment())
		if g == nil {
			return
		}
		rec := g.read(at.offset())
		if !f(g, &rec) {
			return
		}
		at = rec.prev
	}
}

// walkAtMost is the length of a chain beyond which the spans of a trace are looked up by id.
const walkAtMost = 64

// longTrace are the places of a long trace's spans.
type longTrace struct{ byID, byParent map[uint64][]location }

func (l *longTrace) add(at location, id, parent uint64) {
	l.byID[id] = append(l.byID[id], at)
	if parent != 0 {
		l.byParent[parent] = append(l.byParent[parent], at)
	}
}

// longBytes is about what one span of a long trace takes in its two maps.
const longBytes = 128

// remember keeps the places of a long trace's spans.
func (s *Store) remember(slot uint32, e *trace, id, parent span.ID) {
	if e.spans <= walkAtMost {
		return
	}
	l := s.long[slot]
	if l != nil {
		l.add(e.head, uint64(id), uint64(parent))
		s.longSpans++
		return
	}
	l = &longTrace{map[uint64][]location{}, map[uint64][]location{}}
	s.walk(slot, func(g *segment, rec *record) bool {
		l.add(locate(g.seq, rec.off), rec.id, rec.parent)
		s.longSpans++
		return true
	})
	s.long[slot] = l
}

func (s *Store) forget(slot uint32) {
	if l := s.long[slot]; l != nil {
		for _, places := range l.byID {
			s.longSpans -= int64(len(places))
		}
		delete(s.long, slot)
	}
}

// readAll calls f with the record of each place that is still held, until f returns false.
func (s *Store) readAll(places []location, f func(g *segment, rec *record) bool) {
	for _, at := range places {
		if g := s.segment(at.segment()); g != nil {
			if rec := g.read(at.offset()); !f(g, &rec) {
				return
			}
		}
	}
}
