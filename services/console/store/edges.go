package store

import (
	"time"

	"example.com/bookinfo/services/console/span"
)

// count adds a new span, whose record is at the place given, to the numbers by minute and to the edges. A call is
// counted once, at the server's span; by the client's word (its remote service) as long as no server's span is there.
func (s *Store) count(g *segment, at location, slot uint32) {
	rec := g.read(at.offset())
	sh := &g.shapes[rec.shape]
	serving := serves(sh.kind)
	failed := sh.status == span.StatusError
	d := time.Duration(rec.dur)
	s.rollups.span(sh.series, rec.start, d, serving || rec.parent == 0, failed)
	if serving {
		if cg, call, ok := s.callOf(slot, &rec, sh.shared); ok {
			csh := &cg.shapes[call.shape]
			if csh.remote != 0 && calls(csh.kind) && !s.answered(slot, &call, at) {
				s.byWord(cg, &call, -1)
			}
			s.edge(cg, csh, g, &rec)
		}
	}
	answered := false
	s.withParent(slot, rec.id, func(cg *segment, child *record) bool {
		if csh := &cg.shapes[child.shape]; serves(csh.kind) && locate(cg.seq, child.off) != at {
			answered = true
			// With a shared id the server's half of a call has the children, and the client's half the callers.
			s.edge(g, sh, cg, child)
		}
		return true
	})
	if calls(sh.kind) {
		s.withID(slot, rec.id, func(cg *segment, half *record) bool {
			if csh := &cg.shapes[half.shape]; serves(csh.kind) && csh.shared {
				answered = true
				s.edge(g, sh, cg, half)
			}
			return true
		})
		if sh.remote != 0 && !answered {
			s.byWord(g, &rec, 1)
		}
	}
}

func serves(k span.Kind) bool { return k == span.KindServer || k == span.KindConsumer }
func calls(k span.Kind) bool  { return k == span.KindClient || k == span.KindProducer }

// callOf finds the span that a server's span answers: the client's half of a shared id, else the parent.
func (s *Store) callOf(slot uint32, server *record, shared bool) (g *segment, call record, ok bool) {
	if shared {
		s.withID(slot, server.id, func(cg *segment, rec *record) bool {
			if calls(cg.shapes[rec.shape].kind) {
				g, call, ok = cg, *rec, true
			}
			return !ok
		})
	}
	if !ok && server.parent != 0 && server.parent != server.id {
		s.withID(slot, server.parent, func(cg *segment, rec *record) bool {
			if !ok || serves(cg.shapes[rec.shape].kind) {
				g, call, ok = cg, *rec, true
			}
			return true
		})
	}
	return g, call, ok
}

// answered reports whether a server's span other than the one at except answers the call.
func (s *Store) answered(slot uint32, call *record, except location) (found bool) {
	look := func(g *segment, rec *record) bool {
		found = found || serves(g.shapes[rec.shape].kind) && locate(g.seq, rec.off) != except
		return !found
	}
	s.withParent(slot, call.id, look)
	s.withID(slot, call.id, look)
	return found
}

// edge counts the call that the server's span received.
func (s *Store) edge(from *segment, fsh *shape, to *segment, server *record) {
	tsh := &to.shapes[server.shape]
	if fsh.node == tsh.node || from.text(fsh.app) == to.text(tsh.app) {
		return
	}
	s.rollups.edge(fsh.node, tsh.node, server.start, time.Duration(server.dur), tsh.status == span.StatusError, 1)
}

// byWord counts (or takes back, with n -1) a call to the service that the client's span names.
func (s *Store) byWord(g *segment, call *record, n int64) {
	sh := &g.shapes[call.shape]
	if sh.remote == sh.app || g.text(sh.remote) == g.text(sh.app) {
		return
	}
	to := s.rollups.nodeOf(nodeKey{app: g.text(sh.remote)})
	s.rollups.edge(sh.node, to, call.start, time.Duration(call.dur), sh.status == span.StatusError, n)
}
