package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"example.com/bookinfo/services/console/backend"
)

type applicationSettingsPage struct {
	Applications []tab
	Name         string
	ByName       bool
	Tags         string // one key:value a line
	Saved        bool
}

// applicationSettings chooses IP address or server name, and the tags, of one application.
func (c *console) applicationSettings(w http.ResponseWriter, r *http.Request) error {
	if err := c.needAdmin(); err != nil {
		return err
	}
	apps, err := c.Backend.Applications(r.Context(), backend.Window{})
	if err != nil {
		return err
	}
	settings := c.Admin.Settings()
	body := applicationSettingsPage{Name: param(r, "application"), Saved: r.URL.Query().Get("saved") != ""}
	var names []string
	for _, a := range apps {
		names = append(names, a.Name)
	}
	for name := range settings.Applications {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if body.Name == "" && len(names) > 0 {
		body.Name = names[0]
	}
	if body.Name != "" && !slices.Contains(names, body.Name) {
		return notFound("no span of an application " + body.Name + " is held")
	}
	for _, name := range names {
		body.Applications = append(body.Applications, tab{name, "/settings/applications/" + url.PathEscape(name), name == body.Name})
	}
	own := settings.Applications[body.Name]
	body.ByName = own.ShowServerName
	for _, k := range sortedKeys(own.Tags) {
		body.Tags += k + ":" + own.Tags[k] + "\n"
	}
	return c.render(w, r, http.StatusOK, "settings", view{Title: "Application Settings", Section: "application-settings", Body: body})
}

func (c *console) needAdmin() error {
	if c.Admin == nil {
		return &statusError{http.StatusNotImplemented, "the spans belong to another engine, which this console cannot configure"}
	}
	return nil
}

func (c *console) saveApplication(w http.ResponseWriter, r *http.Request) error {
	if err := c.needAdmin(); err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if err := r.ParseForm(); err != nil {
		return badRequest("form: " + err.Error())
	}
	tags, err := parseTags(r.PostForm.Get("tags"))
	if err != nil {
		return err
	}
	show := r.PostForm.Get("show")
	if show != "ip" && show != "server-name" {
		return badRequest(fmt.Sprintf("show %q: want ip or server-name", show))
	}
	name := param(r, "application")
	err = c.Admin.Update(func(s *backend.Settings) error {
		if s.Applications == nil {
			s.Applications = make(map[string]backend.ApplicationSettings)
		}
		s.Applications[name] = backend.ApplicationSettings{ShowServerName: show == "server-name", Tags: tags}
		return nil
	})
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/settings/applications/"+url.PathEscape(name)+"?saved=1", http.StatusSeeOther)
	return nil
}

// parseTags reads one key:value (or key=value) a line.
func parseTags(text string) (map[string]string, error) {
	tags := make(map[string]string)
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			key, value, ok = strings.Cut(line, "=")
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || key == "" || len(key) > 64 || len(value) > 256 {
			return nil, badRequest(fmt.Sprintf("tags, line %d: %q: want key:value, a key of at most 64 and a value of at most 256 characters", i+1, line))
		}
		tags[key] = value
	}
	if len(tags) > 32 {
		return nil, badRequest(fmt.Sprintf("tags: %d of them: want at most 32", len(tags)))
	}
	return tags, nil
}

type clusterPage struct {
	Usage                backend.Usage
	SpansPart, BytesPart int // percent of the quota, capped for the meter
	HeldPart             int
	History              []historyBar
	Pushes               []backend.Push
	Statuses             []statusCount
	Shown, All           int
	Saved                bool
	QuotaSpans           string
	QuotaBytes           string
	UsedUp               bool
	Only                 string
}

type historyBar struct {
	backend.DayUsage
	X, Y, W, H string
}

type statusCount struct {
	Status, Count int
	Link          string
	On            bool
	Meaning       string
}

