// Package graph lays a directed graph out in layers from left to right, as call topologies are read: callers to the
// left of what they call, few crossings (Sugiyama's method: break cycles, layer, order, place).
package graph

import (
	"cmp"
	"fmt"
	"slices"
)

// Edge joins two nodes by their index.
type Edge struct{ From, To int }

// Size is the size of every node and the space between them, in pixels.
type Size struct{ Width, Height, GapX, GapY float64 }

// Place is a node's upper left corner.
type Place struct{ X, Y float64 }

// Path is an edge as an SVG path with the point at its middle for a label.
type Path struct {
	D    string
	X, Y float64
}

// Layout is a drawing of Width by Height.
type Layout struct {
	Nodes         []Place
	Edges         []Path // in the order of the edges given
	Width, Height float64
}

// Lay places n nodes. Nodes and edges that come first stay further up where nothing else decides.
func Lay(n int, edges []Edge, size Size) Layout {
	forward := acyclic(n, edges)
	layer := layers(n, forward)
	rows := order(n, layer, forward)
	out := Layout{Nodes: make([]Place, n)}
	deepest := 0
	for _, row := range rows {
		deepest = max(deepest, len(row))
	}
	out.Width = float64(len(rows))*(size.Width+size.GapX) - size.GapX
	out.Height = float64(deepest)*(size.Height+size.GapY) - size.GapY
	for l, row := range rows {
		free := out.Height - float64(len(row))*(size.Height+size.GapY) + size.GapY
		for at, node := range row {
			out.Nodes[node] = Place{float64(l) * (size.Width + size.GapX), free/2 + float64(at)*(size.Height+size.GapY)}
		}
	}
	leaving, entering := make([]int, n), make([]int, n)
	for _, e := range edges {
		leaving[e.From]++
		entering[e.To]++
	}
	for _, e := range edges {
		// A label stands where its edge is alone: away from the end at which several edges meet.
		at := 0.5
		if leaving[e.From] > 1 {
			at = 0.66
		} else if entering[e.To] > 1 {
			at = 0.34
		}
		out.Edges = append(out.Edges, curve(out.Nodes[e.From], out.Nodes[e.To], e.From == e.To, at, size))
	}
	out.Width, out.Height = max(out.Width, size.Width), max(out.Height, size.Height)
	return out
}

// acyclic turns around the edges that lead back to a node under way, found depth first, and drops loops.
func acyclic(n int, edges []Edge) []Edge {
	out := make([][]int, n)
	entered := make([]int, n)
	for _, e := range edges {
		out[e.From] = append(out[e.From], e.To)
		if e.From != e.To {
			entered[e.To]++
		}
	}
	const fresh, open, done = 0, 1, 2
	state := make([]int, n)
	back := make(map[Edge]bool)
	var visit func(int)
	visit = func(v int) {
		state[v] = open
		for _, w := range out[v] {
			switch state[w] {
			case fresh:
				visit(w)
			case open:
				back[Edge{v, w}] = true
			}
		}
		state[v] = done
	}
	for _, rootsOnly := range []bool{true, false} {
		for v := range n {
			if state[v] == fresh && (entered[v] == 0 || !rootsOnly) {
				visit(v)
			}
		}
	}
	var forward []Edge
	for _, e := range edges {
		switch {
		case e.From == e.To:
		case back[e]:
			forward = append(forward, Edge{e.To, e.From})
		default:
			forward = append(forward, e)
		}
	}
	return forward
}

// layers puts each node one to the right of the furthest of its callers.
func layers(n int, edges []Edge) []int {
	layer := make([]int, n)
	for range n {
		moved := false
		for _, e := range edges {
			if layer[e.To] <= layer[e.From] {
				layer[e.To], moved = layer[e.From]+1, true
			}
		}
		if !moved {
			break
		}
	}
	return layer
}

// order sorts the nodes of each layer by the mean place of their neighbours, a few sweeps to and fro.
func order(n int, layer []int, edges []Edge) [][]int {
	var rows [][]int
	for v := range n {
		for len(rows) <= layer[v] {
			rows = append(rows, nil)
		}
		rows[layer[v]] = append(rows[layer[v]], v)
	}
	place := make([]float64, n)
	note := func(row []int) {
		for at, v := range row {
			place[v] = float64(at) - float64(len(row)-1)/2
		}
	}
	for _, row := range rows {
		note(row)
	}
	for sweep := range 8 {
		for l := range rows {
			if sweep%2 == 1 {
				l = len(rows) - 1 - l
			}
			mean := make(map[int]float64)
			for _, v := range rows[l] {
				sum, count := 0.0, 0
				for _, e := range edges {
					if e.To == v && sweep%2 == 0 {
						sum, count = sum+place[e.From], count+1
					} else if e.From == v && sweep%2 == 1 {
						sum, count = sum+place[e.To], count+1
					}
				}
				mean[v] = place[v]
				if count > 0 {
					mean[v] = sum / float64(count)
				}
			}
			slices.SortStableFunc(rows[l], func(a, b int) int { return cmp.Compare(mean[a], mean[b]) })
			note(rows[l])
		}
	}
	return rows
}

// curve leaves the right side of from and enters the left side of to; an edge that leads back bows below.
func curve(from, to Place, loop bool, at float64, s Size) Path {
	x1, y1 := from.X+s.Width, from.Y+s.Height/2
	x2, y2 := to.X, to.Y+s.Height/2
	switch {
	case loop:
		x, y := from.X+s.Width/2, from.Y
		return Path{fmt.Sprintf("M%.1f %.1fc-30 -36 30 -36 6 0", x-3, y), x, y - 26}
	case x2 <= x1:
		below := max(y1, y2) + s.Height
		return Path{fmt.Sprintf("M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f", x1, y1, x1+s.GapX, below, x2-s.GapX, below, x2, y2),
			(x1 + x2) / 2, below - s.Height/4}
	}
	bend := (x2 - x1) / 2
	return Path{fmt.Sprintf("M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f", x1, y1, x1+bend, y1, x2-bend, y2, x2, y2),
		bezier(x1, x1+bend, x2-bend, x2, at), bezier(y1, y1, y2, y2, at)}
}

func bezier(a, b, c, d, t float64) float64 {
	u := 1 - t
	return u*u*u*a + 3*u*u*t*b + 3*u*t*t*c + t*t*t*d
}
