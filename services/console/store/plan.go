package store

import (
	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/expr"
)

// need is what a span must have to meet a query: one of several values.
type need []wanted

// wanted is a value of some fields.
type wanted struct {
	fields uint32 // a bit for each
	key    string
	equal  bool // the value is text; otherwise it must hold
	text   string
	holds  func(value string) bool
}

// needs are those that follow from the filters of a query that look at spans.
func needs(q *backend.Query, tags *expr.Expr) (all []need) {
	field := func(text string, fields uint32) {
		if text != "" {
			all = append(all, need{{fields: fields, equal: true, text: text}})
		}
	}
	field(q.Application, 1<<fieldService)
	field(q.Version, 1<<fieldVersion)
	field(q.Name, 1<<fieldName)
	field(q.IP, 1<<fieldIP|1<<fieldHost)
	if tags == nil {
		return all
	}
	for _, clause := range tags.Must() {
		n := make(need, 0, len(clause))
		for i := range clause {
			c := &clause[i]
			n = append(n, wanted{1<<fieldTag | 1<<fieldResource, c.Key, c.Equal, c.Value, c.Holds})
		}
		all = append(all, n)
	}
	return all
}

// plan is how a query looks at a segment.
type plan struct {
	verdicts []verdict // of its shapes
	spans    int64     // at most so many of its spans can match; -1 when it is not known
	shapes   []uint32  // they are among those of these shapes
	texts    []wanted  // or have one of these values in their record
}

// plan makes the segment's plan when it is first asked for.
func (m *matcher) plan(g *segment) *plan {
	p := m.plans[g]
	if p == nil {
		p = m.newPlan(g)
		m.plans[g] = p
	}
	return p
}

func (m *matcher) newPlan(g *segment) *plan {
	p := &plan{verdicts: make([]verdict, len(g.shapes))}
	narrowed := g.index != nil && len(g.shapes) < unlisted
	var values []uint32
	best := int64(-1)
	choose := func(v []uint32, texts []wanted) {
		// A value in the record has a chain of its own, which is short.
		spans := int64(8 * len(texts))
		if narrowed {
			for _, v := range v {
				spans += int64(g.index.held[v])
			}
		} else if len(v) > 0 {
			return
		}
		if best < 0 || spans < best {
			best, values, p.texts = spans, v, texts
		}
	}
	if narrowed && m.q.Status == "error" {
		choose([]uint32{g.failedValue()}, nil)
	}
	for _, n := range m.needs {
		v, texts := g.having(n)
		if len(v)+len(texts) == 0 {
			return p // of which every verdict is never
		}
		choose(v, texts)
	}
	if best < 0 || !narrowed && len(values) > 0 {
		// Nothing narrows it down.
		for id := range p.verdicts {
			p.verdicts[id] = undecided
		}
		p.spans = -1
		if !narrowed && len(g.shapes) <= shapesToTry {
			m.tryAll(g, p)
		}
		return p
	}
	p.spans = best
	for _, v := range values {
		for _, id := range g.index.withValue(v) {
			if p.verdicts[id] == never {
				p.verdicts[id] = undecided
				p.shapes = append(p.shapes, uint32(id))
			}
		}
	}
	if !narrowed || len(p.texts) > 0 {
		// The chains lead to the spans; whoever meets one on another way must decide it all the same.
		for id := range p.verdicts {
			p.verdicts[id] = undecided
		}
	}
	return p
}

// tryAll decides every shape of a segment that has no index yet.
func (m *matcher) tryAll(g *segment, p *plan) {
	p.spans = 0
	for id := range g.shapes {
		sh := &g.shapes[id]
		if p.verdicts[id] = m.decide(g, sh); p.verdicts[id] != never {
			p.spans += int64(sh.spans)
			p.shapes = append(p.shapes, uint32(id))
		}
	}
}

// having finds what a segment has of a need: the values in its dictionary, and the texts that stand in records.
func (g *segment) having(n need) (values []uint32, texts []wanted) {
	for i := range n {
		w := &n[i]
		for id := range g.keys {
			k := &g.keys[id]
			if w.fields>>k.field&1 == 0 || k.name != w.key {
				continue
			}
			for p := range g.pairs {
				if pair := &g.pairs[p]; pair.key == uint32(id) && p > 0 && (w.equal && pair.value == w.text || !w.equal && w.holds(pair.value)) {
					values = append(values, uint32(p))
				}
			}
			switch {
			case !k.inline:
			case w.equal:
				texts = append(texts, *w)
			default:
				values = append(values, g.inlineValue(uint32(id)))
			}
		}
	}
	return values, texts
}

func (m *matcher) verdict(g *segment, id uint32) verdict {
	v := &m.plan(g).verdicts[id]
	if *v == undecided {
		*v = m.decide(g, &g.shapes[id])
	}
	return *v
}

// rulesOut reports whether the index tells that no span of the trace of that rank meets the query.
func (m *matcher) rulesOut(g *segment, p *plan, rank uint32) bool {
	x := g.index
	from, to := x.spansFrom[rank], x.spansFrom[rank+1]
	lengths := x.lengths[from:to]
	for i, id := range x.shapes[from:to] {
		switch {
		case id == unlisted:
			return false
		case p.verdicts[id] == never || lengths[i] < m.shortest || lengths[i] > m.longest:
			continue
		case p.verdicts[id] == undecided:
			if p.verdicts[id] = m.decide(g, &g.shapes[id]); p.verdicts[id] == never {
				continue
			}
		}
		return false
	}
	return true
}
