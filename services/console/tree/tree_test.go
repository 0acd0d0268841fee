package tree_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/services/console/recorded"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

var zero = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

const ms = time.Millisecond

// sp makes a span of service svc that runs from start to end milliseconds.
func sp(id, parent uint64, kind span.Kind, svc string, start, end int) span.Span {
	return span.Span{TraceID: span.TraceID{Lo: 1}, ID: span.ID(id), ParentID: span.ID(parent), Kind: kind, Service: svc,
		Name: "op", Host: svc, Start: zero.Add(time.Duration(start) * ms), Duration: time.Duration(end-start) * ms}
}

// draw writes a tree as one line a node.
func draw(t *tree.Tree) string {
	var b strings.Builder
	for i := range t.Nodes {
		n := &t.Nodes[i]
		b.WriteString(strings.Repeat(" ", n.Depth))
		switch n.Kind {
		case tree.KindMissing:
			fmt.Fprintf(&b, "missing %x", uint64(n.Missing))
		case tree.KindFold:
			fmt.Fprintf(&b, "fold %d", len(n.Children))
		case tree.KindFragment:
			fmt.Fprintf(&b, "fragment %x", n.TraceID.Lo)
		default:
			fmt.Fprintf(&b, "%x %s", uint64(n.Span.ID), n.Span.Service)
			if n.Server != nil {
				fmt.Fprintf(&b, "+%s", n.Server.Service)
			}
		}
		for _, p := range n.Problems {
			fmt.Fprintf(&b, " !%s", p.Kind)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestShape(t *testing.T) {
	client, server, internal := span.KindClient, span.KindServer, span.KindInternal
	shared := sp(2, 1, server, "b", 2, 8)
	shared.Shared = true
	other := sp(9, 0, server, "z", 20, 30)
	other.TraceID.Lo = 7
	wide := sp(2, 1, server, "b", 2, 8)
	wide.TraceID.Hi = 5
	tests := []struct {
		name  string
		spans []span.Span
		opts  tree.Options
		want  string
	}{
		{"none", nil, tree.Options{}, ""},
		{"in order of start whatever the order of arrival",
			[]span.Span{sp(3, 1, client, "a", 5, 8), sp(2, 1, client, "a", 1, 4), sp(1, 0, server, "a", 0, 10)},
			tree.Options{}, "1 a\n 2 a\n 3 a\n"},
		{"a client before the server that starts with it",
			[]span.Span{sp(2, 1, server, "b", 0, 10), sp(1, 0, client, "a", 0, 10)}, tree.Options{}, "1 a\n 2 b\n"},
		{"missing parent, one node for all its children",
			[]span.Span{sp(2, 99, server, "b", 0, 5), sp(3, 99, server, "c", 6, 9)}, tree.Options{},
			"missing 63\n 2 b !missing-parent\n 3 c !missing-parent\n"},
		{"own parent", []span.Span{sp(2, 2, server, "b", 0, 5)}, tree.Options{}, "2 b !cycle\n"},
		{"ring, cut above the earliest", []span.Span{sp(1, 3, server, "a", 4, 9), sp(2, 1, client, "a", 1, 9),
			sp(3, 2, server, "b", 5, 8)}, tree.Options{}, "2 a !cycle\n 3 b\n  1 a\n"},
		{"duplicate id", []span.Span{sp(1, 0, server, "a", 0, 9), sp(2, 1, client, "a", 1, 3), sp(2, 1, client, "a", 4, 8),
			sp(3, 2, server, "b", 5, 7)}, tree.Options{}, "1 a\n 2 a !duplicate-id\n 2 a !duplicate-id\n  3 b\n"},
		{"shared id: two halves, the server's calls below the server",
			[]span.Span{sp(1, 0, server, "a", 0, 10), sp(2, 1, client, "a", 1, 9), shared, sp(3, 2, client, "b", 3, 7)},
			tree.Options{}, "1 a\n 2 a\n  2 b\n   3 b\n"},
		{"joined", []span.Span{sp(1, 0, client, "a", 0, 10), sp(2, 1, server, "b", 1, 9), sp(3, 2, client, "b", 3, 7)},
			tree.Options{JoinHalves: true}, "1 a+b\n 3 b\n"},
		{"not joined where a client has two servers (a retry under one id)",
			[]span.Span{sp(1, 0, client, "a", 0, 10), sp(2, 1, server, "b", 1, 4), sp(3, 1, server, "b", 5, 7)},
			tree.Options{JoinHalves: true}, "1 a\n 2 b\n 3 b\n"},
		{"folded", []span.Span{sp(1, 0, server, "a", 0, 90), sp(2, 1, internal, "a", 1, 3), sp(3, 1, internal, "a", 4, 8),
			sp(4, 1, client, "b", 8, 9), sp(5, 1, internal, "a", 10, 12)}, tree.Options{Fold: 3},
			"1 a\n fold 3\n  2 a\n  3 a\n  5 a\n 4 b\n"},
		{"fragment", []span.Span{sp(1, 0, server, "a", 0, 90), other}, tree.Options{},
			"1 a\nfragment 7 !fragment\n 9 z\n"},
		{"main named", []span.Span{sp(1, 0, server, "a", 0, 90), other}, tree.Options{Main: other.TraceID},
			"9 z\nfragment 1 !fragment\n 1 a\n"},
		{"one trace in both widths", []span.Span{sp(1, 0, client, "a", 0, 9), wide}, tree.Options{}, "1 a\n 2 b\n"},
		{"server before client", []span.Span{sp(1, 0, client, "a", 10, 20), sp(2, 1, server, "b", 3, 9),
			sp(3, 2, client, "b", 4, 8)}, tree.Options{}, "1 a\n 2 b !clock-skew\n  3 b\n"},
		{"server that goes on after its caller gave up is no skew",
			[]span.Span{sp(1, 0, client, "a", 10, 20), sp(2, 1, server, "b", 11, 90)}, tree.Options{}, "1 a\n 2 b\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := draw(tree.Build(tt.spans, tt.opts)); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestSkewCorrected(t *testing.T) {
	spans := []span.Span{sp(1, 0, span.KindClient, "a", 10, 20), sp(2, 1, span.KindServer, "b", 3, 9),
		sp(3, 2, span.KindClient, "b", 4, 8), sp(4, 3, span.KindServer, "c", 13, 15)}
	tr := tree.Build(spans, tree.Options{CorrectSkew: true})
	for i, want := range []int{10, 12, 13, 13} {
		if got := tr.Nodes[i].Start.Sub(zero); got != time.Duration(want)*ms {
			t.Errorf("node %d starts at %v, want %d ms", i, got, want)
		}
	}
	if spans[1].Start != zero.Add(3*ms) {
		t.Error("the span itself was changed")
	}
	if got := tr.Nodes[1].Skew; got != 9*ms {
		t.Errorf("skew = %v, want 9ms", got)
	}
}

func TestSelfTimeAndCriticalPath(t *testing.T) {
	// 0        10
	// |--- a ---|   children 1-4 and 3-6 overlap, 7-9 alone; nothing explains 0-1, 6-7 and 9-10.
	spans := []span.Span{sp(1, 0, span.KindServer, "a", 0, 10), sp(2, 1, span.KindClient, "a", 1, 4),
		sp(3, 1, span.KindClient, "a", 3, 6), sp(4, 1, span.KindClient, "a", 7, 9)}
	tr := tree.Build(spans, tree.Options{})
	want := []struct{ self, critical time.Duration }{{3 * ms, 3 * ms}, {3 * ms, 2 * ms}, {3 * ms, 3 * ms}, {2 * ms, 2 * ms}}
	for i, w := range want {
		if n := tr.Nodes[i]; n.Self != w.self || n.CriticalTime() != w.critical {
			t.Errorf("node %d: self %v critical %v, want %v %v", i, n.Self, n.CriticalTime(), w.self, w.critical)
		}
	}
	if tr.Path != tr.Duration() {
		t.Errorf("the critical path is %v long, the trace %v", tr.Path, tr.Duration())
	}
	folded := tree.Build(spans, tree.Options{Fold: 2})
	if folded.Path != tr.Path || folded.Nodes[0].Self != tr.Nodes[0].Self {
		t.Errorf("folding changes the numbers: path %v self %v", folded.Path, folded.Nodes[0].Self)
	}
}

func TestRecordedChains(t *testing.T) {
	for _, c := range recorded.Chains(t) {
		t.Run(c.ID+"/"+strings.Join(c.Envoy, "+"), func(t *testing.T) {
			spans := c.Spans(recorded.Options{Start: zero, Seed: 3})
			for i, want := range c.Traces {
				ids := make(map[span.TraceID][]span.Span)
				var order []span.TraceID
				for _, s := range spans {
					if !slices.Contains(order, s.TraceID) {
						order = append(order, s.TraceID)
					}
					ids[s.TraceID] = append(ids[s.TraceID], s)
				}
				tr := tree.Build(ids[order[i]], tree.Options{})
				roots, orphans := 0, 0
				for _, n := range tr.Nodes {
					switch {
					case n.Span == nil:
					case n.Span.ParentID == 0:
						roots++
					case slices.ContainsFunc(n.Problems, func(p tree.Problem) bool { return p.Kind == tree.MissingParent }):
						orphans++
					}
				}
				if tr.Spans != want.Spans || roots != want.Roots || orphans != want.Orphans {
					t.Errorf("trace %d: %d spans %d roots %d orphans, recorded %+v", i, tr.Spans, roots, orphans, want)
				}
			}
		})
	}
}

func TestFilter(t *testing.T) {
	spans := recorded.Find(t, "all/b3/gateway-two-spans").Spans(recorded.Options{Start: zero, Fail: "ratings.default"})
	tr := tree.Build(spans, tree.Options{})
	tests := []struct {
		text          string
		matches, kept int
	}{
		{"", 9, 9},
		{"ratings.default", 2, 7}, // its server, and the call that the caller names after it
		{"error", 1, 7},
		{"-error", 8, 8},
		{"http.status_code=500", 1, 7},
		{"HTTP.Status_Code=500 server", 1, 7},
		{`"egress"`, 1, 2},
		{"nothing-like-it", 0, 0},
	}
	for _, tt := range tests {
		matches, kept := tr.Matches(tree.ParseFilter(tt.text))
		if len(matches) != tt.matches || len(kept) != tt.kept {
			t.Errorf("%q: %d matches, %d kept; want %d, %d", tt.text, len(matches), len(kept), tt.matches, tt.kept)
		}
	}
}

func TestAlign(t *testing.T) {
	c := recorded.Find(t, "all/b3/gateway-two-spans")
	whole := tree.Build(c.Spans(recorded.Options{Start: zero, Seed: 1}), tree.Options{})
	same := tree.Build(c.Spans(recorded.Options{Start: zero, Seed: 2}), tree.Options{})
	for i, p := range tree.Align(whole, same) {
		if p.A != &whole.Nodes[i] || p.B != &same.Nodes[i] {
			t.Errorf("pair %d: %v %v", i, p.A, p.B)
		}
	}
	broken := recorded.Find(t, "all-but-reviews/b3/gateway-two-spans").Spans(recorded.Options{Start: zero, Seed: 3})
	part := tree.Build(slices.DeleteFunc(broken, func(s span.Span) bool { return s.TraceID != broken[0].TraceID }), tree.Options{})
	both, onlyA := 0, 0
	for _, p := range tree.Align(whole, part) {
		if p.A != nil && p.B != nil {
			both++
		} else if p.B == nil {
			onlyA++
		}
	}
	if both != 7 || onlyA != 2 {
		t.Errorf("%d hops in both, %d only in the whole trace; want 7 and 2", both, onlyA)
	}
}

func TestServices(t *testing.T) {
	tr := tree.Build([]span.Span{sp(1, 0, span.KindServer, "a", 0, 10), sp(2, 1, span.KindClient, "a", 1, 9),
		sp(3, 2, span.KindServer, "b", 2, 8)}, tree.Options{})
	got := tr.Services()
	if len(got) != 2 || got[0].Service != "b" || got[0].Self != 6*ms || got[1].Self != 4*ms || got[1].Spans != 2 {
		t.Errorf("%+v", got)
	}
}

// A chain of 50,000 calls must not exhaust anything.
func TestDeep(t *testing.T) {
	const n = 50_000
	spans := make([]span.Span, n)
	for i := range spans {
		spans[i] = sp(uint64(i+1), uint64(i), span.KindInternal, "a", i, 2*n-i)
	}
	tr := tree.Build(spans, tree.Options{JoinHalves: true, Fold: 5, CorrectSkew: true})
	if tr.Depth != n || tr.Path != tr.Duration() {
		t.Errorf("depth %d, path %v of %v", tr.Depth, tr.Path, tr.Duration())
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{100, 10_000, 50_000} {
		spans := make([]span.Span, n)
		for i := range spans {
			spans[i] = sp(uint64(i+1), uint64((i+3)/4), span.KindInternal, "a", i, 2*n-i)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				tree.Build(spans, tree.Options{})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/span")
		})
	}
}

func TestEveryProblemHasATitle(t *testing.T) {
	for _, kind := range []tree.ProblemKind{tree.MissingParent, tree.DuplicateID, tree.Cycle, tree.ClockSkew, tree.Fragment, tree.MixedWidth} {
		if title := kind.Title(); title == string(kind) {
			t.Errorf("%s is shown to people as it is", kind)
		}
	}
}
