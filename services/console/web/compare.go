package web

import (
	"net/http"
	"strings"
	"time"

	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

type comparePage struct {
	A, B      string // as written in the form
	Left      compareSide
	Right     compareSide
	Rows      []compareRow
	OnlyLeft  int
	OnlyRight int
	Both      bool
}

type compareSide struct {
	ID, Link, Name string
	Start          time.Time
	Duration       time.Duration
	Spans, Errors  int
	Problems       int
}

type compareRow struct {
	Level            int
	Name, Service    string
	Hue              int
	Half             string
	A, B             *compareCell
	Change           string // "slower", "faster", "same", "only in A", "only in B"
	Delta            time.Duration
	Headers          []compareHeader
	DifferentHeaders int
	ShareA, ShareB   string
	StatusesDiffer   bool
}

type compareCell struct {
	Duration time.Duration
	Status   string
	Bad      bool
	Link     string
}

// compareHeader is one trace header of a hop in both traces, as received by the sidecar and as sent.
type compareHeader struct {
	Name                               string
	ReceivedA, SentA, ReceivedB, SentB string
	Same                               bool
}

// compare lays two traces side by side, aligned by hop.
func (c *console) compare(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	body := comparePage{A: strings.TrimSpace(q.Get("a")), B: strings.TrimSpace(q.Get("b"))}
	// The trace list sends two boxes of one name.
	if ids := q["t"]; len(ids) > 0 {
		body.A = ids[0]
		if len(ids) > 1 {
			body.B = ids[1]
		}
		if len(ids) > 2 {
			return badRequest("compare: want two traces, not more")
		}
	}
	if body.A != "" && body.B != "" {
		left, err := c.side(r, body.A, &body.Left)
		if err != nil {
			return err
		}
		right, err := c.side(r, body.B, &body.Right)
		if err != nil {
			return err
		}
		body.Both = true
		body.fill(left, right)
	}
	return c.render(w, r, http.StatusOK, "compare", view{Title: "Compare traces", Section: "traces", Body: body})
}

func (c *console) side(r *http.Request, text string, side *compareSide) (*tree.Tree, error) {
	id, err := span.ParseTraceID(text)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	held, err := c.held.read(r.Context(), id)
	if err != nil {
		return nil, err
	}
	spans := held.spans
	all, _, _ := c.request(r.Context(), held)
	t := tree.Build(all, tree.Options{Main: spans[0].TraceID})
	*side = compareSide{ID: format.TraceID(spans[0].TraceID), Link: "/traces/" + spans[0].TraceID.String(), Start: t.Start,
		Duration: t.Duration(), Spans: t.Spans, Errors: t.Errors, Problems: len(t.Problems)}
	if at := t.Root(); at >= 0 {
		side.Name = t.Nodes[at].Span.Name
	}
	return t, nil
}

func (p *comparePage) fill(a, b *tree.Tree) {
	longest := float64(max(a.Duration(), b.Duration(), 1))
	for _, pair := range tree.Align(a, b) {
		row := compareRow{Level: pair.Depth}
		one, from := pair.A, a
		if one == nil {
			one, from = pair.B, b
		}
		row.Name = label(from, one)
		if one.Span != nil {
			row.Service, row.Half, row.Hue = one.Span.Service, half(one), hue(one.Span.Service)
		}
		row.A, row.B = cellOf(pair.A, p.Left.Link), cellOf(pair.B, p.Right.Link)
		switch {
		case pair.B == nil:
			row.Change = "only in A"
			p.OnlyLeft++
		case pair.A == nil:
			row.Change = "only in B"
			p.OnlyRight++
		default:
			row.Delta = (pair.B.Duration - pair.A.Duration).Abs()
			row.Change = changeOf(pair.A.Duration, pair.B.Duration)
			row.StatusesDiffer = row.A.Status != row.B.Status
		}
		if row.A != nil {
			row.ShareA = number(100 * float64(pair.A.Duration) / longest)
		}
		if row.B != nil {
			row.ShareB = number(100 * float64(pair.B.Duration) / longest)
		}
		row.Headers = compareHeaders(pair)
		for _, h := range row.Headers {
			if !h.Same {
				row.DifferentHeaders++
			}
		}
		p.Rows = append(p.Rows, row)
	}
}

func cellOf(n *tree.Node, link string) *compareCell {
	if n == nil {
		return nil
	}
	cell := &compareCell{Duration: n.Duration, Bad: n.Error(), Link: link, Status: "–"}
	if n.Span != nil {
		cell.Status = statusText(n)
		cell.Link += "?span=" + n.Span.ID.String() + "#s" + n.Span.ID.String()
	}
	return cell
}

// changeOf calls a difference of less than a tenth, or of less than half a millisecond, none.
func changeOf(a, b time.Duration) string {
	d := b - a
	if d.Abs() < 500*time.Microsecond || d.Abs() < a/10 {
		return "same"
	}
	if d > 0 {
		return "slower"
	}
	return "faster"
}

// compareHeaders lists the trace headers of a hop. Ids differ between any two requests: what counts is whether a
// header was there and had a readable value.
func compareHeaders(p tree.Pair) []compareHeader {
	var maps [4]map[string]string
	for i, n := range [...]*tree.Node{p.A, p.B} {
		if n == nil || n.Span == nil {
			continue
		}
		maps[2*i], maps[2*i+1] = headersOf(n.Span, receivedPrefix), headersOf(n.Span, sentPrefix)
	}
	present := func(m map[string]string, name string) string {
		v, ok := m[name]
		switch {
		case !ok:
			return "absent"
		case v == `""`:
			return "empty"
		case strings.Contains(v, "\n") || strings.Contains(v, ","):
			return "several"
		}
		return "present"
	}
	var out []compareHeader
	for _, name := range headerNames(maps[:]...) {
		h := compareHeader{name, maps[0][name], maps[1][name], maps[2][name], maps[3][name], true}
		h.Same = p.A != nil && p.B != nil && present(maps[0], name) == present(maps[2], name) && present(maps[1], name) == present(maps[3], name)
		out = append(out, h)
	}
	return out
}
