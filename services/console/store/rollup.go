package store

import (
	"slices"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/span"
)

// cell is what happened in one minute.
type cell struct {
	minute                  int64 // since 1970
	spans, requests, errors int64
	sum, peak               time.Duration
	durations               histogram
}

const cellBytes = 96 + 8*4

func (c *cell) request(d time.Duration, failed bool, n int64) {
	c.requests += n
	c.sum += time.Duration(n) * d
	if failed {
		c.errors += n
	}
	if n > 0 {
		c.peak = max(c.peak, d)
	}
	c.durations.add(bucketOf(d), n)
}

func (c *cell) merge(o *cell) {
	c.spans += o.spans
	c.requests += o.requests
	c.errors += o.errors
	c.sum += o.sum
	c.peak = max(c.peak, o.peak)
	c.durations.merge(&o.durations)
}

func (c *cell) numbers() backend.Numbers {
	n := backend.Numbers{Requests: c.requests, Errors: c.errors, Peak: c.peak}
	if c.requests > 0 {
		n.Average = c.sum / time.Duration(c.requests)
		// A bucket's middle may lie above the slowest request that is in it.
		n.P50 = min(c.durations.quantile(0.50), c.peak)
		n.P95 = min(c.durations.quantile(0.95), c.peak)
		n.P99 = min(c.durations.quantile(0.99), c.peak)
	}
	return n
}

// minutes is a series of cells, oldest first, without empty ones.
type minutes struct {
	cells []cell
	last  int64 // start of the newest span, nanoseconds since 1970
}

// at returns the cell of a minute and whether it was made.
func (m *minutes) at(minute int64) (*cell, bool) {
	if n := len(m.cells); n > 0 && m.cells[n-1].minute == minute {
		return &m.cells[n-1], false
	}
	i, found := slices.BinarySearchFunc(m.cells, minute, func(c cell, minute int64) int { return int(c.minute - minute) })
	if !found {
		m.cells = slices.Insert(m.cells, i, cell{minute: minute})
	}
	return &m.cells[i], !found
}

// within returns the cells whose minute overlaps the window.
func (m *minutes) within(w backend.Window) []cell {
	from, to := 0, len(m.cells)
	if !w.From.IsZero() {
		first := minuteOf(w.From.UnixNano())
		from, _ = slices.BinarySearchFunc(m.cells, first, func(c cell, v int64) int { return int(c.minute - v) })
	}
	if !w.To.IsZero() {
		end := minuteOf(w.To.UnixNano()-1) + 1
		to, _ = slices.BinarySearchFunc(m.cells, end, func(c cell, v int64) int { return int(c.minute - v) })
	}
	return m.cells[from:max(from, to)]
}

func minuteOf(ns int64) int64 {
	m := ns / int64(time.Minute)
	if ns%int64(time.Minute) < 0 {
		m--
	}
	return m
}

// seriesKey is one instance of an application.
type seriesKey struct {
	app, version, ip, host, region string
	// rootCalls marks the calls of the instance that begin a trace. They are its requests only where nothing else is: a
	// gateway that reports one span. Those of an application that serves are calls which lost their context.
	rootCalls bool
}

// nodeKey is a node of the topology.
type nodeKey struct{ app, version string }

// rollups are the numbers by minute that are kept while spans come in, so that reading them does not touch spans.
// They outlive the spans: only their own bound evicts them.
type rollups struct {
	series   []*minutes
	keys     []seriesKey
	byKey    map[seriesKey]uint32
	serving  map[string]bool // applications that reported a request
	nodes    []nodeKey
	byNode   map[nodeKey]uint32
	edges    map[[2]uint32]*minutes
	cells    int
	maxCells int
}

// maxSeries bounds the instances that are told apart; further ones are counted under their application alone.
const maxSeries = 4096

func newRollups(maxBytes int64) *rollups {
	return &rollups{
		byKey: map[seriesKey]uint32{}, serving: map[string]bool{}, byNode: map[nodeKey]uint32{}, edges: map[[2]uint32]*minutes{},
		maxCells: int(max(maxBytes/cellBytes, 1024)),
	}
}

