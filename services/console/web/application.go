package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/web/chart"
)

// tab is one of the tabs of Application details.
type tab struct {
	Name, Link string
	On         bool
}

type applicationHead struct {
	Name, Version string
	Settings      string
	Tabs          []tab
	Versions      []tab
}

func (c *console) head(r *http.Request, sel selection, app, on string) applicationHead {
	base := "/applications/" + url.PathEscape(app)
	h := applicationHead{Name: app, Version: r.URL.Query().Get("version"), Settings: "/settings/applications/" + url.PathEscape(app)}
	for _, t := range [][2]string{{"Overview", base}, {"Trace Explorer", base + "/traces"}, {"Servers", base + "/servers"}} {
		h.Tabs = append(h.Tabs, tab{t[0], sel.link(t[1], "version", h.Version), t[0] == on})
	}
	return h
}

type overviewPage struct {
	applicationHead
	Total    backend.Numbers
	Charts   []lineChart
	Points   []backend.Point
	Graph    topologyView
	Findings []findingCount
	Slowest  []traceRow
	Failed   string
}

type findingCount struct {
	Kind, Link string
	Traces     int
}

// lineChart is one chart of the Overview: bars or lines over the same steps.
type lineChart struct {
	Title, Unit, Top, Half string
	From, To               time.Time
	Series                 []chartSeries
	Slots                  []slot
}

type chartSeries struct {
	Name, Class, Points string
	Bars                []chart.Bar
	Dash                bool
}

// slot is the part of a chart that shows one step: what is read out, and where it leads.
type slot struct {
	X, W       float64
	Text, Link string
}

const chartWidth, chartHeight = 600.0, 150.0

// overview is an application's key metrics over time, its place in the topology and what the doctor found.
func (c *console) overview(w http.ResponseWriter, r *http.Request) error {
	sel, err := c.selection(r)
	if err != nil {
		return err
	}
	app := param(r, "application")
	body := overviewPage{applicationHead: c.head(r, sel, app, "Overview")}
	known, err := c.Backend.Applications(r.Context(), backend.Window{})
	if err != nil {
		return err
	}
	at := slices.IndexFunc(known, func(a backend.Application) bool { return a.Name == app })
	if at < 0 {
		return notFound("no span of an application " + app + " is held")
	}
	inWindow, err := c.Backend.Applications(r.Context(), sel.Window())
	if err != nil {
		return err
	}
	for _, a := range inWindow {
		if a.Name != app {
			continue
		}
		body.Total = a.Numbers
		for _, v := range a.Versions {
			if body.Version != "" && v.Name == body.Version {
				body.Total = v.Numbers
			}
		}
	}
	base := "/applications/" + url.PathEscape(app)
	body.Versions = append(body.Versions, tab{"All versions", sel.link(base), body.Version == ""})
	for _, v := range known[at].Versions {
		body.Versions = append(body.Versions, tab{cmp.Or(v.Name, "no version"), sel.link(base, "version", v.Name), body.Version == v.Name})
	}
	window := sel.bounded(known[at].LastSeen.Add(-time.Hour))
	step := sel.step(window.From, 60)
	if body.Points, err = c.Backend.Series(r.Context(), app, body.Version, window, step); err != nil {
		return err
	}
	body.Charts = c.charts(body.Points, sel, base, step)
	graph, err := c.Backend.Topology(r.Context(), app, sel.Window())
	if err != nil {
		return err
	}
	body.Graph = drawTopology(graph, sel, c.Now(), app)
	if err := c.overviewTraces(r, sel, app, &body); err != nil {
		return err
	}
	return c.render(w, r, http.StatusOK, "overview", view{Title: app, Section: "applications", Select: sel, Live: "/live", Body: body})
}

// overviewTraces adds the slowest traces and counts what the doctor found in the newest ones.
func (c *console) overviewTraces(r *http.Request, sel selection, app string, body *overviewPage) error {
	q := backend.Query{Window: sel.Window(), Application: app, Version: body.Version}
	q.OrderBy, q.Limit = backend.ByDuration, 5
	slowest, err := c.Backend.Search(r.Context(), q)
	if err != nil {
		return err
	}
	body.Slowest = c.rows(slowest.Traces, sel)
	q.OrderBy, q.Limit = backend.ByTime, 100
	newest, err := c.Backend.Search(r.Context(), q)
	if err != nil {
		return err
	}
	counts := make(map[string]int)
	for _, t := range newest.Traces {
		for _, f := range t.Findings {
			counts[f]++
		}
	}
	for _, kind := range sortedKeys(counts) {
		link := sel.link("/applications/"+url.PathEscape(app)+"/traces", "finding", kind)
		body.Findings = append(body.Findings, findingCount{kind, link, counts[kind]})
	}
	slices.SortStableFunc(body.Findings, func(a, b findingCount) int { return cmp.Compare(b.Traces, a.Traces) })
	return nil
}

