package traceview

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Printer writes for a terminal. Color adds ANSI colours; they never carry what the text does not say too.
type Printer struct {
	Color bool
	Width int // columns for the timeline; 0 is 40
}

// Traces writes a table, one line a trace.
func (p Printer) Traces(w io.Writer, traces []Summary) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TRACE ID\tSTART\tDURATION\tSPANS\tERRORS\tSTATUS\tAPPLICATION\tNAME\tFINDINGS")
	for _, t := range traces {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", t.TraceID, t.Start.Local().Format("15:04:05.000"), duration(t.DurationUs),
			t.Spans, t.Errors, dash(clean(t.Status)), clean(t.Application), clean(t.Name), dash(strings.Join(t.Findings, ",")))
	}
	return table.Flush()
}

// Tree writes one trace: a line a span with its place in time, then what is wrong with it.
func (p Printer) Tree(w io.Writer, t Tree) error {
	fmt.Fprintf(w, "Trace %s  %s  %d spans  %d errors  %s\n", t.TraceID, duration(t.DurationUs), t.Spans, t.Errors,
		t.Start.Local().Format("2006-01-02 15:04:05.000"))
	width := 0
	each(t.Roots, 0, func(n *Node, depth int) { width = max(width, 2*depth+len([]rune(title(n)))) })
	width = min(width, 100)
	var failed error
	p.nodes(w, t, t.Roots, "", true, width, &failed)
	for _, problem := range t.Problems {
		fmt.Fprintf(w, "\n%s %s\n", p.paint("33", "! "+problem.Kind+":"), clean(problem.Text))
	}
	for _, f := range t.Findings {
		fmt.Fprintf(w, "\n%s at %s (%s): %s\n  Mend: %s\n  Lesson: %s\n", p.paint("31", "✗ "+f.Kind), clean(f.Application), f.Confidence, clean(f.Text), f.Mend, f.Lesson)
	}
	return failed
}

func each(nodes []Node, depth int, f func(*Node, int)) {
	for i := range nodes {
		f(&nodes[i], depth)
		each(nodes[i].Children, depth+1, f)
	}
}

func (p Printer) nodes(w io.Writer, t Tree, nodes []Node, indent string, top bool, width int, failed *error) {
	for i := range nodes {
		n := &nodes[i]
		branch, below := "├─", "│ "
		if i == len(nodes)-1 {
			branch, below = "└─", "  "
		}
		if top {
			branch, below = "", ""
		}
		label := []rune(indent + branch + title(n))
		if len(label) > width {
			label = append(label[:width-1], '…')
		}
		padded := string(label) + strings.Repeat(" ", max(0, width-len(label)))
		color := "36"
		if n.Error {
			color = "31"
		}
		mark := " "
		if n.Error {
			mark = "✗"
		}
		if _, err := fmt.Fprintf(w, "%s %s %8s %s\n", padded, p.paint(color, mark), duration(n.DurationUs), p.paint(color, p.bar(t, n))); err != nil && *failed == nil {
			*failed = err
		}
		for _, problem := range n.Problems {
			fmt.Fprintf(w, "%s%s%s\n", indent, below, p.paint("33", "! "+problem.Kind+": "+clean(problem.Text)))
		}
		p.nodes(w, t, n.Children, indent+below, false, width, failed)
	}
}

// bar places a span in the time of its trace.
func (p Printer) bar(t Tree, n *Node) string {
	width := p.Width
	if width == 0 {
		width = 40
	}
	if n.Span == nil || t.DurationUs <= 0 {
		return ""
	}
	offset := n.Span.Timestamp - t.Start.UnixMicro()
	from := clamp(int(offset*int64(width)/t.DurationUs), 0, width-1)
	to := clamp(int((offset+n.DurationUs)*int64(width)/t.DurationUs), from+1, width)
	return strings.Repeat(" ", from) + strings.Repeat("━", to-from)
}

func clamp(n, low, high int) int { return max(low, min(n, high)) }

func title(n *Node) string {
	if n.Span == nil {
		return "(parent " + n.MissingID + " never came)"
	}
	text := clean(n.Span.Local.ServiceName)
	if n.Version != "" && n.Version != "latest" {
		text += " " + clean(n.Version)
	}
	if n.Span.Kind != "" {
		text += " " + strings.ToLower(n.Span.Kind)
	}
	text += "  " + clean(n.Span.Name)
	if status := n.Span.Tags["http.status_code"]; status != "" {
		text += "  " + clean(status)
	}
	return text
}

func (p Printer) paint(color, text string) string {
	if !p.Color || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// clean keeps what spans hold from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return '·'
		}
		return r
	}, s)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func duration(us int64) string {
	d := time.Duration(us) * time.Microsecond
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(us)/1000)
	}
	return fmt.Sprintf("%dµs", us)
}
