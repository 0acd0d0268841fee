package tree

import (
	"fmt"
	"slices"
	"time"

	"example.com/bookinfo/services/console/span"
)

// tie links the spans of one trace to their parents and returns those without one.
func tie(group []*span.Span) []*knot {
	knots := make([]knot, len(group))
	byID := make(map[span.ID][]*knot, len(group))
	for i, s := range group {
		k := &knots[i]
		k.Node = Node{Span: s, Start: s.Start, Duration: s.Duration, TraceID: s.TraceID}
		byID[s.ID] = append(byID[s.ID], k)
	}
	for i := range knots {
		k := &knots[i]
		same := byID[k.Span.ID]
		if len(same) > 1 && clash(k, same) {
			k.problem(DuplicateID, k.Span.ID, fmt.Sprintf("%d spans of this trace have the id %s: two senders made or "+
				"reused one id, and their children cannot be told apart", len(same), k.Span.ID))
		}
		k.parent = parentOf(k, same, byID)
	}
	cutCycles(knots)
	var roots []*knot
	for i := range knots {
		k := &knots[i]
		if k.parent == nil {
			roots = append(roots, k)
			continue
		}
		k.parent.children = append(k.parent.children, k)
	}
	return roots
}

// clash reports whether one of the others with k's id is not simply the other half of k's hop.
func clash(k *knot, same []*knot) bool {
	for _, other := range same {
		if other != k && !halves(k.Span, other.Span) {
			return true
		}
	}
	return false
}

// halves reports whether two spans with one id are the client's and the server's side of one call, which Zipkin's
// shared span model allows (openzipkin/b3-propagation, "Why is ParentSpanId propagated?").
func halves(a, b *span.Span) bool {
	client := func(k span.Kind) bool { return k == span.KindClient || k == span.KindProducer }
	server := func(k span.Kind) bool { return k == span.KindServer || k == span.KindConsumer }
	return client(a.Kind) && server(b.Kind) || server(a.Kind) && client(b.Kind)
}

// parentOf finds the knot above k, nil for a root and for an orphan.
func parentOf(k *knot, same []*knot, byID map[span.ID][]*knot) *knot {
	if rank(k.Span.Kind) == 1 {
		for _, other := range same {
			if other != k && halves(k.Span, other.Span) {
				return other
			}
		}
	}
	id := k.Span.ParentID
	if id == 0 {
		return nil
	}
	if id == k.Span.ID {
		k.problem(Cycle, id, "this span names itself as its parent: the application overwrote x-b3-parentspanid or "+
			"x-b3-spanid; headers must be copied unchanged")
		return nil
	}
	candidates := byID[id]
	if len(candidates) == 0 {
		k.problem(MissingParent, id, fmt.Sprintf("the parent %s never came", id))
		return nil
	}
	best := candidates[0]
	for _, c := range candidates[1:] {
		if better(k, c, best) {
			best = c
		}
	}
	return best
}

// better prefers, of several spans with the parent's id, the half that calls out (the server's, which k runs under),
// then the one during which k began.
func better(k, a, b *knot) bool {
	if ra, rb := rank(a.Span.Kind), rank(b.Span.Kind); ra != rb {
		return ra > rb
	}
	during := func(p *knot) bool { return !k.Start.Before(p.Start) && !k.Start.After(p.End()) }
	return during(a) && !during(b)
}

// cutCycles makes a root of the earliest span of each ring of parents.
func cutCycles(knots []knot) {
	for i := range knots {
		pass := uint32(i + 1)
		k := &knots[i]
		for k != nil && k.mark == 0 {
			k.mark = pass
			k = k.parent
		}
		if k == nil || k.mark != pass {
			continue
		}
		first, length := k, 1
		for c := k.parent; c != k; c = c.parent {
			length++
			if c.Start.Before(first.Start) {
				first = c
			}
		}
		first.problem(Cycle, first.Span.ParentID, fmt.Sprintf("%d spans are each other's ancestors; the ring is cut above "+
			"this one, the earliest, whose parent claims to be %s", length, first.Span.ParentID))
		first.parent = nil
	}
}

func (k *knot) problem(kind ProblemKind, other span.ID, text string) {
	k.Problems = append(k.Problems, Problem{Kind: kind, Text: text, Span: k.Span.ID, Other: other})
}

// joinAll puts each server's span into the client's span above it, where the client has just that one.
func joinAll(roots []*knot, join bool) {
	if !join {
		return
	}
	for _, r := range roots {
		walk(r, func(k *knot) {
			at := onlyServer(k)
			if at < 0 {
				return
			}
			server := k.children[at]
			k.Server = server.Span
			k.Problems = append(k.Problems, server.Problems...)
			k.children = append(slices.Delete(slices.Clone(k.children), at, at+1), server.children...)
			for _, c := range server.children {
				c.parent = k
			}
			byStart(k.children)
		})
	}
}