func (r *rollups) bytes() int64 {
	return int64(r.cells)*cellBytes + int64(len(r.keys))*256 + int64(len(r.nodes))*96
}

func (r *rollups) seriesOf(k seriesKey) uint32 {
	if id, ok := r.byKey[k]; ok {
		return id
	}
	if len(r.keys) >= maxSeries {
		k = seriesKey{app: k.app, rootCalls: k.rootCalls}
		if id, ok := r.byKey[k]; ok {
			return id
		}
		if len(r.keys) >= 2*maxSeries {
			k = seriesKey{app: "(others)", rootCalls: k.rootCalls}
			if id, ok := r.byKey[k]; ok {
				return id
			}
		}
	}
	k = seriesKey{clone(k.app), clone(k.version), clone(k.ip), clone(k.host), clone(k.region), k.rootCalls}
	id := uint32(len(r.keys))
	r.keys, r.series = append(r.keys, k), append(r.series, &minutes{})
	r.byKey[k] = id
	return id
}

func (r *rollups) nodeOf(k nodeKey) uint32 {
	if id, ok := r.byNode[k]; ok {
		return id
	}
	if len(r.nodes) >= maxSeries {
		k = nodeKey{app: "(others)"}
		if id, ok := r.byNode[k]; ok {
			return id
		}
	}
	k = nodeKey{clone(k.app), clone(k.version)}
	id := uint32(len(r.nodes))
	r.nodes = append(r.nodes, k)
	r.byNode[k] = id
	return id
}

// span counts one span of a series.
func (r *rollups) span(series uint32, kind span.Kind, root bool, start int64, d time.Duration, failed bool) {
	m := r.series[series]
	c, made := m.at(minuteOf(start))
	c.spans++
	m.last = max(m.last, start)
	switch {
	case serves(kind):
		r.serving[r.keys[series].app] = true
		c.request(d, failed, 1)
	case root && !calls(kind):
		c.request(d, failed, 1)
	case root:
		r.rootCall(series, start, d, failed)
	}
	r.made(made)
}

func (r *rollups) rootCall(series uint32, start int64, d time.Duration, failed bool) {
	k := r.keys[series]
	k.rootCalls = true
	m := r.series[r.seriesOf(k)]
	c, made := m.at(minuteOf(start))
	c.request(d, failed, 1)
	r.made(made)
}

// within returns the cells of a series in the window, none where it holds calls that do not count.
func (r *rollups) within(series int, w backend.Window) []cell {
	if k := &r.keys[series]; k.rootCalls && r.serving[k.app] {
		return nil
	}
	return r.series[series].within(w)
}

// edge adds n calls (or takes them back, with n -1).
func (r *rollups) edge(from, to uint32, start int64, d time.Duration, failed bool, n int64) {
	key := [2]uint32{from, to}
	m := r.edges[key]
	if m == nil {
		m = &minutes{}
		r.edges[key] = m
	}
	c, made := m.at(minuteOf(start))
	c.request(d, failed, n)
	r.made(made)
}

// made counts a new cell, and drops the oldest tenth of all minutes when there are too many.
func (r *rollups) made(made bool) {
	if !made {
		return
	}
	r.cells++
	if r.cells <= r.maxCells {
		return
	}
	var all []int64
	each := func(f func(*minutes)) {
		for _, m := range r.series {
			f(m)
		}
		for _, m := range r.edges {
			f(m)
		}
	}
	each(func(m *minutes) {
		for i := range m.cells {
			all = append(all, m.cells[i].minute)
		}
	})
	slices.Sort(all)
	oldest := all[len(all)/10]
	r.cells = 0
	each(func(m *minutes) {
		m.cells = slices.DeleteFunc(m.cells, func(c cell) bool { return c.minute <= oldest })
		r.cells += len(m.cells)
	})
}
