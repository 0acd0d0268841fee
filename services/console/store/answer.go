package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/span"
)

var _ backend.Backend = (*Store)(nil)

// settled is how long after its last span a trace counts as still arriving.
const settled = 2 * time.Second

// spans decodes all spans of a trace, by start time.
func (s *Store) spans(slot uint32) []span.Span {
	e := s.traces.at(slot)
	out := make([]span.Span, 0, e.spans)
	s.walk(slot, func(g *segment, rec *record) bool {
		out = append(out, g.decode(rec, e))
		return true
	})
	slices.Reverse(out) // in order of arrival, which decides between equal times
	slices.SortStableFunc(out, func(a, b span.Span) int { return a.Start.Compare(b.Start) })
	return out
}

// Trace implements backend.Backend.
func (s *Store) Trace(_ context.Context, id span.TraceID) ([]span.Span, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []span.Span
	slots := s.traces.matching(id)
	for _, slot := range slots {
		out = append(out, s.spans(slot)...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("trace %s: %w", id, span.ErrNotFound)
	}
	if len(slots) == 1 {
		return out, nil
	}
	slices.SortStableFunc(out, func(a, b span.Span) int { return a.Start.Compare(b.Start) })
	return out, nil
}

// summary describes a trace from the fixed parts of its records.
func (s *Store) summary(slot uint32) backend.Summary {
	e := s.traces.at(slot)
	sum := backend.Summary{TraceID: e.id(), Status: ""}
	type light struct {
		g   *segment
		rec record
	}
	var root *light
	lights := make([]light, 0, e.spans)
	ids := make(map[uint64]struct{}, e.spans)
	var start, end int64
	s.walk(slot, func(g *segment, rec *record) bool {
		sh := &g.shapes[rec.shape]
		if len(lights) == 0 {
			start, end = rec.start, rec.start+rec.dur
		}
		start, end = min(start, rec.start), max(end, rec.start+rec.dur)
		lights = append(lights, light{g, *rec})
		ids[rec.id] = struct{}{}
		app := g.text(sh.app)
		i := slices.IndexFunc(sum.Services, func(c backend.ServiceCount) bool { return c.Application == app })
		if i < 0 {
			i = len(sum.Services)
			sum.Services = append(sum.Services, backend.ServiceCount{Application: app})
		}
		sum.Services[i].Spans++
		if sh.status == span.StatusError {
			sum.Services[i].Errors++
			sum.Errors++
		}
		return true
	})
	sum.Spans = len(lights)
	if sum.Spans == 0 {
		return sum
	}
	slices.SortFunc(sum.Services, func(a, b backend.ServiceCount) int {
		return cmp.Or(cmp.Compare(b.Spans, a.Spans), strings.Compare(a.Application, b.Application))
	})
	sum.Complete = s.opts.Now().UnixNano()-e.received > int64(settled)
	for i := range lights {
		l := &lights[i]
		_, parent := ids[l.rec.parent]
		if l.rec.parent != 0 && !parent {
			sum.Complete = false
		}
		if root == nil || before(l.rec.parent == 0, l.rec.start, root.rec.parent == 0, root.rec.start) {
			root = l
		}
	}
	sh := &root.g.shapes[root.rec.shape]
	sum.Start, sum.Duration = time.Unix(0, start).UTC(), time.Duration(end-start)
	sum.Application, sum.IP, sum.Host = root.g.text(sh.app), root.g.text(sh.ip), root.g.text(sh.host)
	status := ""
	root.g.each(&root.rec, e, func(field byte, key, value string) bool {
		switch {
		case field == fieldName:
			sum.Name = value
		case field != fieldTag:
		case key == requestIDTag:
			sum.RequestID = value
		case key == "http.status_code" || key == "http.response.status_code" && status == "":
			status = value
		}
		return true
	})
	sum.Status = status
	if sum.RequestID == "" && e.reqHi|e.reqLo != 0 {
		sum.RequestID = formatUUID(e.reqHi, e.reqLo)
	}
	return sum
}

// before prefers roots, and among equals the earlier.
func before(root bool, start int64, otherRoot bool, other int64) bool {
	if root != otherRoot {
		return root
	}
	return start < other
}

// Applications implements backend.Backend.
func (s *Store) Applications(_ context.Context, w backend.Window) ([]backend.Application, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	type total struct {
		all      cell
		versions map[string]*cell
		regions  []string
		last     int64
	}
	totals := map[string]*total{}
	for i, m := range s.rollups.series {
		cells := s.rollups.within(i, w)
		if len(cells) == 0 {
			continue
		}
		k := &s.rollups.keys[i]
		t := totals[k.app]
		if t == nil {
			t = &total{versions: map[string]*cell{}}
			totals[k.app] = t
		}
		v := t.versions[k.version]
		if v == nil {
			v = &cell{}
			t.versions[k.version] = v
		}
		for j := range cells {
			t.all.merge(&cells[j])
			v.merge(&cells[j])
		}
		if k.region != "" && !slices.Contains(t.regions, k.region) {
			t.regions = append(t.regions, k.region)
		}
		t.last = max(t.last, m.last)
	}
	out := make([]backend.Application, 0, len(totals))
	for name, t := range totals {
		a := backend.Application{Name: name, Numbers: t.all.numbers(), Spans: t.all.spans, LastSeen: time.Unix(0, t.last).UTC()}
		for version, c := range t.versions {
			a.Versions = append(a.Versions, backend.Version{Name: version, Numbers: c.numbers()})
		}
		slices.SortFunc(a.Versions, func(a, b backend.Version) int { return strings.Compare(a.Name, b.Name) })
		slices.Sort(t.regions)
		a.Regions = t.regions
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b backend.Application) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// maxPoints bounds a series: a window of a year by the minute is not a chart.
const maxPoints = 10_000

// Series implements backend.Backend.
func (s *Store) Series(_ context.Context, app, version string, w backend.Window, step time.Duration) ([]backend.Point, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	perStep := max(int64((step+time.Minute-1)/time.Minute), 1)
	byStep := map[int64]*cell{}
	first, last := int64(1<<62), int64(-1<<62)
	for i := range s.rollups.series {
		k := &s.rollups.keys[i]
		if k.app != app || version != "" && k.version != version {
			continue
		}
		cells := s.rollups.within(i, w)
		for j := range cells {
			at := floorDiv(cells[j].minute, perStep)
			if byStep[at] == nil {
				byStep[at] = &cell{}
			}
			byStep[at].merge(&cells[j])
			first, last = min(first, at), max(last, at)
		}
	}
	if len(byStep) == 0 && (w.From.IsZero() || w.To.IsZero()) {
		return nil, nil
	}
	if !w.From.IsZero() {
		first = floorDiv(minuteOf(w.From.UnixNano()), perStep)
	}
	if !w.To.IsZero() {
		last = floorDiv(minuteOf(w.To.UnixNano()-1), perStep)
	}
	if last-first >= maxPoints {
		return nil, fmt.Errorf("series of %d steps: at most %d; choose a longer step or a shorter window", last-first+1, maxPoints)
	}
	out := make([]backend.Point, 0, max(last-first+1, 0))
	for at := first; at <= last; at++ {
		p := backend.Point{Time: time.Unix(at*perStep*60, 0).UTC()}
		if c := byStep[at]; c != nil {
			p.Numbers = c.numbers()
		}
		out = append(out, p)
	}
	return out, nil
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}

// Servers implements backend.Backend.
func (s *Store) Servers(_ context.Context, app string, w backend.Window) ([]backend.Server, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	type key struct{ ip, host, version string }
	totals, last := map[key]*cell{}, map[key]int64{}
	for i, m := range s.rollups.series {
		k := &s.rollups.keys[i]
		cells := s.rollups.within(i, w)
		if k.app != app || len(cells) == 0 {
			continue
		}
		server := key{k.ip, k.host, k.version}
		if totals[server] == nil {
			totals[server] = &cell{}
		}
		for j := range cells {
			totals[server].merge(&cells[j])
		}
		last[server] = max(last[server], m.last)
	}
	out := make([]backend.Server, 0, len(totals))
	for k, c := range totals {
		out = append(out, backend.Server{IP: k.ip, Host: k.host, Version: k.version, Numbers: c.numbers(), LastSeen: time.Unix(0, last[k]).UTC()})
	}
	slices.SortFunc(out, func(a, b backend.Server) int {
		return cmp.Or(strings.Compare(a.Version, b.Version), strings.Compare(a.IP, b.IP), strings.Compare(a.Host, b.Host))
	})
	return out, nil
}

// Topology implements backend.Backend.
func (s *Store) Topology(_ context.Context, app string, w backend.Window) (backend.Topology, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.rollups
	keep := map[nodeKey]*cell{}
	var t backend.Topology
	for key, m := range r.edges {
		from, to := r.nodes[key[0]], r.nodes[key[1]]
		if app != "" && from.app != app && to.app != app {
			continue
		}
		var sum cell
		cells := m.within(w)
		for i := range cells {
			sum.merge(&cells[i])
		}
		if sum.requests <= 0 {
			continue
		}
		keep[from], keep[to] = &cell{}, &cell{}
		t.Edges = append(t.Edges, backend.Edge{From: from.app, FromVersion: from.version, To: to.app, ToVersion: to.version, Numbers: sum.numbers()})
	}
	for i := range r.series {
		k := nodeKey{r.keys[i].app, r.keys[i].version}
		cells := r.within(i, w)
		if len(cells) == 0 || keep[k] == nil && app != "" && k.app != app {
			continue
		}
		if keep[k] == nil {
			keep[k] = &cell{}
		}
		for j := range cells {
			keep[k].merge(&cells[j])
		}
	}
	for k, c := range keep {
		t.Nodes = append(t.Nodes, backend.Node{Application: k.app, Version: k.version, Numbers: c.numbers()})
	}
	slices.SortFunc(t.Nodes, func(a, b backend.Node) int {
		return cmp.Or(strings.Compare(a.Application, b.Application), strings.Compare(a.Version, b.Version))
	})
	slices.SortFunc(t.Edges, func(a, b backend.Edge) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.FromVersion, b.FromVersion),
			strings.Compare(a.To, b.To), strings.Compare(a.ToVersion, b.ToVersion))
	})
	return t, nil
}

