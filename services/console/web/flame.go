package web

import (
	"cmp"
	"net/url"
	"slices"
	"time"

	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

// flame is a trace as boxes: below each box what it called, as wide as it took, alike siblings as one box.
type flame struct {
	Boxes  []flameBox
	Height float64
	Up     string
	Cut    int // boxes too narrow to be drawn
}

type flameBox struct {
	X, Y, W, Hue int // X and W in thousandths
	Label, Text  string
	Link         string
	Bad          bool
	Show         bool
}

// tableMost is how many spans the table shows; what it leaves out is said.
const tableMost = 5000

// spanTable is the trace as a plain table: by start, or as the address asks.
func (c *console) spanTable(t *tree.Tree, u *url.URL) spanTable {
	var out []tableRow
	names := make(map[string]bool)
	w := window{Start: t.Start, Total: t.Duration(), Width: max(t.Duration(), 1)}
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Span != nil {
			out = append(out, tableRow{c.row(t, i, w, u, names), n.CriticalTime(), n.Span.Version})
		}
	}
	key := cmp.Or(u.Query().Get("sort"), "start")
	slices.SortStableFunc(out, func(a, b tableRow) int {
		switch key {
		case "duration":
			return cmp.Compare(b.Duration, a.Duration)
		case "self":
			return cmp.Compare(b.Self, a.Self)
		case "critical":
			return cmp.Compare(b.Critical, a.Critical)
		case "service":
			return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Start, b.Start))
		}
		return cmp.Compare(a.Start, b.Start)
	})
	shown := spanTable{Rows: out[:min(len(out), tableMost)], Cut: max(0, len(out)-tableMost)}
	for _, s := range []column{{Key: "service", Label: "Service"}, {Label: "Span"}, {Label: "Kind"}, {Label: "Status"}, {Label: "IP address"},
		{Key: "start", Label: "Start"}, {Key: "duration", Label: "Duration"}, {Key: "self", Label: "Self time"}, {Key: "critical", Label: "Critical"}} {
		if s.Key != "" {
			s.Link = with(u, "sort", s.Key)
		}
		if s.Key == key {
			s.Sort = "descending"
			if key == "service" || key == "start" {
				s.Sort = "ascending"
			}
		}
		shown.Columns = append(shown.Columns, s)
	}
	return shown
}

type spanTable struct {
	Columns []column
	Rows    []tableRow
	Cut     int
}

type tableRow struct {
	row
	Critical time.Duration
	Version  string
}

const (
	flameRow   = 26
	flameBoxes = 4000
)

func drawFlame(t *tree.Tree, root span.ID, u *url.URL) flame {
	var f flame
	tops := []int{}
	if at := t.Find(root); root != 0 && at >= 0 {
		tops = append(tops, at)
		f.Up = with(u, "root", "")
		if p := t.Nodes[at].Parent; p >= 0 && t.Nodes[p].Span != nil {
			f.Up = with(u, "root", t.Nodes[p].Span.ID.String())
		}
	} else {
		for i := 0; i < len(t.Nodes); i += t.Nodes[i].Descendants + 1 {
			tops = append(tops, i)
		}
	}
	type level struct {
		nodes []int
		x, w  float64
		depth int
	}
	queue := []level{{tops, 0, 1000, 0}}
	for len(queue) > 0 {
		l := queue[0]
		queue = queue[1:]
		groups := alikeGroups(t, l.nodes)
		var sum time.Duration
		for _, g := range groups {
			sum += g.total
		}
		x, whole := l.x, max(sum, 1)
		if l.depth > 0 {
			whole = max(whole, groupTotal(t, l.nodes))
		}
		for _, g := range groups {
			width := l.w * float64(g.total) / float64(whole)
			if width < 0.6 || len(f.Boxes) >= flameBoxes {
				f.Cut++
				continue
			}
			n := &t.Nodes[g.nodes[0]]
			box := flameBox{X: int(x), Y: l.depth * flameRow, W: max(1, int(x+width)-int(x)), Label: label(t, n), Show: width > 45}
			box.Text = box.Label + ", " + duration(g.total) + ", self " + duration(g.self)
			if len(g.nodes) > 1 {
				box.Text += ", " + count(len(g.nodes)) + " spans"
			}
			if n.Span != nil {
				box.Hue, box.Bad, box.Link = hue(n.Span.Service), g.bad, with(u, "root", n.Span.ID.String())
				box.Text = n.Span.Service + ": " + box.Text
			}
			if most := max(2, int(width)/7); len(box.Label) > most {
				box.Label = string([]rune(box.Label)[:min(most, len([]rune(box.Label)))]) + "…"
			}
			f.Boxes = append(f.Boxes, box)
			f.Height = max(f.Height, float64(box.Y+flameRow))
			var below []int
			for _, i := range g.nodes {
				below = append(below, t.Nodes[i].Children...)
			}
			if len(below) > 0 {
				queue = append(queue, level{below, x, width, l.depth + 1})
			}
			x += width
		}
	}
	return f
}

type alikeGroup struct {
	nodes       []int
	total, self time.Duration
	bad         bool
}

// alikeGroups puts nodes with the same service, name and kind together, in order of the first.
func alikeGroups(t *tree.Tree, nodes []int) []alikeGroup {
	index := make(map[[3]string]int)
	var out []alikeGroup
	for _, i := range nodes {
		n := &t.Nodes[i]
		key := [3]string{kindName(n.Kind), label(t, n)}
		if n.Span != nil {
			key = [3]string{n.Span.Service, n.Span.Name, n.Span.Kind.String()}
		}
		at, known := index[key]
		if !known {
			at = len(out)
			index[key] = at
			out = append(out, alikeGroup{})
		}
		g := &out[at]
		g.nodes = append(g.nodes, i)
		g.total += n.Duration
		g.self += n.Self
		g.bad = g.bad || n.Error()
	}
	return out
}

// groupTotal is the time of the parents of nodes: what the width of their level stands for.
func groupTotal(t *tree.Tree, nodes []int) (sum time.Duration) {
	seen := make(map[int]bool)
	for _, i := range nodes {
		if p := t.Nodes[i].Parent; p >= 0 && !seen[p] {
			seen[p] = true
			sum += t.Nodes[p].Duration
		}
	}
	return sum
}
