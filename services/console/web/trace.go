package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

// pageRows is how many rows the server writes; scripts draw the rest, and without scripts they are on further pages.
const (
	pageRows  = 100
	foldAt    = 6
	fragments = 12
)

// traceView is how a trace is looked at: everything that its address says.
type traceView struct {
	View                     string // waterfall, table, flame, statistics, headers
	Joined, Straight, Folded bool
	Together                 bool // fragments of the same request below
	Filter                   string
	Level                    int // rows deeper than this are collapsed; 0 none
	Page                     int
	From, To                 time.Duration // zoom
	Open                     []span.ID     // spans whose details are shown
	Root                     span.ID       // flame graph: the span that fills the width
}

func readTraceView(q url.Values) (traceView, error) {
	v := traceView{View: cmp.Or(q.Get("view"), "waterfall"), Joined: q.Get("halves") == "joined", Straight: q.Get("skew") == "corrected",
		Folded: q.Get("fold") != "0", Together: q.Get("fragments") != "0", Filter: q.Get("q")}
	if !slices.Contains(views(), v.View) {
		return v, badRequest(fmt.Sprintf("view %q: want waterfall, table, flame, statistics or headers", v.View))
	}
	for name, to := range map[string]*int{"level": &v.Level, "page": &v.Page} {
		if text := q.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				return v, badRequest(fmt.Sprintf("%s %q: want a number from 0 on", name, text))
			}
			*to = n
		}
	}
	for name, to := range map[string]*time.Duration{"zoom-from": &v.From, "zoom-to": &v.To} {
		if text := q.Get(name); text != "" {
			us, err := strconv.ParseInt(text, 10, 64)
			if err != nil || us < 0 || us > 1e15 {
				return v, badRequest(fmt.Sprintf("%s %q: want microseconds after the start of the trace", name, text))
			}
			*to = time.Duration(us) * time.Microsecond
		}
	}
	if v.To != 0 && v.To <= v.From {
		return v, badRequest("zoom-to: want more than zoom-from")
	}
	for _, text := range q["span"] {
		id, err := span.ParseID(text)
		if err != nil {
			return v, badRequest(err.Error())
		}
		v.Open = append(v.Open, id)
	}
	if text := q.Get("root"); text != "" {
		id, err := span.ParseID(text)
		if err != nil {
			return v, badRequest(err.Error())
		}
		v.Root = id
	}
	return v, nil
}

func views() []string { return []string{"waterfall", "table", "flame", "statistics", "headers"} }

func (v traceView) options(id span.TraceID) tree.Options {
	o := tree.Options{JoinHalves: v.Joined, CorrectSkew: v.Straight, Main: id}
	if v.Folded {
		o.Fold = foldAt
	}
	return o
}

type tracePage struct {
	traceView
	ID                string
	Tree              *tree.Tree
	Name, Application string
	RequestID         string
	Services          int
	Arriving          bool
	Views             []tab
	Switches          []tab
	Findings          []placedFinding
	Problems          []placedProblem
	Others            []traceRow // fragments found
	Window            window
	Rows              []row
	Matches, Hidden   int
	Pages             []tab
	Ticks             []tick
	Mini              []miniBar
	Cards             []spanCard
	Table             spanTable
	Flame             flame
	Statistics        []tree.ServiceStats
	Hops              []headerHop
	NamesShown        bool
	Data, Self        string
	Levels            []tab
	Errors            []string
}

// placedFinding is a finding of the doctor with the span that it is drawn at.
type placedFinding struct {
	doctor.Finding
	Title, Link, At, LessonLink string
}

type placedProblem struct {
	tree.Problem
	Link string
	More int
}

type waitingPage struct{ ID, Self string }

