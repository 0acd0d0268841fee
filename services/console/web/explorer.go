package web

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/web/chart"
)

// traceLimit is how many traces the Trace Explorer lists, as the managed console does.
const traceLimit = 100

type explorerPage struct {
	applicationHead // empty for the explorer of all applications
	Form            url.Values
	Rows            []traceRow
	More            bool
	Scanned         int64
	Scatter         scatter
	Names           []string
	Applications    []string
	Kinds           []string
	Action          string
	Edge            string
	Import          bool
	Clear           string
	Filtered        bool
	Order           string
	ByTime, ByDur   string
	Compare         string
	Imported        string
	UseNames        bool
}

// traceRow is a line of the trace list.
type traceRow struct {
	backend.Summary
	Link, Place string
	Share       float64 // of the longest in the list, percent
	Bad         bool
	Since       int64 // Unix milliseconds of the start
}

type scatter struct {
	Dots               []dot
	From, To           time.Time
	High, Middle, Low  string
	FromMS, ToMS       int64
	LowNS, HighNS      int64
	Application, Query string
}

type dot struct {
	X, Y, R          float64
	Link, Text, Hue  string
	Bad, HasFindings bool
}

// explorer searches the traces of all applications.
func (c *console) explorer(w http.ResponseWriter, r *http.Request) error {
	return c.explore(w, r, "")
}

// applicationTraces is the Trace Explorer tab of an application.
func (c *console) applicationTraces(w http.ResponseWriter, r *http.Request) error {
	return c.explore(w, r, param(r, "application"))
}

func (c *console) explore(w http.ResponseWriter, r *http.Request, app string) error {
	sel, err := c.selection(r)
	if err != nil {
		return err
	}
	form := r.URL.Query()
	query, err := c.query(form, sel, app)
	if err != nil {
		return err
	}
	result, err := c.Backend.Search(r.Context(), query)
	if err != nil {
		return err
	}
	// A whole id that names one trace leads straight to it.
	if len(result.Traces) == 1 && len(query.ID) >= 16 && form.Get("go") != "" {
		http.Redirect(w, r, "/traces/"+result.Traces[0].TraceID.String(), http.StatusSeeOther)
		return nil
	}
	body := explorerPage{Form: form, Rows: c.rows(result.Traces, sel), More: result.More, Scanned: result.Scanned, Action: r.URL.Path,
		Order: string(cmp.Or(query.OrderBy, backend.ByDuration)), ByTime: with(r.URL, "order", "time"), ByDur: with(r.URL, "order", ""),
		Import: c.Import != nil, Clear: sel.link(r.URL.Path), Compare: "/compare", Imported: form.Get("imported")}
	if app != "" {
		body.applicationHead = c.head(r, sel, app, "Trace Explorer")
	}
	if query.EdgeFrom != "" || query.EdgeTo != "" {
		body.Edge = query.EdgeFrom + " → " + query.EdgeTo
	}
	for _, name := range []string{"status", "name", "min", "max", "ip", "id", "tags", "finding", "application", "edge-from", "edge-to", "version"} {
		body.Filtered = body.Filtered || form.Get(name) != ""
	}
	body.Scatter = drawScatter(body.Rows, sel)
	if body.Names, err = c.Backend.Names(r.Context(), cmp.Or(app, form.Get("application"))); err != nil {
		return err
	}
	apps, err := c.Backend.Applications(r.Context(), backend.Window{})
	if err != nil {
		return err
	}
	for _, a := range apps {
		body.Applications = append(body.Applications, a.Name)
	}
	for _, t := range result.Traces {
		for _, f := range t.Findings {
			if !slices.Contains(body.Kinds, f) {
				body.Kinds = append(body.Kinds, f)
			}
		}
	}
	if f := form.Get("finding"); f != "" && !slices.Contains(body.Kinds, f) {
		body.Kinds = append(body.Kinds, f)
	}
	slices.Sort(body.Kinds)
	title, section := "Trace Explorer", "traces"
	if app != "" {
		title, section = app+" traces", "applications"
	}
	return c.render(w, r, http.StatusOK, "explorer", view{Title: title, Section: section, Select: sel, Live: "/live", Body: body})
}

// query reads the filters of the form. Parameters that are empty do not filter.
func (c *console) query(form url.Values, sel selection, app string) (backend.Query, error) {
	q := backend.Query{Window: sel.Window(), Application: cmp.Or(app, form.Get("application")), Version: form.Get("version"),
		Name: form.Get("name"), Status: form.Get("status"), IP: strings.TrimSpace(form.Get("ip")),
		ID: strings.ToLower(strings.TrimSpace(form.Get("id"))), Tags: strings.TrimSpace(form.Get("tags")),
		OrderBy: backend.Order(form.Get("order")), Limit: traceLimit, EdgeFrom: form.Get("edge-from"), EdgeTo: form.Get("edge-to"),
		Finding: form.Get("finding")}
	if !slices.Contains([]string{"", "ok", "error"}, q.Status) {
		return q, badRequest(fmt.Sprintf("status %q: want ok or error", q.Status))
	}
	if !slices.Contains([]backend.Order{"", backend.ByTime, backend.ByDuration}, q.OrderBy) {
		return q, badRequest(fmt.Sprintf("order %q: want duration or time", q.OrderBy))
	}
	var err error
	if q.MinDuration, err = limit(form, "min"); err != nil {
		return q, err
	}
	if q.MaxDuration, err = limit(form, "max"); err != nil {
		return q, err
	}
	if sel.Region != "" {
		region := strconv.Quote(sel.Region)
		within := "(cloud.region = " + region + " or istio.cluster_id = " + region + ")"
		if q.Tags != "" {
			within = "(" + q.Tags + ") and " + within
		}
		q.Tags = within
	}
	// An id finds its trace whenever it was.
	if q.ID != "" {
		q.Window = backend.Window{}
	}
	return q, nil
}

