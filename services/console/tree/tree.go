// Package tree makes the tree of a trace from its spans: who called whom, what each span did itself, which spans
// decided how long the trace took, and what is broken in it. It holds no HTTP: pages, API and commands share it.
package tree

import (
	"cmp"
	"slices"
	"time"

	"example.com/bookinfo/services/console/span"
)

// Kind tells what a node stands for.
type Kind uint8

// A tree holds the spans that came, and nodes which say what did not come or what was put together.
const (
	KindSpan     Kind = iota
	KindMissing       // a span that others name as parent and that never came
	KindFold          // siblings that are alike, put under one row
	KindFragment      // another trace which shares the x-request-id
)

// Options choose how a tree is drawn. The zero value draws each span where it says it was.
type Options struct {
	// JoinHalves draws the client's and the server's span of one hop as one node.
	JoinHalves bool
	// CorrectSkew moves the spans of hosts whose clock is evidently wrong. See Node.Skew.
	CorrectSkew bool
	// Fold puts so many or more siblings with equal service, name and kind under one node; 0 never.
	Fold int
	// Main is the trace that was asked for; others of the spans become fragments. Zero: that of the first span.
	Main span.TraceID
}

// Node is one row of the waterfall.
type Node struct {
	Kind Kind
	// Span is nil for nodes that stand for no span; Server is the other half where halves are joined.
	Span, Server *span.Span
	// Parent and Children are indexes into Tree.Nodes; Parent is -1 for the first level.
	Parent   int
	Children []int
	// Depth is 0 for the first level. Descendants are the nodes that follow before the next one of this depth.
	Depth, Descendants int
	// Start and Duration are as drawn: corrected when Options say so, the hull of the children for a node without a span.
	Start    time.Time
	Duration time.Duration
	// Self is the part of Duration in which no child ran.
	Self time.Duration
	// Critical lists the parts of the span during which nothing else kept the trace from ending, oldest first.
	Critical []Interval
	// Skew is what must be added to the span's times for it to lie inside its caller's, 0 when it does.
	Skew time.Duration
	// Problems says what is broken at this node.
	Problems []Problem
	// Missing is the id of the span that never came (KindMissing).
	Missing span.ID
	// TraceID is the trace that the node belongs to.
	TraceID span.TraceID
}

// End is when the node ends as drawn.
func (n *Node) End() time.Time { return n.Start.Add(n.Duration) }

// Error reports whether the span, either half of a hop or, for a fold, any member failed.
func (n *Node) Error() bool {
	return n.Span != nil && n.Span.Error() || n.Server != nil && n.Server.Error()
}

// CriticalTime is the sum of Critical.
func (n *Node) CriticalTime() (sum time.Duration) {
	for _, i := range n.Critical {
		sum += i.To.Sub(i.From)
	}
	return sum
}

// Interval is a stretch of time.
type Interval struct{ From, To time.Time }

// ProblemKind names what is broken.
type ProblemKind string

// The problems that the shape of a tree shows.
const (
	MissingParent ProblemKind = "missing-parent" // the parent never came
	DuplicateID   ProblemKind = "duplicate-id"   // two spans of one trace with one id that are no halves of a hop
	Cycle         ProblemKind = "cycle"          // following parents leads back to the span
	ClockSkew     ProblemKind = "clock-skew"     // a server's span begins before its client's
	Fragment      ProblemKind = "fragment"       // a trace of its own with the same x-request-id
	MixedWidth    ProblemKind = "mixed-width"    // a 64-bit trace id and the 128-bit one that ends in it
)

// Title names the problem to people.
func (k ProblemKind) Title() string {
	switch k {
	case MissingParent:
		return "Missing parent"
	case DuplicateID:
		return "Duplicate span id"
	case Cycle:
		return "Cycle"
	case ClockSkew:
		return "Clock skew"
	case Fragment:
		return "Fragment of the request"
	case MixedWidth:
		return "Trace id cut to 64 bits"
	}
	return string(k)
}

// Problem is one thing that is broken, with a sentence that names it.
type Problem struct {
	Kind ProblemKind
	Text string
	// Span is the span at fault, Other the one it clashes with or misses; 0 where there is none.
	Span, Other span.ID
}

// Tree holds a trace's nodes with parents before children, each node's children by start.
type Tree struct {
	TraceID    span.TraceID
	Nodes      []Node
	Start, End time.Time
	// Spans counts what came for the main trace, Others the spans of fragments.
	Spans, Others, Errors, Depth int
	Problems                     []Problem
	// Path is the length of the critical path.
	Path time.Duration
}

// Duration is from the first start to the last end.
func (t *Tree) Duration() time.Duration { return t.End.Sub(t.Start) }

// Root is the index of the first span without a parent, else of the earliest span; -1 in an empty tree.
func (t *Tree) Root() int {
	first := -1
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Span == nil {
			continue
		}
		if n.Parent < 0 && n.Span.ParentID == 0 {
			return i
		}
		if first < 0 {
			first = i
		}
	}
	return first
}