// trace shows one trace. A browser that comes right after its request is held back for the first span; when none
// came the page says so and completes by itself as soon as one does.
func (c *console) trace(w http.ResponseWriter, r *http.Request) error {
	id, err := span.ParseTraceID(param(r, "id"))
	if err != nil {
		return badRequest(err.Error())
	}
	v, err := readTraceView(r.URL.Query())
	if err != nil {
		return err
	}
	held, err := c.await(r.Context(), id)
	if errors.Is(err, span.ErrNotFound) {
		body := waitingPage{format.TraceID(id), r.URL.RequestURI()}
		return c.render(w, r, http.StatusNotFound, "waiting", view{Title: "Waiting for trace " + short(id), Section: "traces",
			Live: "/live?trace=" + id.String(), Body: body, Refresh: 2})
	}
	if err != nil {
		return err
	}
	p, err := c.tracePage(r, held, v)
	if err != nil {
		return err
	}
	scripts := []string{}
	if v.View == "waterfall" {
		scripts = append(scripts, "waterfall.js")
	}
	return c.render(w, r, http.StatusOK, "trace", view{Title: p.Name + " · trace " + short(id), Section: "traces",
		Live: "/live?trace=" + id.String(), Body: p, Script: scripts})
}

// await reads a trace, waiting a moment for its first span.
func (c *console) await(ctx context.Context, id span.TraceID) (*reading, error) {
	if c.Admin == nil {
		return c.held.read(ctx, id)
	}
	waiting, stop := context.WithTimeout(ctx, c.Wait)
	defer stop()
	came := make(chan struct{}, 1)
	c.Admin.Subscribe(waiting, func(got span.TraceID) {
		if got.Lo == id.Lo {
			select {
			case came <- struct{}{}:
			default:
			}
		}
	})
	for {
		held, err := c.held.read(ctx, id)
		if !errors.Is(err, span.ErrNotFound) {
			return held, err
		}
		select {
		case <-came:
		case <-waiting.Done():
			return nil, err
		}
	}
}

// withFragments adds the spans of other traces that carry the request id of this one.
func (c *console) withFragments(ctx context.Context, id span.TraceID, spans []span.Span) ([]span.Span, []backend.Summary, string) {
	requestID := ""
	for i := range spans {
		if requestID = spans[i].RequestID(); requestID != "" {
			break
		}
	}
	if requestID == "" {
		return spans, nil, ""
	}
	found, err := c.Backend.Search(ctx, backend.Query{ID: requestID, OrderBy: backend.ByTime, Limit: fragments + 1})
	if err != nil {
		return spans, nil, requestID
	}
	var others []backend.Summary
	all := slices.Clip(spans) // which the reading keeps: an append must not write behind them
	for _, t := range found.Traces {
		if t.TraceID.Lo == id.Lo || len(others) == fragments {
			continue
		}
		more, err := c.Backend.Trace(ctx, t.TraceID)
		if err != nil || len(more) == 0 {
			continue
		}
		others = append(others, t)
		all = append(all, more...)
	}
	return all, others, requestID
}

func (c *console) tracePage(r *http.Request, held *reading, v traceView) (*tracePage, error) {
	spans := held.spans
	_, others, requestID := c.request(r.Context(), held)
	examined := make(chan []doctor.Finding, 1)
	go func() { examined <- c.findings(r.Context(), held) }()
	t := c.tree(r.Context(), held, v)
	p := &tracePage{traceView: v, ID: format.TraceID(spans[0].TraceID), Tree: t, RequestID: requestID, Self: r.URL.RequestURI(),
		Others: c.rows(others, selection{}), Arriving: c.arriving(spans, t)}
	p.Data = "/traces/" + spans[0].TraceID.String() + "/nodes.json?" + shape(r.URL.Query()).Encode()
	if at := t.Root(); at >= 0 {
		p.Name, p.Application = t.Nodes[at].Span.Name, t.Nodes[at].Span.Service
	}
	services := make(map[string]bool)
	for i := range spans {
		services[spans[i].Service] = true
	}
	p.Services = len(services)
	for app := range services {
		p.NamesShown = p.NamesShown || c.showsNames(app)
	}
	p.Views, p.Switches = viewTabs(r.URL, v), c.switches(r.URL, v, t, len(others))
	p.Findings = c.placeFindings(<-examined, r.URL)
	p.Problems = placeProblems(t, r.URL)
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Error() && n.Span != nil && len(p.Errors) < 200 {
			p.Errors = append(p.Errors, n.Span.ID.String())
		}
	}
	for _, open := range v.Open {
		if at := t.Find(open); at >= 0 {
			p.Cards = append(p.Cards, c.card(t, at, r.URL))
		}
	}
	switch v.View {
	case "waterfall":
		c.fillWaterfall(p, r.URL)
	case "table":
		p.Table = c.spanTable(t, r.URL)
	case "flame":
		p.Flame = drawFlame(t, v.Root, r.URL)
	case "statistics":
		p.Statistics = t.Services()
	case "headers":
		p.Hops = headerHops(t)
	}
	return p, nil
}

