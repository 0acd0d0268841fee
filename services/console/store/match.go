package store

import (
	"slices"
	"strings"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/expr"
	"example.com/bookinfo/services/console/span"
)

// matcher decides whether spans and traces meet a query. A shape is decided once.
type matcher struct {
	s            *Store
	q            backend.Query
	tags         *expr.Expr
	keys         []string
	needs        []need
	ofSpans      bool // a filter looks at single spans
	spanDuration bool // and durations are those of the matched spans
	from, to     int64
	shortest     uint16 // durations of spans, as an index has them
	longest      uint16
	plans        map[*segment]*plan
	values       []string
	present      []bool
	scanned      int64
}

type verdict uint8

const (
	never verdict = iota
	undecided
	always  // but for time and duration
	perSpan // a value that stands in the record decides
)

func (s *Store) newMatcher(q backend.Query) (*matcher, error) {
	m := &matcher{s: s, q: q, from: -1 << 63, to: 1<<63 - 1, longest: 1<<16 - 1, plans: map[*segment]*plan{}}
	if strings.TrimSpace(q.Tags) != "" {
		var err error
		if m.tags, err = expr.Parse(q.Tags); err != nil {
			return nil, err
		}
		m.keys = m.tags.Keys()
		m.values, m.present = make([]string, len(m.keys)), make([]bool, len(m.keys))
	}
	if !q.From.IsZero() {
		m.from = q.From.UnixNano()
	}
	if !q.To.IsZero() {
		m.to = q.To.UnixNano()
	}
	m.spanDuration = q.Application != "" || q.Version != "" || q.Name != "" || q.IP != "" || m.tags != nil
	m.needs = needs(&q, m.tags)
	if m.spanDuration {
		m.shortest = shortLength(int64(q.MinDuration))
		if q.MaxDuration > 0 {
			m.longest = shortLength(int64(q.MaxDuration))
		}
	}
	m.ofSpans = m.spanDuration || q.Status == "error"
	return m, nil
}

// overlaps reports whether the segment can hold a span of the window.
func (m *matcher) overlaps(g *segment) bool {
	return !g.retiring && g.maxStart >= m.from && g.minStart < m.to
}

func (m *matcher) decide(g *segment, sh *shape) verdict {
	q := &m.q
	switch {
	case q.Application != "" && g.text(sh.app) != q.Application,
		q.Version != "" && g.text(sh.version) != q.Version,
		q.IP != "" && g.text(sh.ip) != q.IP && g.text(sh.host) != q.IP,
		q.Status == "error" && sh.status != span.StatusError,
		q.Status == "ok" && m.spanDuration && sh.status == span.StatusError,
		q.Name != "" && sh.name != 0 && g.text(sh.name) != q.Name:
		return never
	}
	v := always
	if q.Name != "" && sh.name == 0 {
		v = perSpan
	}
	if m.tags == nil {
		return v
	}
	if g.hasInline(sh, m.keys) {
		return perSpan
	}
	g.collect(sh.encoded, nil, nil, m.keys, m.values, m.present)
	if !m.tags.Match(m.get) {
		return never
	}
	return v
}

func (m *matcher) get(key string) (string, bool) {
	for i, k := range m.keys {
		if k == key {
			return m.values[i], m.present[i]
		}
	}
	return "", false
}

// span reports whether a record meets every filter that looks at spans.
func (m *matcher) span(g *segment, rec *record, e *trace) bool {
	if rec.start < m.from || rec.start >= m.to {
		return false
	}
	if m.spanDuration && (rec.dur < int64(m.q.MinDuration) || m.q.MaxDuration > 0 && rec.dur > int64(m.q.MaxDuration)) {
		return false
	}
	m.scanned++
	v := m.verdict(g, rec.shape)
	if v != perSpan {
		return v == always
	}
	name := ""
	sh := &g.shapes[rec.shape]
	values := reader{rec.body}
	for range sh.events {
		values.uvarint()
	}
	if m.q.Name != "" && sh.name == 0 {
		g.each(rec, e, func(field byte, _, value string) bool {
			name = value
			return field != fieldName
		})
		if name != m.q.Name {
			return false
		}
	}
	if m.tags == nil {
		return true
	}
	g.collect(sh.encoded, &values, e, m.keys, m.values, m.present)
	return m.tags.Match(m.get)
}