// cluster is Cluster Configuration: usage against quota, the quota itself, the push log, and what was not kept.
func (c *console) cluster(w http.ResponseWriter, r *http.Request) error {
	if err := c.needAdmin(); err != nil {
		return err
	}
	u := c.Admin.Usage()
	body := clusterPage{Usage: u, SpansPart: part(u.Spans, u.QuotaSpans), BytesPart: part(u.Bytes, u.QuotaBytes),
		HeldPart: part(u.HeldBytes, u.MaxBytes), Saved: r.URL.Query().Get("saved") != "", QuotaSpans: fmt.Sprint(u.QuotaSpans),
		QuotaBytes: plainSize(u.QuotaBytes), UsedUp: usedUp(u), Only: r.URL.Query().Get("status")}
	var most int64 = 1
	for _, d := range u.History {
		most = max(most, d.Spans+d.Refused)
	}
	history := u.History
	if len(history) > 30 {
		history = history[len(history)-30:]
	}
	for i, d := range history {
		h := 60 * float64(d.Spans) / float64(most)
		body.History = append(body.History, historyBar{d, number(float64(i) * 20), number(60 - h), "14", number(h)})
	}
	counts := make(map[int]int)
	pushes := c.Admin.PushLog()
	for _, p := range pushes {
		counts[p.Status]++
		if body.Only != "" && fmt.Sprint(p.Status) != body.Only {
			continue
		}
		body.All++
		if len(body.Pushes) < 200 {
			body.Pushes = append(body.Pushes, p)
		}
	}
	body.Shown = len(body.Pushes)
	for status, n := range counts {
		body.Statuses = append(body.Statuses, statusCount{status, n, with(r.URL, "status", fmt.Sprint(status)), fmt.Sprint(status) == body.Only, pushMeaning(status)})
	}
	slices.SortFunc(body.Statuses, func(a, b statusCount) int { return a.Status - b.Status })
	return c.render(w, r, http.StatusOK, "cluster", view{Title: "Cluster Configuration", Section: "cluster", Live: "/live", Body: body})
}

// usedUp reports whether ingest refuses spans now.
func usedUp(u backend.Usage) bool {
	return u.QuotaSpans > 0 && u.Spans >= u.QuotaSpans || u.QuotaBytes > 0 && u.Bytes >= u.QuotaBytes
}

func part(used, of int64) int {
	if of <= 0 {
		return 0
	}
	return int(min(100, 100*float64(used)/float64(of)))
}

// plainSize writes a size so that parseSize reads exactly it.
func plainSize(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= unit.size && n%unit.size == 0 {
			return fmt.Sprintf("%d %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprint(n)
}

// pushMeaning says what a status of the push log means for the sender's spans.
func pushMeaning(status int) string {
	switch status {
	case http.StatusOK, http.StatusAccepted:
		return "taken in"
	case http.StatusBadRequest:
		return "not readable: wrong format or wrong port"
	case http.StatusUnauthorized, http.StatusForbidden:
		return "the token is missing or wrong"
	case http.StatusNotAcceptable:
		return "refused: the daily quota is used up"
	case http.StatusRequestEntityTooLarge:
		return "too large"
	case http.StatusUnsupportedMediaType:
		return "content type not known"
	case http.StatusTooManyRequests:
		return "refused over gRPC: the daily quota is used up"
	}
	return http.StatusText(status)
}

type notePage struct {
	Spans, Bytes         string
	NewSpans, NewBytes   int64
	Usage                backend.Usage
	RefusesAtOnce, Opens bool
}

// saveCluster changes the quota. Without the confirmation, which scripts send from the Note dialog, it asks first.
func (c *console) saveCluster(w http.ResponseWriter, r *http.Request) error {
	if err := c.needAdmin(); err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if err := r.ParseForm(); err != nil {
		return badRequest("form: " + err.Error())
	}
	spans, err := parseCount(r.PostForm.Get("quota-spans"))
	if err != nil {
		return badRequest("quota-spans " + err.Error())
	}
	bytes, err := parseSize(r.PostForm.Get("quota-bytes"))
	if err != nil {
		return badRequest("quota-bytes " + err.Error())
	}
	if r.PostForm.Get("ok") == "" {
		u := c.Admin.Usage()
		then := u
		then.QuotaSpans, then.QuotaBytes = spans, bytes
		body := notePage{r.PostForm.Get("quota-spans"), r.PostForm.Get("quota-bytes"), spans, bytes, u, usedUp(then), usedUp(u) && !usedUp(then)}
		return c.render(w, r, http.StatusOK, "note", view{Title: "Note", Section: "cluster", Body: body})
	}
	err = c.Admin.Update(func(s *backend.Settings) error {
		s.QuotaSpans, s.QuotaBytes = spans, bytes
		return nil
	})
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/settings/cluster?saved=1", http.StatusSeeOther)
	return nil
}