// Find gives the index of the node that shows the span, or -1.
func (t *Tree) Find(id span.ID) int {
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Span != nil && n.Span.ID == id || n.Server != nil && n.Server.ID == id {
			return i
		}
	}
	return -1
}

// knot is a node while the tree is being tied.
type knot struct {
	Node
	parent   *knot
	children []*knot
	skewed   time.Duration // sum of the shifts that apply here
	mark     uint32        // walk in which cycles last saw it
	at       int
}

// Build ties the spans together. It keeps pointers into spans. Spans of several traces give one tree with a fragment
// node for each other trace; ids of 64 bits and of 128 bits with the same right half are one trace, as B3 asks.
func Build(spans []span.Span, opts Options) *Tree {
	t := &Tree{TraceID: opts.Main}
	if len(spans) == 0 {
		return t
	}
	if t.TraceID.IsZero() {
		t.TraceID = spans[0].TraceID
	}
	var first []*knot
	for _, group := range byTrace(spans, t.TraceID) {
		roots := tie(group)
		joinAll(roots, opts.JoinHalves)
		for _, r := range roots {
			straighten(r, opts.CorrectSkew)
		}
		roots = adopt(roots, group[0].TraceID)
		for _, r := range roots {
			fold(r, opts.Fold)
		}
		if group[0].TraceID.Lo == t.TraceID.Lo {
			t.Spans += len(group)
			first = append(first, roots...)
			continue
		}
		t.Others += len(group)
		first = append(first, fragment(roots, group[0].TraceID))
	}
	for _, r := range first {
		measure(r)
	}
	t.flatten(first)
	return t
}

// byTrace splits spans by the right half of their trace id, the main trace first, then by start.
func byTrace(spans []span.Span, main span.TraceID) [][]*span.Span {
	var order []uint64
	groups := make(map[uint64][]*span.Span, 1)
	for i := range spans {
		key := spans[i].TraceID.Lo
		if _, known := groups[key]; !known {
			order = append(order, key)
		}
		groups[key] = append(groups[key], &spans[i])
	}
	out := make([][]*span.Span, 0, len(order))
	for _, key := range order {
		group := groups[key]
		slices.SortStableFunc(group, earlier)
		out = append(out, group)
	}
	slices.SortStableFunc(out, func(a, b []*span.Span) int {
		if isMain := a[0].TraceID.Lo == main.Lo; isMain != (b[0].TraceID.Lo == main.Lo) {
			if isMain {
				return -1
			}
			return 1
		}
		return earlier(a[0], b[0])
	})
	return out
}

// earlier orders by start; of two that start together the client comes before the server, which it called.
func earlier(a, b *span.Span) int {
	return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(rank(a.Kind), rank(b.Kind)), cmp.Compare(b.Duration, a.Duration))
}

func rank(k span.Kind) int {
	if k == span.KindClient || k == span.KindProducer {
		return 0
	}
	return 1
}

// flatten lays the knots out in preorder and sums up the tree.
func (t *Tree) flatten(roots []*knot) {
	count := 0
	for _, r := range roots {
		walk(r, func(k *knot) { k.at = count; count++ })
	}
	t.Nodes = make([]Node, 0, count)
	width64, width128 := false, false
	for _, r := range roots {
		walk(r, func(k *knot) {
			k.Parent = -1
			if k.parent != nil {
				k.Parent = k.parent.at
				k.Depth = t.Nodes[k.Parent].Depth + 1
			}
			k.Children = make([]int, len(k.children))
			for i, c := range k.children {
				k.Children[i] = c.at
			}
			t.Nodes = append(t.Nodes, k.Node)
			t.Depth = max(t.Depth, k.Depth+1)
			t.Problems = append(t.Problems, k.Problems...)
			t.Path += k.CriticalTime()
			if k.Span == nil {
				return
			}
			if k.Error() {
				t.Errors++
			}
			if k.TraceID.Lo == t.TraceID.Lo {
				width64 = width64 || k.TraceID.Hi == 0
				width128 = width128 || k.TraceID.Hi != 0
			}
			if t.Start.IsZero() || k.Start.Before(t.Start) {
				t.Start = k.Start
			}
			if k.End().After(t.End) {
				t.End = k.End()
			}
		})
	}
	for i := len(t.Nodes) - 1; i > 0; i-- {
		if p := t.Nodes[i].Parent; p >= 0 {
			t.Nodes[p].Descendants += t.Nodes[i].Descendants + 1
		}
	}
	if width64 && width128 {
		t.Problems = append(t.Problems, Problem{Kind: MixedWidth, Text: "some spans carry the trace id with 64 bits, " +
			"others with 128: a service or library cut the id to its right half; pass the id on unchanged"})
	}
}

// walk visits a knot and everything below it, parents first, without recursion: a trace may be 50,000 spans deep.
func walk(root *knot, visit func(*knot)) {
	stack := []*knot{root}
	for len(stack) > 0 {
		k := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		visit(k)
		for i := len(k.children) - 1; i >= 0; i-- {
			stack = append(stack, k.children[i])
		}
	}
}