// arriving reports whether spans of the trace may still be under way: one came within the last two seconds, which is
// longer than sidecars hold spans back in the demo, or a parent is missing and one came within Envoy's flush of 5 s.
func (c *console) arriving(spans []span.Span, t *tree.Tree) bool {
	var last time.Time
	for i := range spans {
		if spans[i].Received.After(last) {
			last = spans[i].Received
		}
	}
	quiet := c.Now().Sub(last)
	missing := slices.ContainsFunc(t.Problems, func(p tree.Problem) bool { return p.Kind == tree.MissingParent })
	return !last.IsZero() && (quiet < 2*time.Second || missing && quiet < 6*time.Second)
}

// shape keeps the parameters that decide which nodes a tree has.
func shape(q url.Values) url.Values {
	out := url.Values{}
	for _, name := range []string{"halves", "skew", "fold", "fragments"} {
		if v := q.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	return out
}

func viewTabs(u *url.URL, v traceView) []tab {
	names := map[string]string{"waterfall": "Waterfall", "table": "Table", "flame": "Flame graph", "statistics": "Statistics", "headers": "Trace headers"}
	var out []tab
	for _, name := range views() {
		value := name
		if name == "waterfall" {
			value = ""
		}
		out = append(out, tab{names[name], with(u, "view", value), v.View == name})
	}
	return out
}

// switches are the choices that change the tree itself, so they are links.
func (c *console) switches(u *url.URL, v traceView, t *tree.Tree, others int) []tab {
	flip := func(on bool, name, value string) string {
		if on {
			return with(u, name, "")
		}
		return with(u, name, value)
	}
	out := []tab{{"Join client and server halves", flip(v.Joined, "halves", "joined"), v.Joined}}
	skewed := slices.ContainsFunc(t.Problems, func(p tree.Problem) bool { return p.Kind == tree.ClockSkew })
	if skewed || v.Straight {
		out = append(out, tab{"Correct clock skew", flip(v.Straight, "skew", "corrected"), v.Straight})
	}
	folded := slices.ContainsFunc(t.Nodes, func(n tree.Node) bool { return n.Kind == tree.KindFold })
	if folded || !v.Folded {
		out = append(out, tab{"Fold alike siblings", flip(!v.Folded, "fold", "0"), v.Folded})
	}
	if others > 0 {
		out = append(out, tab{"Show fragments of this request", flip(!v.Together, "fragments", "0"), v.Together})
	}
	return out
}

func (c *console) placeFindings(findings []doctor.Finding, u *url.URL) []placedFinding {
	var out []placedFinding
	for _, f := range findings {
		p := placedFinding{Finding: f, Title: f.Kind.Title()}
		if len(f.Evidence) > 0 {
			p.At = f.Evidence[0].SpanID.String()
			p.Link = with(u, "span", p.At) + "#s" + p.At
		}
		if slices.ContainsFunc(c.Lessons, func(l Lesson) bool { return l.Slug == f.Lesson }) {
			p.LessonLink = "/lessons/" + f.Lesson
		}
		out = append(out, p)
	}
	return out
}

// placeProblems lists what is broken, the first of many alike with the number of the others.
func placeProblems(t *tree.Tree, u *url.URL) []placedProblem {
	var out []placedProblem
	seen := make(map[tree.ProblemKind]int)
	for _, p := range t.Problems {
		key := p.Kind
		if at, ok := seen[key]; ok && (key == tree.ClockSkew || key == tree.DuplicateID || key == tree.MissingParent || key == tree.Fragment) {
			out[at].More++
			continue
		}
		seen[key] = len(out)
		placed := placedProblem{Problem: p}
		if p.Span != 0 {
			placed.Link = with(u, "span", p.Span.String()) + "#s" + p.Span.String()
		}
		out = append(out, placed)
	}
	return out
}
