package tracetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Span is a span as Zipkin's API tells it.
type Span struct {
	TraceID   string `json:"traceId"`
	ID        string `json:"id"`
	ParentID  string `json:"parentId"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Timestamp int64  `json:"timestamp"`
	Duration  int64  `json:"duration"`
	Local     struct {
		ServiceName string `json:"serviceName"`
	} `json:"localEndpoint"`
	Tags map[string]string `json:"tags"`
}

// Workload is the service without its namespace: "reviews".
func (s Span) Workload() string {
	name, _, _ := strings.Cut(s.Local.ServiceName, ".")
	return name
}

// Trace is what a request left.
type Trace struct {
	t     testing.TB
	ID    string
	spans []Span
}

// All returns the spans by their start.
func (t *Trace) All() []Span {
	spans := slices.Clone(t.spans)
	slices.SortStableFunc(spans, func(a, b Span) int { return int(a.Timestamp - b.Timestamp) })
	return spans
}

// Spans asserts how many there are.
func (t *Trace) Spans(want int) {
	t.t.Helper()
	if len(t.spans) != want {
		t.t.Errorf("trace %s has %d spans, want %d:\n%s", t.ID, len(t.spans), want, t)
	}
}

// NoOrphans asserts that the parent of every span is there.
func (t *Trace) NoOrphans() {
	t.t.Helper()
	for _, s := range t.spans {
		if s.ParentID != "" && t.find(s.ParentID) == nil {
			t.t.Errorf("trace %s: the parent %s of %s's %s span is missing:\n%s", t.ID, s.ParentID, s.Workload(), s.Kind, t)
		}
	}
}

// HasEdge asserts that a call from one workload to another is in the trace: a SERVER span of the callee below a span
// of the caller.
func (t *Trace) HasEdge(caller, callee string) {
	t.t.Helper()
	if !t.edge(caller, callee) {
		t.t.Errorf("trace %s has no call from %s to %s:\n%s", t.ID, caller, callee, t)
	}
}

// NoEdge asserts that it is not.
func (t *Trace) NoEdge(caller, callee string) {
	t.t.Helper()
	if t.edge(caller, callee) {
		t.t.Errorf("trace %s has a call from %s to %s:\n%s", t.ID, caller, callee, t)
	}
}

func (t *Trace) edge(caller, callee string) bool {
	return slices.ContainsFunc(t.spans, func(s Span) bool {
		parent := t.find(s.ParentID)
		return s.Kind == "SERVER" && s.Workload() == callee && parent != nil && parent.Workload() == caller
	})
}

func (t *Trace) find(id string) *Span {
	for i := range t.spans {
		if t.spans[i].ID == id {
			return &t.spans[i]
		}
	}
	return nil
}

// String draws the tree.
func (t *Trace) String() string {
	var text strings.Builder
	var draw func(parent, indent string)
	draw = func(parent, indent string) {
		for _, s := range t.All() {
			root := s.ParentID == "" || t.find(s.ParentID) == nil
			if parent == "" && root || parent != "" && s.ParentID == parent {
				fmt.Fprintf(&text, "%s%s %s %s (%s)\n", indent, s.Workload(), s.Kind, s.Name, s.ID)
				draw(s.ID, indent+"  ")
			}
		}
	}
	draw("", "  ")
	return text.String()
}