// trace reports whether the trace in the slot meets the whole query.
func (m *matcher) trace(slot uint32) bool {
	if !m.bounds(slot) {
		return false
	}
	found := !m.spanDuration
	if m.spanDuration {
		e := m.s.traces.at(slot)
		m.s.walk(slot, func(g *segment, rec *record) bool {
			found = m.span(g, rec, e)
			return !found
		})
	}
	return found && m.calls(slot)
}

// bounds reports whether the trace as a whole is within what the query asks for.
func (m *matcher) bounds(slot uint32) bool {
	e := m.s.traces.at(slot)
	d := e.end - e.start
	switch {
	case e.end < m.from, e.start >= m.to, d < int64(m.q.MinDuration), m.s.segment(e.head.segment()) == nil:
		return false
	case m.spanDuration:
		return true
	}
	return (m.q.MaxDuration <= 0 || d <= int64(m.q.MaxDuration)) && e.start >= m.from &&
		(m.q.Status != "ok" || e.errors == 0) && (m.q.Status != "error" || e.errors > 0)
}

// calls reports whether the trace has the call that the query asks for. The store examines nothing: package clinic
// answers the filter by finding over it.
func (m *matcher) calls(slot uint32) bool {
	return (m.q.EdgeFrom == "" && m.q.EdgeTo == "" || m.crosses(slot)) && m.q.Finding == ""
}

// crosses reports whether a call in the trace takes the query's edge.
func (m *matcher) crosses(slot uint32) bool {
	s := m.s
	is := func(want, have string) bool { return want == "" || want == have }
	byID := map[uint64][]relative{}
	s.walk(slot, func(g *segment, rec *record) bool {
		byID[rec.id] = append(byID[rec.id], relative{g, *rec})
		return true
	})
	for _, halves := range byID {
		for i := range halves {
			r := &halves[i]
			sh := r.shape()
			app := r.g.text(sh.app)
			if calls(sh.kind) && sh.remote != 0 && is(m.q.EdgeFrom, app) && is(m.q.EdgeTo, r.g.text(sh.remote)) {
				return true
			}
			if !serves(sh.kind) || !is(m.q.EdgeTo, app) {
				continue
			}
			call := preferServer(byID[r.rec.parent])
			if sh.shared {
				call = nil
				for k := range halves {
					if calls(halves[k].shape().kind) {
						call = &halves[k]
					}
				}
			}
			if call == nil {
				continue
			}
			if from := call.g.text(call.shape().app); from != app && is(m.q.EdgeFrom, from) {
				return true
			}
		}
	}
	return false
}

// hasInline reports whether the shape leaves the value of one of the keys to the record.
func (g *segment) hasInline(sh *shape, keys []string) bool {
	if sh.inlines == 0 {
		return false
	}
	r := reader{sh.encoded}
	for len(r.b) > 0 {
		if v := r.uvarint(); v&1 == 1 {
			if k := &g.keys[v>>1]; (k.field == fieldTag || k.field == fieldResource) && slices.Contains(keys, k.name) {
				return true
			}
		}
	}
	return false
}

// collect finds the values of the keys: those of tags, else of the resource. values is the record's body after the
// times, nil when the keys are known to be in the shape.
func (g *segment) collect(encoded []byte, values *reader, e *trace, keys, out []string, present []bool) {
	clear(present)
	fromResource := uint64(0)
	r := reader{encoded}
	for len(r.b) > 0 {
		v := r.uvarint()
		var k *keyInfo
		value := ""
		if v&1 == 1 {
			k = &g.keys[v>>1]
			if values != nil {
				value = values.value(e)
			}
		} else {
			p := &g.pairs[v>>1]
			k, value = &g.keys[p.key], p.value
		}
		if k.field != fieldTag && k.field != fieldResource {
			continue
		}
		for i := range keys {
			if keys[i] != k.name {
				continue
			}
			if k.field == fieldResource && !present[i] {
				fromResource |= 1 << (i & 63)
			} else if present[i] && (k.field == fieldResource || fromResource>>(i&63)&1 == 0) {
				continue
			} else {
				fromResource &^= 1 << (i & 63)
			}
			out[i], present[i] = value, true
		}
	}
}
