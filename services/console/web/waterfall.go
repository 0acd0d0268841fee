package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

// window is the part of the trace that the timeline shows.
type window struct {
	Start time.Time
	Total time.Duration // of the trace
	From  time.Duration // after Start
	Width time.Duration
}

// x places a time on the timeline, in percent, cut at the edges with a little room to see that something goes on.
func (w window) x(t time.Time) float64 {
	return max(-1, min(101, 100*float64(t.Sub(w.Start)-w.From)/float64(w.Width)))
}

// row is one line of the waterfall.
type row struct {
	Index, Level, SetSize, Place int
	Kind                         string // "span", "missing", "fold", "fragment"
	Name, Half, Service, IP      string
	Hue                          int
	Log                          time.Time
	Status                       string
	Bad                          bool
	X, W                         string // of the bar, percent
	Inner                        *segment
	Critical                     []segment
	Duration, Self, Start        time.Duration
	OnPath                       bool
	ID, Link                     string
	Children                     bool
	Expanded                     bool
	Problems                     []string
	Findings                     []string
	Match, Open                  bool
	LabelLeft                    bool
}

type segment struct{ X, W string }

// tick is a mark of the timeline; Crowded ones give way where it is narrow, Inner ones on a phone.
type tick struct {
	X, Text              string
	Last, Crowded, Inner bool
}

type miniBar struct {
	X, W, Y, H string
	Hue        int
	Bad        bool
}

// fillWaterfall adds the rows that the page shows before, or without, scripts.
func (c *console) fillWaterfall(p *tracePage, u *url.URL) {
	t := p.Tree
	p.Window = window{Start: t.Start, Total: t.Duration(), From: min(p.From, t.Duration()), Width: t.Duration()}
	if p.To > p.From && p.From < t.Duration() {
		p.Window.Width = p.To - p.From
	}
	p.Window.Width = max(p.Window.Width, time.Microsecond)
	p.Ticks = ticks(p.Window)
	p.Mini = minimap(t)
	filter := tree.ParseFilter(p.Filter)
	matches, kept := t.Matches(filter)
	isMatch := make(map[int]bool)
	if !filter.Empty() {
		p.Matches = len(matches)
		for _, m := range matches {
			isMatch[m] = true
		}
	}
	visible := visibleRows(t, kept, filter.Empty(), p.Level)
	p.Hidden = len(t.Nodes) - len(visible)
	findings := findingsBySpan(p.Findings)
	first := min(p.Page*pageRows, len(visible))
	last := min(first+pageRows, len(visible))
	names := make(map[string]bool)
	for _, i := range visible[first:last] {
		line := c.row(t, i, p.Window, u, names)
		line.Match = isMatch[i]
		line.Open = slices.Contains(p.Open, nodeID(&t.Nodes[i]))
		line.Findings = findings[line.ID]
		line.Expanded = line.Expanded && (p.Level == 0 || t.Nodes[i].Depth+1 < p.Level)
		p.Rows = append(p.Rows, line)
	}
	for n := 0; len(visible) > pageRows && n*pageRows < len(visible); n++ {
		p.Pages = append(p.Pages, tab{fmt.Sprintf("%d–%d", n*pageRows+1, min((n+1)*pageRows, len(visible))),
			with(u, "page", strconv.Itoa(n)), n == p.Page})
	}
	p.Levels = append(p.Levels, tab{"All", with(u, "level", ""), p.Level == 0})
	for n := 1; n <= min(t.Depth, 6); n++ {
		p.Levels = append(p.Levels, tab{strconv.Itoa(n), with(u, "level", strconv.Itoa(n)), p.Level == n})
	}
}

// visibleRows leaves out what the filter hides and what lies under a collapsed row: below level, and inside a fold
// unless something in it matches.
func visibleRows(t *tree.Tree, kept []int, all bool, level int) []int {
	if all {
		kept = make([]int, len(t.Nodes))
		for i := range kept {
			kept[i] = i
		}
	}
	var out []int
	skip := 0
	for _, i := range kept {
		n := &t.Nodes[i]
		if all && i < skip || level > 0 && n.Depth >= level {
			continue
		}
		out = append(out, i)
		if all && n.Kind == tree.KindFold {
			skip = i + n.Descendants + 1
		}
	}
	return out
}