func onlyServer(k *knot) int {
	at := -1
	if k.Server != nil || rank(k.Span.Kind) != 0 {
		return -1
	}
	for i, c := range k.children {
		if c.Span.Kind == span.KindServer || c.Span.Kind == span.KindConsumer {
			if at >= 0 {
				return -1
			}
			at = i
		}
	}
	return at
}

func byStart(ks []*knot) {
	slices.SortStableFunc(ks, func(a, b *knot) int { return a.Start.Compare(b.Start) })
}

// straighten finds hosts whose clock runs against their caller's: a server cannot begin before it was called, nor
// after the caller has its answer. The shift places the span in the middle of the caller's, which assumes that both
// ways took equally long; everything on that host below moves with it.
func straighten(root *knot, correct bool) {
	walk(root, func(k *knot) {
		if p := k.parent; p != nil {
			k.skewed = p.skewed
			if k.Server == nil && !sameHost(p.Span, k.Span) {
				k.skewed = shift(p, k)
			}
			if k.skewed != p.skewed && k.skewed != 0 {
				k.Problems = append(k.Problems, Problem{Kind: ClockSkew, Span: k.Span.ID, Other: p.Span.ID,
					Text: fmt.Sprintf("the clock of %s is off by about %s: its span lies outside its caller's",
						place(k.Span), (-k.skewed).Round(time.Microsecond))})
			}
		}
		k.Skew = k.skewed
		if correct {
			k.Start = k.Start.Add(k.skewed)
		}
	})
	if correct {
		walk(root, func(k *knot) { byStart(k.children) })
	}
}

func shift(p, k *knot) time.Duration {
	if k.Span.Kind != span.KindServer || rank(p.Span.Kind) != 0 {
		return 0
	}
	start, end := p.Span.Start.Add(p.skewed), p.Span.End().Add(p.skewed)
	if !k.Span.Start.Before(start) && !k.Span.Start.After(end) {
		return 0
	}
	gap := max(0, p.Span.Duration-k.Span.Duration) / 2
	return start.Add(gap).Sub(k.Span.Start)
}

func sameHost(a, b *span.Span) bool {
	return a.Service == b.Service && a.IP == b.IP && a.Host == b.Host
}

// place names where a span was made: server name, else address, else service.
func place(s *span.Span) string {
	switch {
	case s.Host != "":
		return s.Host
	case s.IP != "":
		return s.IP
	}
	return s.Service
}

// adopt puts orphans under a node for the parent that never came, one for each such parent.
func adopt(roots []*knot, id span.TraceID) []*knot {
	missing := make(map[span.ID]*knot)
	out := make([]*knot, 0, len(roots))
	for _, r := range roots {
		if r.Span.ParentID == 0 || len(r.Problems) == 0 || r.Problems[0].Kind != MissingParent {
			out = append(out, r)
			continue
		}
		m := missing[r.Span.ParentID]
		if m == nil {
			m = &knot{Node: Node{Kind: KindMissing, Missing: r.Span.ParentID, TraceID: id}}
			missing[r.Span.ParentID] = m
			out = append(out, m)
		}
		r.parent = m
		m.children = append(m.children, r)
	}
	for _, m := range missing {
		hull(m)
	}
	return out
}

func fragment(roots []*knot, id span.TraceID) *knot {
	f := &knot{Node: Node{Kind: KindFragment, TraceID: id}, children: roots}
	for _, r := range roots {
		r.parent = f
	}
	f.Problems = []Problem{{Kind: Fragment, Text: fmt.Sprintf("trace %s has the same x-request-id: the application "+
		"passed the request id on but not the trace context", id)}}
	hull(f)
	return f
}

// hull sets start and duration from the first start to the last end of the children.
func hull(k *knot) {
	var end time.Time
	for i, c := range k.children {
		if i == 0 || c.Start.Before(k.Start) {
			k.Start = c.Start
		}
		if c.End().After(end) {
			end = c.End()
		}
	}
	k.Duration = end.Sub(k.Start)
}

// fold puts runs of alike siblings under one node, at the place of the first.
func fold(root *knot, atLeast int) {
	if atLeast <= 1 {
		return
	}
	type alike struct {
		service, name string
		kind          span.Kind
	}
	walk(root, func(k *knot) {
		if k.Kind == KindFold || len(k.children) < atLeast {
			return
		}
		groups := make(map[alike][]*knot)
		key := func(c *knot) alike { return alike{c.Span.Service, c.Span.Name, c.Span.Kind} }
		for _, c := range k.children {
			if c.Span != nil {
				groups[key(c)] = append(groups[key(c)], c)
			}
		}
		var out []*knot
		for _, c := range k.children {
			if c.Span == nil || len(groups[key(c)]) < atLeast {
				out = append(out, c)
				continue
			}
			members := groups[key(c)]
			if members[0] != c {
				continue
			}
			f := &knot{Node: Node{Kind: KindFold, TraceID: c.TraceID}, parent: k, children: members}
			for _, m := range members {
				m.parent = f
			}
			hull(f)
			out = append(out, f)
		}
		k.children = out
	})
}
