package web

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/web/graph"
)

// topologyView is the call graph as drawn, with the same as a table.
type topologyView struct {
	Nodes         []topologyNode
	Edges         []topologyEdge
	Width, Height float64
	Dropped       int // nodes left out above the limit
}

type topologyNode struct {
	backend.Node
	graph.Place
	Link, Rate, Short string
	Self              bool
}

type topologyEdge struct {
	backend.Edge
	graph.Path
	Link, Rate string
	Weight     float64
	Failing    bool
}

// maxNodes is how many nodes a drawing holds before it stops being readable; the busiest stay.
const maxNodes = 60

type topologyPage struct{ Graph topologyView }

func (c *console) topology(w http.ResponseWriter, r *http.Request) error {
	sel, err := c.selection(r)
	if err != nil {
		return err
	}
	t, err := c.Backend.Topology(r.Context(), "", sel.Window())
	if err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "topology", view{Title: "Topology", Section: "topology", Select: sel, Live: "/live",
		Body: topologyPage{drawTopology(t, sel, c.Now(), "")}})
}

func drawTopology(t backend.Topology, sel selection, now time.Time, self string) topologyView {
	var v topologyView
	slices.SortStableFunc(t.Nodes, func(a, b backend.Node) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Application, b.Application), cmp.Compare(a.Version, b.Version))
	})
	if len(t.Nodes) > maxNodes {
		v.Dropped = len(t.Nodes) - maxNodes
		t.Nodes = t.Nodes[:maxNodes]
	}
	slices.SortStableFunc(t.Nodes, func(a, b backend.Node) int {
		return cmp.Or(cmp.Compare(a.Application, b.Application), cmp.Compare(a.Version, b.Version))
	})
	at := make(map[[2]string]int)
	for i, n := range t.Nodes {
		at[[2]string{n.Application, n.Version}] = i
	}
	seconds := windowSeconds(sel, now)
	var edges []graph.Edge
	for _, e := range t.Edges {
		from, okFrom := at[[2]string{e.From, e.FromVersion}]
		to, okTo := at[[2]string{e.To, e.ToVersion}]
		if !okFrom || !okTo {
			continue
		}
		edges = append(edges, graph.Edge{From: from, To: to})
		v.Edges = append(v.Edges, topologyEdge{Edge: e, Rate: rate(e.Requests, seconds), Failing: e.Errors > 0,
			Weight: 1 + min(4, math.Log10(float64(max(e.Requests, 1)))),
			Link:   sel.link("/traces", "edge-from", e.From, "edge-to", e.To, "application", e.To, "version", e.ToVersion)})
	}
	drawn := graph.Lay(len(t.Nodes), edges, graph.Size{Width: 196, Height: 62, GapX: 150, GapY: 30})
	for i, n := range t.Nodes {
		v.Nodes = append(v.Nodes, topologyNode{n, drawn.Nodes[i], sel.link("/applications/"+url.PathEscape(n.Application),
			"version", n.Version), rate(n.Requests, seconds), shorten(n.Application, 23), n.Application == self})
	}
	for i := range v.Edges {
		v.Edges[i].Path = drawn.Edges[i]
	}
	v.Width, v.Height = drawn.Width, drawn.Height
	return v
}

func windowSeconds(sel selection, now time.Time) float64 {
	if sel.From.IsZero() {
		return 0
	}
	to := sel.To
	if to.IsZero() {
		to = now
	}
	return to.Sub(sel.From).Seconds()
}

// rate gives requests a second or a minute; over an open window, where a rate would mean nothing, the count.
func rate(n int64, seconds float64) string {
	if seconds <= 0 {
		return count(n) + " req"
	}
	perSecond := float64(n) / seconds
	if perSecond >= 0.1 {
		return digits(perSecond) + "/s"
	}
	return digits(perSecond*60) + "/min"
}

// shorten cuts a name to n characters, the last of them an ellipsis.
func shorten(name string, n int) string {
	if r := []rune(name); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return name
}

// number writes a coordinate for an SVG attribute.
func number(v float64) string { return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64) }
