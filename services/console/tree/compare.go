package tree

// Pair is a hop of two traces laid side by side; A or B is nil where only the other has it.
type Pair struct {
	A, B  *Node
	Depth int
}

// Align lays two traces side by side, hop by hop: under hops that belong together, children with equal service, name
// and kind belong together in their order of start.
func Align(a, b *Tree) []Pair {
	var out []Pair
	align(a, b, a.tops(), b.tops(), 0, &out)
	return out
}

func (t *Tree) tops() (tops []int) {
	for i := 0; i < len(t.Nodes); i += t.Nodes[i].Descendants + 1 {
		tops = append(tops, i)
	}
	return tops
}

func align(a, b *Tree, as, bs []int, depth int, out *[]Pair) {
	taken := make([]bool, len(bs))
	next := 0
	for _, i := range as {
		j := -1
		for at := range bs {
			if !taken[at] && alike(&a.Nodes[i], &b.Nodes[bs[at]]) {
				j = at
				break
			}
		}
		if j < 0 {
			only(a, i, depth, true, out)
			continue
		}
		for ; next < j; next++ {
			if !taken[next] && !wanted(a, as, &b.Nodes[bs[next]]) {
				taken[next] = true
				only(b, bs[next], depth, false, out)
			}
		}
		taken[j] = true
		*out = append(*out, Pair{&a.Nodes[i], &b.Nodes[bs[j]], depth})
		align(a, b, a.Nodes[i].Children, b.Nodes[bs[j]].Children, depth+1, out)
	}
	for at, j := range bs {
		if !taken[at] {
			only(b, j, depth, false, out)
		}
	}
}

// wanted reports whether one of a's nodes could pair with n.
func wanted(a *Tree, as []int, n *Node) bool {
	for _, i := range as {
		if alike(&a.Nodes[i], n) {
			return true
		}
	}
	return false
}

func alike(a, b *Node) bool {
	if a.Kind != b.Kind {
		return false
	}
	if a.Span == nil || b.Span == nil {
		return a.Span == nil && b.Span == nil
	}
	return a.Span.Service == b.Span.Service && a.Span.Name == b.Span.Name && a.Span.Kind == b.Span.Kind
}

func only(t *Tree, i, depth int, first bool, out *[]Pair) {
	base := t.Nodes[i].Depth
	for at := i; at <= i+t.Nodes[i].Descendants; at++ {
		p := Pair{Depth: depth + t.Nodes[at].Depth - base}
		if n := &t.Nodes[at]; first {
			p.A = n
		} else {
			p.B = n
		}
		*out = append(*out, p)
	}
}