func (c *console) row(t *tree.Tree, i int, w window, u *url.URL, names map[string]bool) row {
	n := &t.Nodes[i]
	line := row{Index: i, Level: n.Depth + 1, Kind: kindName(n.Kind), Name: label(t, n), Children: len(n.Children) > 0,
		Expanded: n.Kind != tree.KindFold, Duration: n.Duration, Self: n.Self, Start: n.Start.Sub(w.Start), Bad: n.Error()}
	line.SetSize, line.Place = 1, 1
	if n.Parent >= 0 {
		siblings := t.Nodes[n.Parent].Children
		at, _ := slices.BinarySearch(siblings, i) // nodes are numbered from the top down
		line.SetSize, line.Place = len(siblings), at+1
	}
	left, right := w.x(n.Start), w.x(n.End())
	line.X, line.W = number(left), number(max(right-left, 0.15))
	line.LabelLeft = right > 82
	for _, s := range n.Critical {
		a, b := w.x(s.From), w.x(s.To)
		line.Critical = append(line.Critical, segment{number(a), number(max(b-a, 0.1))})
	}
	line.OnPath = len(n.Critical) > 0
	for _, p := range n.Problems {
		line.Problems = append(line.Problems, p.Text)
	}
	s := n.Span
	if s == nil {
		return line
	}
	line.ID, line.Service, line.Hue, line.Half = s.ID.String(), s.Service, hue(s.Service), half(n)
	byName, known := names[s.Service]
	if !known {
		byName = c.showsNames(s.Service)
		names[s.Service] = byName
	}
	line.IP, line.Log, line.Status = place(s.IP, s.Host, byName), logTime(s), statusText(n)
	if n.Server != nil {
		a := w.x(n.Server.Start.Add(n.Skew))
		line.Inner = &segment{number(a), number(max(w.x(n.Server.End().Add(n.Skew))-a, 0.15))}
		line.Service = s.Service + " → " + n.Server.Service
		line.Hue = hue(n.Server.Service)
	}
	line.Link = with(u, "span", line.ID) + "#s" + line.ID
	return line
}

func kindName(k tree.Kind) string { return [...]string{"span", "missing", "fold", "fragment"}[k] }

// label is what the first column says.
func label(t *tree.Tree, n *tree.Node) string {
	switch n.Kind {
	case tree.KindMissing:
		return "missing span " + n.Missing.String()
	case tree.KindFragment:
		return "fragment: trace " + n.TraceID.String()
	case tree.KindFold:
		return strconv.Itoa(len(n.Children)) + " × " + t.Nodes[n.Children[0]].Span.Name
	}
	return cmp.Or(n.Span.Name, "(no name)")
}

// half names the side of the call that made the span.
func half(n *tree.Node) string {
	if n.Server != nil {
		return "CLIENT + SERVER"
	}
	return cmp.Or(n.Span.Kind.String(), "INTERNAL")
}

// logTime is when the span was written down: its last log event, else its end.
func logTime(s *span.Span) time.Time {
	at := s.End()
	for _, e := range s.Events {
		if e.Time.After(at) {
			at = e.Time
		}
	}
	return at
}

// statusText is the HTTP status, else OpenTelemetry's; of two halves the worse one.
func statusText(n *tree.Node) string {
	text := ""
	for _, s := range [...]*span.Span{n.Span, n.Server} {
		if s == nil || text != "" && !s.Error() {
			continue
		}
		text = s.HTTPStatus()
		if text == "" || text == "0" {
			text = map[span.Status]string{span.StatusOK: "OK", span.StatusError: "ERROR"}[s.Status]
		}
	}
	return cmp.Or(text, "–")
}

func nodeID(n *tree.Node) span.ID {
	if n.Span == nil {
		return 0
	}
	return n.Span.ID
}

func findingsBySpan(findings []placedFinding) map[string][]string {
	out := make(map[string][]string)
	for _, f := range findings {
		if f.At != "" {
			out[f.At] = append(out[f.At], f.Title)
		}
	}
	return out
}

// ticks divides the timeline into five.
func ticks(w window) []tick {
	out := make([]tick, 0, 5)
	for i := range 5 {
		out = append(out, tick{number(float64(i) * 25), duration((w.From + w.Width*time.Duration(i)/4).Round(time.Microsecond)), i == 4, i == 3, i > 0 && i < 4})
	}
	return out
}

// minimap shows the whole trace in a strip, at most 400 bars of it.
func minimap(t *tree.Tree) []miniBar {
	const most, height = 400, 44.0
	every := max(1, len(t.Nodes)/most)
	total := float64(max(t.Duration(), 1))
	rows := float64((len(t.Nodes) + every - 1) / every)
	var out []miniBar
	for i := 0; i < len(t.Nodes); i += every {
		n := &t.Nodes[i]
		if n.Span == nil {
			continue
		}
		out = append(out, miniBar{number(100 * float64(n.Start.Sub(t.Start)) / total), number(max(0.2, 100*float64(n.Duration)/total)),
			number(height * float64(i/every) / rows), number(max(0.8, min(4, height/rows*0.7))), hue(n.Span.Service), n.Error()})
	}
	return out
}