// limit reads a duration as people write it: 250ms, 1.5s, 7 s, or a plain number of milliseconds.
func limit(form url.Values, name string) (time.Duration, error) {
	text := strings.ReplaceAll(strings.TrimSpace(form.Get(name)), " ", "")
	if text == "" {
		return 0, nil
	}
	if ms, err := strconv.ParseFloat(text, 64); err == nil && ms >= 0 && ms < 1e12 {
		return time.Duration(ms * float64(time.Millisecond)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, badRequest(fmt.Sprintf("%s %q: want a duration such as 250ms or 1.5s", name, form.Get(name)))
	}
	return d, nil
}

func (c *console) rows(traces []backend.Summary, sel selection) []traceRow {
	longest := time.Duration(1)
	for _, t := range traces {
		longest = max(longest, t.Duration)
	}
	names := make(map[string]bool)
	rows := make([]traceRow, len(traces))
	for i, t := range traces {
		byName, known := names[t.Application]
		if !known {
			byName = c.showsNames(t.Application)
			names[t.Application] = byName
		}
		rows[i] = traceRow{Summary: t, Link: "/traces/" + t.TraceID.String(), Share: 100 * float64(t.Duration) / float64(longest),
			Place: place(t.IP, t.Host, byName), Bad: t.Errors > 0, Since: t.Start.UnixMilli()}
	}
	return rows
}

// place is the address or, where Application Settings ask for it, the server name; the other where one is missing.
func place(ip, host string, byName bool) string {
	if byName {
		return cmp.Or(host, ip)
	}
	return cmp.Or(ip, host)
}

// drawScatter sets start against duration, the latter on a logarithmic scale.
func drawScatter(rows []traceRow, sel selection) scatter {
	var s scatter
	if len(rows) == 0 {
		return s
	}
	low, high := rows[0].Duration, rows[0].Duration
	s.From, s.To = rows[0].Start, rows[0].Start
	for _, r := range rows {
		low, high = min(low, r.Duration), max(high, r.Duration)
		if r.Start.Before(s.From) {
			s.From = r.Start
		}
		if r.Start.After(s.To) {
			s.To = r.Start
		}
	}
	if s.To.Sub(s.From) < time.Second {
		s.From, s.To = s.From.Add(-500*time.Millisecond), s.To.Add(500*time.Millisecond)
	}
	bottom, top := max(float64(low)/1.3, 1000), float64(high)*1.3
	s.LowNS, s.HighNS, s.FromMS, s.ToMS = int64(bottom), int64(top), s.From.UnixMilli(), s.To.UnixMilli()
	s.High, s.Low = duration(time.Duration(top)), duration(time.Duration(bottom))
	s.Middle = duration(time.Duration(math.Sqrt(bottom * top)))
	for _, r := range rows {
		text := fmt.Sprintf("%s, %s, %s, %d spans", duration(r.Duration), r.Name, r.Application, r.Spans)
		if r.Bad {
			text += fmt.Sprintf(", %d with error", r.Errors)
		}
		s.Dots = append(s.Dots, dot{X: 10 + 780*float64(r.Start.Sub(s.From))/float64(s.To.Sub(s.From)),
			Y: 170 - 160*chart.Log(float64(r.Duration), bottom, top), R: min(16, 6+math.Sqrt(float64(r.Spans))),
			Link: r.Link, Text: text, Hue: strconv.Itoa(hue(r.Application)), Bad: r.Bad, HasFindings: len(r.Findings) > 0})
	}
	return s
}

// complete answers the script that completes a tag expression: keys, or values of a key.
func (c *console) complete(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	var out []string
	var err error
	if key := q.Get("key"); key != "" {
		out, err = c.Backend.TagValues(r.Context(), key, q.Get("prefix"), 20)
	} else {
		out, err = c.Backend.TagKeys(r.Context(), q.Get("prefix"), 20)
	}
	if err != nil {
		return err
	}
	if out == nil {
		out = []string{}
	}
	return writeJSON(w, out)
}

// upload takes in a file of spans and shows its trace, or the list where it holds several.
func (c *console) upload(w http.ResponseWriter, r *http.Request) error {
	if c.Import == nil {
		return &statusError{http.StatusNotImplemented, "this console takes no files in"}
	}
	const most = 64 << 20
	r.Body = http.MaxBytesReader(w, r.Body, most)
	file, _, err := r.FormFile("file")
	if err != nil {
		return badRequest(fmt.Sprintf("file: want a form with a file of OTLP, Zipkin or Jaeger JSON of at most %s: %v", byteSize(most), err))
	}
	defer func() { _ = file.Close() }()
	ids, err := c.Import(r.Context(), file)
	if err != nil {
		return badRequest("file: " + err.Error())
	}
	var first span.TraceID
	if len(ids) > 0 {
		first = ids[0]
	}
	target := "/traces?range=all&order=time&imported=" + strconv.Itoa(len(ids))
	if len(ids) == 1 {
		target = "/traces/" + first.String()
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
	return nil
}
