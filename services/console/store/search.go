package store

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/span"
)

const (
	defaultLimit = 100
	// fewEnough bounds the candidates that are looked at one by one.
	fewEnough = 20_000
	// shapesToTry bounds the shapes of a segment that are decided beforehand.
	shapesToTry = 4096
)

// Search implements backend.Backend.
func (s *Store) Search(ctx context.Context, q backend.Query) (backend.Result, error) {
	if err := ctx.Err(); err != nil {
		return backend.Result{}, err
	}
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	if q.OrderBy == "" {
		q.OrderBy = backend.ByDuration
	}
	m, err := s.newMatcher(q)
	if err != nil {
		return backend.Result{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	compare := s.compareDuration
	if q.OrderBy == backend.ByTime {
		compare = s.compareStart
	}
	var found []uint32
	if slots, few := s.candidates(m); few {
		found = slots
		slices.SortFunc(found, compare)
		found = found[:min(len(found), q.Limit+1)]
	} else {
		w := s.newWalker(m, q.OrderBy == backend.ByTime)
		for n := 0; len(found) <= q.Limit; n++ {
			slot := w.next()
			if slot == 0 {
				break
			}
			if n&1023 == 1023 && ctx.Err() != nil {
				return backend.Result{}, ctx.Err()
			}
			if m.trace(slot) {
				found = append(found, slot)
			} else if q.OrderBy == backend.ByDuration && s.duration(slot) < int64(q.MinDuration) {
				break
			}
		}
	}
	r := backend.Result{More: len(found) > q.Limit, Scanned: m.scanned}
	found = found[:min(len(found), q.Limit)]
	r.Traces = make([]backend.Summary, 0, len(found))
	for _, slot := range found {
		r.Traces = append(r.Traces, s.summary(slot))
	}
	return r, nil
}

func (s *Store) duration(slot uint32) int64 {
	e := s.traces.at(slot)
	return e.end - e.start
}

// compareDuration orders the longest first, compareStart the newest.
func (s *Store) compareDuration(a, b uint32) int {
	x, y := s.traces.at(a), s.traces.at(b)
	if c := cmp.Compare(y.end-y.start, x.end-x.start); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(y.start, x.start), cmp.Compare(x.hi, y.hi), cmp.Compare(x.lo, y.lo))
}

func (s *Store) compareStart(a, b uint32) int {
	x, y := s.traces.at(a), s.traces.at(b)
	return cmp.Or(cmp.Compare(y.start, x.start), cmp.Compare(x.hi, y.hi), cmp.Compare(x.lo, y.lo))
}

// candidates returns every trace of the answer, unless there are too many to look at one by one.
func (s *Store) candidates(m *matcher) (found []uint32, few bool) {
	if m.q.ID != "" {
		return m.those(s.byID(m.q.ID)), true
	}
	if !m.ofSpans {
		if m.q.MinDuration > 0 || m.q.MaxDuration > 0 {
			slots, few := s.byDuration(m)
			return m.those(slots), few
		}
		return nil, false
	}
	// Looking at c candidates one by one costs some 40 times as much each as going past a trace in an index, and the
	// walk through the indexes meets the limit after about limit*n/c of all n traces. The two are equal where c is the
	// root of limit*n/40.
	budget := min(max(int64(math.Sqrt(float64(m.q.Limit)*float64(s.traces.live)/40)), 500), fewEnough)
	for _, g := range s.segments {
		if !m.overlaps(g) {
			continue
		}
		p := m.plan(g)
		if budget -= p.spans; p.spans < 0 || budget < 0 {
			return nil, false
		}
	}
	seen := map[uint32]bool{}
	add := func(g *segment, rec *record) {
		if seen[rec.slot] {
			return
		}
		// A span that does not match says nothing of the others of its trace, where filters look at spans.
		if m.spanDuration && !m.span(g, rec, s.traces.at(rec.slot)) {
			return
		}
		seen[rec.slot] = true
		if m.bounds(rec.slot) && m.calls(rec.slot) {
			found = append(found, rec.slot)
		}
	}
	chained := fewEnough
	for _, g := range s.segments {
		if !m.overlaps(g) {
			continue
		}
		p := m.plan(g)
		m.each(g, p, func(rec *record) { add(g, rec) })
		for i := range p.texts {
			w := &p.texts[i]
			if hi, lo, ok := parseUUID(w.text); ok && w.key == requestIDTag {
				s.requests(hi, lo, func(slot uint32) {
					if !seen[slot] && m.trace(slot) {
						seen[slot] = true
						found = append(found, slot)
					}
				})
			}
			g.chain(s.seed[0], w.key, w.text, func(off uint32) bool {
				rec := g.read(off)
				add(g, &rec)
				chained--
				return chained > 0
			})
		}
		if chained <= 0 {
			return nil, false
		}
	}
	return found, true
}

// each calls f with every span of the shapes that the plan knows.
func (m *matcher) each(g *segment, p *plan, f func(*record)) {
	for _, id := range p.shapes {
		if m.verdict(g, id) == never {
			continue
		}
		for off := g.shapes[id].last; off != 0; {
			rec := g.read(off)
			f(&rec)
			off = rec.prevShape
		}
	}
}

// those keeps the traces that meet the query.
func (m *matcher) those(slots []uint32) []uint32 {
	return slices.DeleteFunc(slots, func(slot uint32) bool { return !m.trace(slot) })
}

// byDuration finds the traces of a range of durations in the indexes of the segments.
func (s *Store) byDuration(m *matcher) (slots []uint32, few bool) {
	n := 0
	lists := make([][]uint32, len(s.segments))
	for i, g := range s.segments {
		if !m.overlaps(g) {
			continue
		}
		lists[i] = g.slots
		if x := g.index; x != nil {
			from, to := x.notOver(int64(m.q.MaxDuration)), len(x.durations)
			if d := int64(m.q.MinDuration); d > 0 {
				to = sort.Search(len(x.durations), func(i int) bool { return x.durations[i] < d })
			}
			lists[i] = x.slots[min(from, to):to]
			if n += len(lists[i]); n > fewEnough/4 {
				return nil, false
			}
		}
	}
	for i, g := range s.segments {
		for _, slot := range lists[i] {
			if s.traces.at(slot).head.segment() == g.seq {
				slots = append(slots, slot)
			}
		}
	}
	return slots, true
}

// notOver is the rank of the first trace that is no longer than d; 0 is no bound.
func (x *index) notOver(d int64) int {
	if d <= 0 {
		return 0
	}
	return sort.Search(len(x.durations), func(i int) bool { return x.durations[i] <= d })
}

func (s *Store) requests(hi, lo uint64, add func(uint32)) {
	for slot := s.traces.byReq[lo]; slot != 0; slot = s.traces.at(slot).nextReq {
		if s.traces.at(slot).reqHi == hi {
			add(slot)
		}
	}
}

// byID finds traces by a trace id or x-request-id, in full or by prefix.
func (s *Store) byID(id string) (slots []uint32) {
	id = strings.ToLower(strings.TrimSpace(id))
	seen := map[uint32]bool{}
	add := func(slot uint32) {
		if !seen[slot] {
			seen[slot] = true
			slots = append(slots, slot)
		}
	}
	if len(id) == 16 || len(id) == 32 {
		if t, err := span.ParseTraceID(id); err == nil {
			for _, slot := range s.traces.matching(t) {
				add(slot)
			}
			if len(slots) > 0 {
				return slots
			}
		}
	}
	if hi, lo, ok := parseUUID(id); ok {
		s.requests(hi, lo, add)
	}
	for _, g := range s.segments {
		if g.retiring {
			continue
		}
		g.chain(s.seed[0], requestIDTag, id, func(off uint32) bool {
			rec := g.read(off)
			e := s.traces.at(rec.slot)
			g.each(&rec, e, func(field byte, key, value string) bool {
				if field == fieldTag && key == requestIDTag && value == id {
					add(rec.slot)
				}
				return true
			})
			return len(slots) < fewEnough
		})
	}
	if len(slots) > 0 {
		return slots
	}
	hi, himask, lo, lomask, wide := prefix(id)
	rhi, rhimask, rlo, rlomask, req := uuidPrefix(id)
	for slot := uint32(1); slot <= s.traces.used && len(slots) < fewEnough; slot++ {
		e := s.traces.at(slot)
		switch {
		case e.head == 0:
		case wide && e.hi&himask == hi && e.lo&lomask == lo,
			wide && e.hi == 0 && lomask == 0 && matchesNarrow(id, e.lo),
			req && e.reqHi|e.reqLo != 0 && e.reqHi&rhimask == rhi && e.reqLo&rlomask == rlo:
			slots = append(slots, slot)
		}
	}
	return slots
}

// matchesNarrow compares a prefix with a 64-bit trace id as its 16 digits are written.
func matchesNarrow(id string, lo uint64) bool {
	return strings.HasPrefix(span.ID(lo).String(), id)
}

// prefix reads up to 32 hex digits as the upper bits of 128.
func prefix(digits string) (hi, himask, lo, lomask uint64, ok bool) {
	if digits == "" || len(digits) > 32 {
		return 0, 0, 0, 0, false
	}
	half := func(s string) (v, mask uint64, ok bool) {
		if s == "" {
			return 0, 0, true
		}
		v, err := strconv.ParseUint(s, 16, 64)
		shift := 64 - 4*len(s)
		return v << shift, ^uint64(0) << shift, err == nil
	}
	n := min(len(digits), 16)
	hi, himask, ok = half(digits[:n])
	if !ok {
		return 0, 0, 0, 0, false
	}
	lo, lomask, ok = half(digits[n:])
	return hi, himask, lo, lomask, ok
}

// uuidPrefix reads the beginning of a UUID; dashes may stand only where a UUID has them.
func uuidPrefix(s string) (hi, himask, lo, lomask uint64, ok bool) {
	const form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
	if len(s) > len(form) {
		return 0, 0, 0, 0, false
	}
	for i := range len(s) {
		if (s[i] == '-') != (form[i] == '-') {
			return 0, 0, 0, 0, false
		}
	}
	return prefix(strings.ReplaceAll(s, "-", ""))
}