// TagKeys implements backend.Backend.
func (s *Store) TagKeys(_ context.Context, prefix string, limit int) ([]string, error) {
	return s.collectWords(prefix, limit, func(g *segment, add func(string)) {
		for i := range g.keys {
			if k := &g.keys[i]; k.field == fieldTag || k.field == fieldResource {
				add(k.name)
			}
		}
	}), nil
}

// TagValues implements backend.Backend. Of keys with very many values it gives some.
func (s *Store) TagValues(_ context.Context, key, prefix string, limit int) ([]string, error) {
	return s.collectWords(prefix, limit, func(g *segment, add func(string)) {
		for i := range g.pairs {
			if k := &g.keys[g.pairs[i].key]; k.name == key && (k.field == fieldTag || k.field == fieldResource) {
				add(g.pairs[i].value)
			}
		}
	}), nil
}

// Names implements backend.Backend. Of applications with very many names it gives some.
func (s *Store) Names(_ context.Context, app string) ([]string, error) {
	return s.collectWords("", 0, func(g *segment, add func(string)) {
		for i := range g.shapes {
			if sh := &g.shapes[i]; sh.name != 0 && (app == "" || g.text(sh.app) == app) {
				add(g.text(sh.name))
			}
		}
	}), nil
}

func (s *Store) collectWords(prefix string, limit int, each func(*segment, func(string))) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seen := map[string]struct{}{}
	for _, g := range s.segments {
		each(g, func(word string) {
			if strings.HasPrefix(word, prefix) {
				seen[word] = struct{}{}
			}
		})
	}
	words := make([]string, 0, len(seen))
	for w := range seen {
		words = append(words, w)
	}
	slices.Sort(words)
	if limit > 0 && len(words) > limit {
		words = words[:limit]
	}
	return words
}