// charts draws requests with their errors, the error rate, and durations.
func (c *console) charts(points []backend.Point, sel selection, base string, step time.Duration) []lineChart {
	n := len(points)
	ok, bad, rate := make([]float64, n), make([]float64, n), make([]float64, n)
	all := make([]float64, n)
	lines := map[string][]float64{"average": make([]float64, n), "p50": make([]float64, n), "p95": make([]float64, n), "p99": make([]float64, n)}
	for i, p := range points {
		all[i], bad[i] = float64(p.Requests), float64(p.Errors)
		ok[i] = all[i] - bad[i]
		if p.Requests > 0 {
			rate[i] = 100 * bad[i] / all[i]
		}
		lines["average"][i], lines["p50"][i] = float64(p.Average), float64(p.P50)
		lines["p95"][i], lines["p99"][i] = float64(p.P95), float64(p.P99)
	}
	frame := func(title, unit string, top float64, text func(float64) string, say func(backend.Point) string) lineChart {
		ch := lineChart{Title: title, Unit: unit, Top: text(top), Half: text(top / 2)}
		if n > 0 {
			ch.From, ch.To = points[0].Time, points[n-1].Time.Add(step)
		}
		for i, p := range points {
			from := sel
			from.Range, from.From, from.To = "custom", p.Time, p.Time.Add(step)
			ch.Slots = append(ch.Slots, slot{chartWidth * float64(i) / float64(n), chartWidth / float64(n),
				clockText(p.Time.In(c.Location))[:5] + "  " + say(p), from.link(base + "/traces")})
		}
		return ch
	}
	whole := func(v float64) string { return digits(v) }
	top := chart.Top(1, all)
	requests := frame("Requests", "a "+stepName(step), top, whole, func(p backend.Point) string {
		return count(p.Requests) + " requests, " + count(p.Errors) + " errors"
	})
	requests.Series = []chartSeries{{Name: "without error", Class: "ok", Bars: chart.Bars(ok, nil, top, chartWidth, chartHeight)},
		{Name: "errors", Class: "bad", Bars: chart.Bars(bad, ok, top, chartWidth, chartHeight)}}
	top = chart.Top(1, rate)
	failed := frame("Error rate", "percent", top, whole, func(p backend.Point) string { return percent(p.Errors, p.Requests) })
	failed.Series = []chartSeries{{Name: "errors", Class: "bad", Points: chart.Line(rate, top, chartWidth, chartHeight)}}
	top = chart.Top(1, lines["p99"], lines["average"])
	durations := frame("Duration", "", top, func(v float64) string { return duration(time.Duration(v)) }, func(p backend.Point) string {
		return "average " + duration(p.Average) + ", p50 " + duration(p.P50) + ", p95 " + duration(p.P95) + ", p99 " + duration(p.P99)
	})
	for _, name := range []string{"average", "p50", "p95", "p99"} {
		durations.Series = append(durations.Series, chartSeries{Name: name, Class: name, Points: chart.Line(lines[name], top, chartWidth, chartHeight)})
	}
	return []lineChart{requests, failed, durations}
}

func stepName(step time.Duration) string {
	if step == time.Minute {
		return "minute"
	}
	return duration(step)
}

type serversPage struct {
	applicationHead
	Servers []serverRow
	ByName  bool
}

type serverRow struct {
	backend.Server
	Link string
}

// servers lists each IP or server name of an application.
func (c *console) servers(w http.ResponseWriter, r *http.Request) error {
	sel, err := c.selection(r)
	if err != nil {
		return err
	}
	app := param(r, "application")
	servers, err := c.Backend.Servers(r.Context(), app, sel.Window())
	if err != nil {
		return err
	}
	body := serversPage{applicationHead: c.head(r, sel, app, "Servers"), ByName: c.showsNames(app)}
	for _, s := range servers {
		if body.Version != "" && s.Version != body.Version {
			continue
		}
		body.Servers = append(body.Servers, serverRow{s, sel.link("/applications/"+url.PathEscape(app)+"/traces", "ip", cmp.Or(s.IP, s.Host))})
	}
	slices.SortFunc(body.Servers, func(a, b serverRow) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.IP, b.IP))
	})
	return c.render(w, r, http.StatusOK, "servers", view{Title: app + " servers", Section: "applications", Select: sel, Live: "/live", Body: body})
}

// showsNames reports whether Application Settings ask for server names instead of addresses.
func (c *console) showsNames(app string) bool {
	return c.Admin != nil && c.Admin.Settings().Applications[app].ShowServerName
}
