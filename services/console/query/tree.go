package query

import (
	"time"

	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

// traceTree is a trace as nested nodes, with what each span did itself and its share of the critical path.
type traceTree struct {
	TraceID        string     `json:"traceId"`
	Start          time.Time  `json:"start"`
	DurationUs     int64      `json:"durationUs"`
	CriticalPathUs int64      `json:"criticalPathUs"`
	Spans          int        `json:"spans"`
	Errors         int        `json:"errors"`
	Problems       []problem  `json:"problems"`
	Findings       []finding  `json:"findings"`
	Roots          []treeNode `json:"roots"`
}

type treeNode struct {
	// Span is absent for a parent that never came.
	Span       *format.ZipkinSpan `json:"span,omitempty"`
	MissingID  string             `json:"missingId,omitempty"`
	Version    string             `json:"version,omitempty"`
	Error      bool               `json:"error,omitempty"`
	DurationUs int64              `json:"durationUs"`
	SelfUs     int64              `json:"selfUs"`
	CriticalUs int64              `json:"criticalUs"`
	Problems   []problem          `json:"problems,omitempty"`
	Children   []treeNode         `json:"children,omitempty"`
}

type problem struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	Span string `json:"spanId,omitempty"`
}

func treeOf(spans []span.Span) traceTree {
	t := tree.Build(spans, tree.Options{})
	answer := traceTree{
		TraceID: t.TraceID.String(), Start: t.Start, DurationUs: t.Duration().Microseconds(),
		CriticalPathUs: t.Path.Microseconds(), Spans: t.Spans, Errors: t.Errors,
		Problems: problems(t.Problems), Findings: []finding{}, Roots: []treeNode{},
	}
	for i := range t.Nodes {
		if t.Nodes[i].Parent < 0 {
			answer.Roots = append(answer.Roots, nodeOf(t, i))
		}
	}
	return answer
}

func nodeOf(t *tree.Tree, i int) treeNode {
	n := &t.Nodes[i]
	node := treeNode{
		Error: n.Error(), DurationUs: n.Duration.Microseconds(), SelfUs: n.Self.Microseconds(),
		CriticalUs: n.CriticalTime().Microseconds(),
	}
	if len(n.Problems) > 0 {
		node.Problems = problems(n.Problems)
	}
	if n.Span != nil {
		z := format.Zipkin([]span.Span{*n.Span})[0]
		node.Span, node.Version = &z, n.Span.Version
	} else if n.Missing != 0 {
		node.MissingID = n.Missing.String()
	}
	for _, child := range n.Children {
		node.Children = append(node.Children, nodeOf(t, child))
	}
	return node
}

func problems(found []tree.Problem) []problem {
	list := make([]problem, 0, len(found))
	for _, f := range found {
		one := problem{Kind: string(f.Kind), Text: f.Text}
		if f.Span != 0 {
			one.Span = f.Span.String()
		}
		list = append(list, one)
	}
	return list
}

// finding is one thing that the doctor says of a trace.
type finding struct {
	Kind        string     `json:"kind"`
	Caller      string     `json:"caller"`
	Application string     `json:"application"`
	Callees     []string   `json:"callees"`
	Headers     []string   `json:"headers"`
	Confidence  string     `json:"confidence"`
	Text        string     `json:"text"`
	Mend        string     `json:"mend"`
	Lesson      string     `json:"lesson"`
	Evidence    []evidence `json:"evidence"`
}

type evidence struct {
	TraceID string `json:"traceId"`
	SpanID  string `json:"spanId"`
}

func findings(found []doctor.Finding) []finding {
	list := make([]finding, 0, len(found))
	for _, f := range found {
		one := finding{
			Kind: string(f.Kind), Caller: f.Caller, Application: f.Application, Callees: f.Callees, Headers: f.Headers,
			Confidence: string(f.Confidence), Text: f.Text, Mend: f.Mend, Lesson: f.Lesson,
		}
		if one.Callees == nil {
			one.Callees = []string{}
		}
		if one.Headers == nil {
			one.Headers = []string{}
		}
		for _, e := range f.Evidence {
			one.Evidence = append(one.Evidence, evidence{e.TraceID.String(), e.SpanID.String()})
		}
		list = append(list, one)
	}
	return list
}
