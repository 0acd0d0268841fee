package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/web/chart"
)

// appRow is a line of the Applications table.
type appRow struct {
	backend.Application
	Link     string
	Tags     []tagChip
	Requests sparkline
	Errors   sparkline
	Latency  sparkline
	Versions []versionRow
}

type versionRow struct {
	backend.Version
	Link string
}

type tagChip struct {
	Text, Link string
	On         bool
}

// sparkline is a small chart of one value over the selected time.
type sparkline struct{ Line, Area, Text string }

type column struct{ Key, Label, Link, Sort string }

type applicationsPage struct {
	Rows    []appRow
	Columns []column
	Tags    []tagChip
	Search  string
	Sort    string
	Hidden  int
	Held    bool // anything at all, in any time
	All     string
}

// applications is the first page: requests, errors and duration of every application.
func (c *console) applications(w http.ResponseWriter, r *http.Request) error {
	sel, err := c.selection(r)
	if err != nil {
		return err
	}
	apps, err := c.Backend.Applications(r.Context(), sel.Window())
	if err != nil {
		return err
	}
	q := r.URL.Query()
	body := applicationsPage{Search: q.Get("q"), Sort: cmp.Or(q.Get("sort"), "name"), All: sel.link("/", "range", "all")}
	var settings backend.Settings
	if c.Admin != nil {
		settings = c.Admin.Settings()
	}
	body.Tags = tagChoices(settings, q["tag"], r.URL)
	for _, a := range apps {
		if !inRegion(a, sel.Region) || !strings.Contains(strings.ToLower(a.Name), strings.ToLower(body.Search)) ||
			!hasTags(settings.Applications[a.Name].Tags, q["tag"]) {
			body.Hidden++
			continue
		}
		row := appRow{Application: a, Link: sel.link("/applications/" + url.PathEscape(a.Name))}
		for _, k := range sortedKeys(settings.Applications[a.Name].Tags) {
			row.Tags = append(row.Tags, tagChip{Text: k + ":" + settings.Applications[a.Name].Tags[k]})
		}
		for _, v := range a.Versions {
			row.Versions = append(row.Versions, versionRow{v, sel.link("/applications/"+url.PathEscape(a.Name), "version", v.Name)})
		}
		body.Rows = append(body.Rows, row)
	}
	if err := c.sparklines(r, sel, body.Rows); err != nil {
		return err
	}
	if body.Columns, err = sortRows(body.Rows, body.Sort, r.URL); err != nil {
		return err
	}
	if len(body.Rows) == 0 {
		all, err := c.Backend.Applications(r.Context(), backend.Window{})
		if err != nil {
			return err
		}
		body.Held = len(all) > 0
	}
	return c.render(w, r, http.StatusOK, "applications", view{Title: "Applications", Section: "applications", Select: sel,
		Live: "/live", Body: body})
}

// sparklines asks for each row's series, a few at a time.
func (c *console) sparklines(r *http.Request, sel selection, rows []appRow) error {
	first := sel.now
	for _, row := range rows {
		if row.LastSeen.Before(first) {
			first = row.LastSeen
		}
	}
	window := sel.bounded(first.Add(-time.Hour))
	step := sel.step(window.From, 40)
	errs := make([]error, len(rows))
	var group sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i := range rows {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			points, err := c.Backend.Series(r.Context(), rows[i].Name, "", window, step)
			if err != nil {
				errs[i] = err
				return
			}
			rows[i].Requests = spark(points, func(p backend.Point) float64 { return float64(p.Requests) }, "requests")
			rows[i].Errors = spark(points, func(p backend.Point) float64 { return float64(p.Errors) }, "errors")
			rows[i].Latency = spark(points, func(p backend.Point) float64 { return float64(p.P95) }, "p95")
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func spark(points []backend.Point, value func(backend.Point) float64, name string) sparkline {
	values := make([]float64, len(points))
	top := 0.0
	for i, p := range points {
		values[i] = value(p)
		top = max(top, values[i])
	}
	if len(points) == 0 || top == 0 {
		return sparkline{}
	}
	peak := fmt.Sprintf("%.0f", top)
	if name == "p95" {
		peak = duration(time.Duration(top))
	}
	return sparkline{chart.Line(values, top*1.1, 100, 24), chart.Area(values, top*1.1, 100, 24),
		fmt.Sprintf("%s over time, at most %s a step", name, peak)}
}

func sortRows(rows []appRow, by string, u *url.URL) ([]column, error) {
	columns := []column{{Key: "name", Label: "Application"}, {Key: "requests", Label: "Requests"}, {Key: "errors", Label: "Errors"},
		{Key: "average", Label: "Average"}, {Key: "p50", Label: "p50"}, {Key: "p95", Label: "p95"}, {Key: "p99", Label: "p99"}}
	key, up := strings.TrimPrefix(by, "-"), strings.HasPrefix(by, "-")
	at := slices.IndexFunc(columns, func(c column) bool { return c.Key == key })
	if at < 0 {
		return nil, badRequest(fmt.Sprintf("sort %q: want name, requests, errors, average, p50, p95 or p99, with - for the other direction", by))
	}
	number := func(a appRow) int64 {
		return map[string]int64{"requests": a.Application.Requests, "errors": a.Application.Errors, "average": int64(a.Average), "p50": int64(a.P50),
			"p95": int64(a.P95), "p99": int64(a.P99)}[key]
	}
	// A name is looked for from A on, a number from the largest on.
	slices.SortStableFunc(rows, func(a, b appRow) int {
		d := cmp.Or(cmp.Compare(number(b), number(a)), cmp.Compare(a.Name, b.Name))
		if up {
			return -d
		}
		return d
	})
	for i := range columns {
		next := columns[i].Key
		if i == at {
			columns[i].Sort = "descending"
			if (key == "name") != up {
				columns[i].Sort = "ascending"
			}
			if !up {
				next = "-" + next
			}
		}
		columns[i].Link = with(u, "sort", next)
	}
	return columns, nil
}

// with gives the address of the page with one parameter replaced, or removed when value is "".
func with(u *url.URL, name, value string) string {
	q := u.Query()
	q.Del(name)
	if value != "" {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return u.Path
	}
	return u.Path + "?" + q.Encode()
}

func inRegion(a backend.Application, region string) bool {
	return region == "" || slices.Contains(a.Regions, region)
}

// tagChoices are all tags that applications were given, each with the link that adds it to the filter or takes it out.
func tagChoices(s backend.Settings, on []string, u *url.URL) []tagChip {
	seen := make(map[string]bool)
	for _, a := range s.Applications {
		for k, v := range a.Tags {
			seen[k+":"+v] = true
		}
	}
	for _, tag := range on {
		seen[tag] = true
	}
	var out []tagChip
	for _, text := range sortedKeys(seen) {
		chip := tagChip{Text: text, On: slices.Contains(on, text)}
		q := u.Query()
		if chip.On {
			q["tag"] = slices.DeleteFunc(slices.Clone(on), func(t string) bool { return t == text })
		} else {
			q["tag"] = append(slices.Clone(on), text)
		}
		chip.Link = u.Path + "?" + q.Encode()
		out = append(out, chip)
	}
	return out
}

// hasTags reports whether an application has every wanted "key:value" or "key".
func hasTags(tags map[string]string, wanted []string) bool {
	for _, want := range wanted {
		key, value, exact := strings.Cut(want, ":")
		got, ok := tags[key]
		if !ok || exact && got != value {
			return false
		}
	}
	return true
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
