package store

import (
	"time"

	"example.com/bookinfo/services/console/span"
)

// relative is a record of the same trace.
type relative struct {
	g   *segment
	rec record
}

func (r *relative) shape() *shape { return &r.g.shapes[r.rec.shape] }

// kin are the records that a new span is related to.
type kin struct {
	sameID, parents, children []relative
}

func (k *kin) reset() {
	k.sameID, k.parents, k.children = k.sameID[:0], k.parents[:0], k.children[:0]
}

// findKin fills s.kin, and reports whether the span is there already. Ids alone do not tell that: the halves of a
// shared Zipkin span have one id, and so have spans of an application that invents ids badly.
func (s *Store) findKin(slot uint32, sp *span.Span, start int64) (twice bool) {
	id, parent, dur := uint64(sp.ID), uint64(sp.ParentID), int64(max(sp.Duration, 0))
	k := &s.kin
	look := func(g *segment, rec *record) bool {
		switch rec.id {
		case id:
			sh := &g.shapes[rec.shape]
			if rec.start == start && rec.dur == dur && rec.parent == parent && sh.kind == sp.Kind &&
				sh.shared == sp.Shared && g.text(sh.app) == sp.Service {
				twice = true
				return false
			}
			k.sameID = append(k.sameID, relative{g, *rec})
		case parent:
			k.parents = append(k.parents, relative{g, *rec})
		}
		if rec.parent == id {
			k.children = append(k.children, relative{g, *rec})
		}
		return true
	}
	l := s.long[slot]
	if l == nil {
		s.walk(slot, look)
		return twice
	}
	s.readAll(l.byID[id], look)
	if !twice {
		if parent != 0 && parent != id {
			s.readAll(l.byID[parent], look)
		}
		s.readAll(l.byParent[id], func(g *segment, rec *record) bool {
			if rec.id != id && rec.id != parent {
				k.children = append(k.children, relative{g, *rec})
			}
			return true
		})
	}
	return twice
}

func serves(k span.Kind) bool { return k == span.KindServer || k == span.KindConsumer }
func calls(k span.Kind) bool  { return k == span.KindClient || k == span.KindProducer }

// count adds a new span to the numbers by minute and to the edges. A call is counted once: at the server's span, or
// by the client's word (its remote service) as long as no server's span is there.
func (s *Store) count(g *segment, sh *shape, slot uint32, sp *span.Span, start int64) {
	serving := serves(sh.kind)
	failed := sh.status == span.StatusError
	s.rollups.span(sh.series, sh.kind, sp.ParentID == 0, start, sp.Duration, failed)
	if serving {
		if call := s.callOf(sh.shared); call != nil {
			csh := call.shape()
			if csh.remote != 0 && calls(csh.kind) && !s.answered(slot, &call.rec) {
				s.byWord(call.g, csh, call.rec.start, call.rec.dur, -1)
			}
			s.edge(call.g, csh, g, sh, start, sp.Duration, 1)
		}
	}
	// Of the halves of a shared id the server's has the children.
	other := s.otherHalf(sh)
	answered := false
	for i := range s.kin.children {
		c := &s.kin.children[i]
		csh := c.shape()
		if !serves(csh.kind) || csh.shared {
			continue
		}
		answered = true
		if other != nil && !serving {
			continue
		}
		s.edge(g, sh, c.g, csh, c.rec.start, time.Duration(c.rec.dur), 1)
		if other != nil {
			s.edge(other.g, other.shape(), c.g, csh, c.rec.start, time.Duration(c.rec.dur), -1)
		}
	}
	if !calls(sh.kind) {
		return
	}
	for i := range s.kin.sameID {
		if half := &s.kin.sameID[i]; serves(half.shape().kind) && half.shape().shared {
			answered = true
			s.edge(g, sh, half.g, half.shape(), half.rec.start, time.Duration(half.rec.dur), 1)
		}
	}
	if sh.remote != 0 && !answered {
		s.byWord(g, sh, start, int64(max(sp.Duration, 0)), 1)
	}
}

// callOf finds the span that the new server's span answers: of a shared id the client's half, which may come later,
// else the parent.
func (s *Store) callOf(shared bool) *relative {
	if !shared {
		return preferServer(s.kin.parents)
	}
	for i := range s.kin.sameID {
		if calls(s.kin.sameID[i].shape().kind) {
			return &s.kin.sameID[i]
		}
	}
	return nil
}

// otherHalf finds the other half of a shared id, nil when the new span is alone.
func (s *Store) otherHalf(sh *shape) *relative {
	for i := range s.kin.sameID {
		r := &s.kin.sameID[i]
		if osh := r.shape(); calls(sh.kind) && serves(osh.kind) && osh.shared || sh.shared && calls(osh.kind) {
			return r
		}
	}
	return nil
}

// preferServer chooses among the halves of a shared id, of which the server's has the children.
func preferServer(parents []relative) *relative {
	for i := range parents {
		if serves(parents[i].shape().kind) {
			return &parents[i]
		}
	}
	if len(parents) == 0 {
		return nil
	}
	return &parents[0]
}

// answered reports whether another server's span than the new one answers the call.
func (s *Store) answered(slot uint32, call *record) bool {
	servers := 0
	look := func(g *segment, rec *record) bool {
		if sh := &g.shapes[rec.shape]; serves(sh.kind) && (rec.parent == call.id && !sh.shared || rec.id == call.id && sh.shared) {
			servers++
		}
		return servers < 2
	}
	if l := s.long[slot]; l != nil {
		s.readAll(l.byParent[call.id], look)
		s.readAll(l.byID[call.id], look)
	} else {
		s.walk(slot, look)
	}
	return servers >= 2 // the new one is there already
}

// edge counts (or takes back, with n -1) a call that a server's span received.
func (s *Store) edge(from *segment, fsh *shape, to *segment, tsh *shape, start int64, d time.Duration, n int64) {
	if fsh.node == tsh.node || from.text(fsh.app) == to.text(tsh.app) {
		return
	}
	s.rollups.edge(fsh.node, tsh.node, start, d, tsh.status == span.StatusError, n)
}

// byWord counts (or takes back, with n -1) a call to the service that the client's span names.
func (s *Store) byWord(g *segment, sh *shape, start, dur int64, n int64) {
	if g.text(sh.remote) == g.text(sh.app) {
		return
	}
	to := s.rollups.nodeOf(nodeKey{app: g.text(sh.remote)})
	s.rollups.edge(sh.node, to, start, time.Duration(dur), sh.status == span.StatusError, n)
}