// columns is a tree as arrays, one entry a node, for the script that draws the waterfall. Texts are indexes into
// Texts, times microseconds after Start.
type columns struct {
	Texts    []string         `json:"texts"`
	Start    int64            `json:"start"` // Unix microseconds
	Duration int64            `json:"duration"`
	Spans    int              `json:"spans"`
	Arriving bool             `json:"arriving"`
	Kind     []int            `json:"kind"`
	Depth    []int            `json:"depth"` // of a node after the one it is below: parents follow from it
	From     []int64          `json:"from"`
	Length   []int64          `json:"length"`
	Self     []int64          `json:"self"`
	Late     []int64          `json:"late"` // from the end as drawn to the last log event
	Name     []int            `json:"name"`
	Half     []int            `json:"half"`
	Service  []int            `json:"service"`
	Place    []int            `json:"place"`
	Status   []int            `json:"status"`
	Hue      []int            `json:"hue"`
	Flags    []int            `json:"flags"` // 1 error, 2 problem, 4 finding, 8 on the critical path
	ID       []string         `json:"id"`
	Critical []int64          `json:"critical"` // node, from, to, node, from, to, …
	Inner    []int64          `json:"inner"`    // node, from, length, …
	Notes    map[int][]string `json:"notes"`
	Findings map[int][]string `json:"findings"`
}

// nodes gives the tree to the script.
func (c *console) nodes(w http.ResponseWriter, r *http.Request) error {
	held, v, err := c.part(r)
	if err != nil {
		return err
	}
	t := c.tree(r.Context(), held, v)
	out := c.columns(t)
	out.Arriving = c.arriving(held.spans, t)
	for _, f := range c.findings(r.Context(), held) {
		if len(f.Evidence) == 0 {
			continue
		}
		if at := t.Find(f.Evidence[0].SpanID); at >= 0 {
			out.Findings[at] = append(out.Findings[at], f.Kind.Title())
			out.Flags[at] |= 4
		}
	}
	return writeJSON(w, out)
}

// part reads what the requests of scripts for parts of a trace have in common.
func (c *console) part(r *http.Request) (*reading, traceView, error) {
	id, err := span.ParseTraceID(param(r, "id"))
	if err != nil {
		return nil, traceView{}, badRequest(err.Error())
	}
	v, err := readTraceView(r.URL.Query())
	if err != nil {
		return nil, v, err
	}
	held, err := c.held.recent(r.Context(), id)
	return held, v, err
}

func (c *console) columns(t *tree.Tree) *columns {
	n := len(t.Nodes)
	out := &columns{Texts: []string{""}, Start: t.Start.UnixMicro(), Duration: t.Duration().Microseconds(), Spans: t.Spans,
		Kind: make([]int, n), Depth: make([]int, n), From: make([]int64, n),
		Length: make([]int64, n), Self: make([]int64, n), Late: make([]int64, n), Name: make([]int, n), Half: make([]int, n),
		Service: make([]int, n), Place: make([]int, n), Status: make([]int, n), Hue: make([]int, n), Flags: make([]int, n),
		ID: make([]string, n), Critical: []int64{}, Inner: []int64{}, Notes: map[int][]string{},
		Findings: map[int][]string{}}
	index := map[string]int{"": 0}
	text := func(s string) int {
		at, known := index[s]
		if !known {
			at = len(out.Texts)
			index[s] = at
			out.Texts = append(out.Texts, s)
		}
		return at
	}
	since := func(at time.Time) int64 { return at.Sub(t.Start).Microseconds() }
	names := make(map[string]bool)
	for i := range t.Nodes {
		node := &t.Nodes[i]
		out.Kind[i], out.Depth[i] = int(node.Kind), node.Depth
		out.From[i], out.Length[i], out.Self[i] = since(node.Start), node.Duration.Microseconds(), node.Self.Microseconds()
		out.Name[i] = text(label(t, node))
		if node.Error() {
			out.Flags[i] |= 1
		}
		for _, p := range node.Problems {
			out.Flags[i] |= 2
			out.Notes[i] = append(out.Notes[i], p.Text)
		}
		for _, s := range node.Critical {
			out.Flags[i] |= 8
			out.Critical = append(out.Critical, int64(i), since(s.From), since(s.To))
		}
		s := node.Span
		if s == nil {
			continue
		}
		byName, known := names[s.Service]
		if !known {
			byName = c.showsNames(s.Service)
			names[s.Service] = byName
		}
		service := s.Service
		out.Hue[i] = hue(s.Service)
		if node.Server != nil {
			service, out.Hue[i] = s.Service+" → "+node.Server.Service, hue(node.Server.Service)
			out.Inner = append(out.Inner, int64(i), since(node.Server.Start.Add(node.Skew)), node.Server.Duration.Microseconds())
		}
		out.ID[i], out.Half[i], out.Service[i] = s.ID.String(), text(half(node)), text(service)
		out.Place[i], out.Status[i] = text(place(s.IP, s.Host, byName)), text(statusText(node))
		out.Late[i] = logTime(s).Sub(node.End()).Microseconds()
	}
	return out
}

// matches answers the script's filter with the same rules that the page without scripts has.
func (c *console) matches(w http.ResponseWriter, r *http.Request) error {
	held, v, err := c.part(r)
	if err != nil {
		return err
	}
	found, _ := c.tree(r.Context(), held, v).Matches(tree.ParseFilter(v.Filter))
	if found == nil {
		found = []int{}
	}
	return writeJSON(w, found)
}
