package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/span"
)

// check is one possible reason for missing data, with what the live data says about it.
type check struct {
	Name, State  string // "ok", "problem" or "note"
	Answer, Mend string
	Link, Label  string
}

type noDataPage struct {
	Checks    []check
	Verdict   check
	Endpoints []Link
	Sought    string
	Found     *check
}

// noData answers: Why can't I see trace data?
func (c *console) noData(w http.ResponseWriter, r *http.Request) error {
	apps, err := c.Backend.Applications(r.Context(), backend.Window{})
	if err != nil {
		return err
	}
	body := noDataPage{Endpoints: c.Endpoints, Sought: strings.ToLower(strings.TrimSpace(r.URL.Query().Get("id")))}
	if c.Admin != nil {
		body.Checks = checkPushes(c.Admin.Usage(), c.Admin.PushLog(), len(apps) > 0, c.Now())
	}
	body.Checks = append(body.Checks, c.checkClock(apps), c.checkSampling(r.Context()))
	body.Verdict = check{State: "ok", Name: "Nothing stands in the way", Answer: "Spans come in and are kept."}
	for _, chk := range body.Checks {
		if chk.State == "problem" {
			body.Verdict = chk
			break
		}
	}
	if body.Sought != "" {
		if body.Found, err = c.seek(r.Context(), body.Sought); err != nil {
			return err
		}
	}
	return c.render(w, r, http.StatusOK, "nodata", view{Title: "Why can't I see trace data?", Section: "no-data", Live: "/live", Body: body})
}

func checkPushes(u backend.Usage, log []backend.Push, held bool, now time.Time) []check {
	var out []check
	quota := check{Name: "The daily quota", State: "ok", Link: "/settings/cluster", Label: "Cluster Configuration",
		Answer: fmt.Sprintf("%s spans and %s came in today; no quota is set.", count(u.Spans), byteSize(u.Bytes))}
	if u.QuotaSpans > 0 || u.QuotaBytes > 0 {
		quota.Answer = fmt.Sprintf("%s spans and %s came in today.",
			ofQuota(u.QuotaSpans, count(u.Spans), count(u.QuotaSpans)), ofQuota(u.QuotaBytes, byteSize(u.Bytes), byteSize(u.QuotaBytes)))
	}
	if usedUp(u) {
		quota.State = "problem"
		quota.Answer = "The quota is used up: " + quota.Answer + fmt.Sprintf(" %s spans were refused with status 406; nothing more is written until midnight.", count(u.Refused))
		quota.Mend = "Raise the quota value under Quota Configuration, click Save, then OK."
	}
	out = append(out, quota)

	sent := check{Name: "Anything sent at all", State: "ok", Link: "/settings/cluster#push-log", Label: "Push log"}
	if len(log) == 0 {
		sent.State, sent.Answer = "problem", "No sender has reached this console since it started."
		sent.Mend = "Check that the sidecars' telemetry provider names one of the addresses below, that its host can be reached, and that requests go through a sidecar."
		if held {
			sent.State, sent.Answer = "note", "No sender has reached this console since it started; what it shows is older or was imported."
		}
	} else {
		sent.Answer = fmt.Sprintf("The last push came %s from %s with %s spans.", ago(now.Sub(log[0].Time)), log[0].Sender, count(log[0].Spans))
	}
	out = append(out, sent)

	counts := make(map[int]int)
	var lastBad *backend.Push
	for i := range log {
		counts[log[i].Status]++
		if lastBad == nil && log[i].Status >= 400 && log[i].Status != http.StatusNotAcceptable && log[i].Status != http.StatusTooManyRequests {
			lastBad = &log[i]
		}
	}
	pushes := check{Name: "Status codes in the push log", State: "ok", Link: "/settings/cluster#push-log", Label: "Push log"}
	var parts []string
	var codes []int
	for code := range counts {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	for _, code := range codes {
		parts = append(parts, fmt.Sprintf("%s × %d (%s)", count(counts[code]), code, pushMeaning(code)))
	}
	pushes.Answer = strings.Join(parts, ", ")
	if len(log) == 0 {
		pushes.State, pushes.Answer = "note", "The push log is empty."
	}
	if counts[http.StatusNotAcceptable]+counts[http.StatusTooManyRequests] > 0 {
		pushes.State = "problem"
		if !usedUp(u) {
			pushes.State = "note"
			pushes.Answer += ". The quota was used up before; spans refused then are lost."
		}
	}
	out = append(out, pushes)
	if lastBad != nil {
		out = append(out, check{Name: "The format", State: "problem", Link: "/settings/cluster#push-log", Label: "Push log",
			Answer: fmt.Sprintf("%s sent %s that was answered %d (%s): %s", lastBad.Sender, byteSize(lastBad.Bytes), lastBad.Status, pushMeaning(lastBad.Status), lastBad.Error),
			Mend:   "Send Zipkin JSON or protobuf to the Zipkin address, OTLP to the OTLP ones; they are not exchangeable."})
	}
	kept := check{Name: "Evicted or cut", State: "ok", Link: "/settings/cluster#losses", Label: "What was not kept",
		Answer: fmt.Sprintf("%s spans are held in %s; none was evicted.", count(u.HeldSpans), byteSize(u.HeldBytes))}
	if u.Evicted > 0 {
		kept.State = "note"
		kept.Answer = fmt.Sprintf("%s spans, the oldest, were evicted to stay below %s; %s are held.", count(u.Evicted), byteSize(u.MaxBytes), count(u.HeldSpans))
		kept.Mend = "Look sooner, sample less, or start the console with a larger --max-memory."
	}
	return append(out, kept)
}

// ofQuota writes what was used, and of how much where there is a quota.
func ofQuota(quota int64, used, all string) string {
	if quota == 0 {
		return used
	}
	return used + " of " + all
}

// checkClock compares the newest span's time with this machine's.
func (c *console) checkClock(apps []backend.Application) check {
	out := check{Name: "Clocks and time range", State: "ok", Link: "/traces?range=all&order=time", Label: "All traces, whatever their time"}
	var last time.Time
	for _, a := range apps {
		if a.LastSeen.After(last) {
			last = a.LastSeen
		}
	}
	switch d := c.Now().Sub(last); {
	case last.IsZero():
		out.State, out.Answer = "note", "No span is held, so no clock can be compared."
	case d < -5*time.Second:
		out.State, out.Answer = "problem", fmt.Sprintf("The newest span lies %s in the future: its sender's clock is ahead.", duration(-d))
		out.Mend = "Set the clock of the sender (NTP), or choose All time at the top."
	case d > time.Hour:
		out.State, out.Answer = "note", fmt.Sprintf("The newest span is from %s, which a shorter time range does not show.", ago(d))
		out.Mend = "Choose a longer time range at the top; if requests are made now, the sender's clock is behind."
	default:
		out.Answer = fmt.Sprintf("The newest span is from %s.", ago(d))
	}
	return out
}

// checkSampling tells from the request ids why the newest traces were sampled: Envoy writes the reason into digit 15.
func (c *console) checkSampling(ctx context.Context) check {
	out := check{Name: "Sampling", State: "ok"}
	now := c.Now()
	found, err := c.Backend.Search(ctx, backend.Query{Window: backend.Window{From: now.Add(-15 * time.Minute)}, OrderBy: backend.ByTime, Limit: traceLimit})
	if err != nil {
		out.State, out.Answer = "note", "This engine cannot tell."
		return out
	}
	forced, random := 0, 0
	for _, t := range found.Traces {
		if len(t.RequestID) != 36 {
			continue
		}
		switch t.RequestID[14] {
		case 'a', 'b':
			forced++
		case '9':
			random++
		}
	}
	more := ""
	if found.More {
		more = " or more"
	}
	out.Answer = fmt.Sprintf("%d%s traces began in the last 15 minutes: %d were sampled at random, %d forced by a header.", len(found.Traces), more, random, forced)
	out.Mend = "If more requests than that were made, the mesh samples only a part of them: raise randomSamplingPercentage of the Telemetry resource, or send x-client-trace-id with a request to have it traced in any case."
	if len(found.Traces) == 0 {
		out.State = "note"
	}
	return out
}

// seek looks for one trace that somebody misses.
func (c *console) seek(ctx context.Context, id string) (*check, error) {
	found, err := c.Backend.Search(ctx, backend.Query{ID: id, OrderBy: backend.ByTime, Limit: traceLimit})
	if err != nil {
		return nil, err
	}
	if len(found.Traces) == 0 {
		return &check{Name: id, State: "problem", Answer: "No span with this trace id or x-request-id is held. Either it was not sampled, or it was refused, or evicted, or its sidecar cannot reach this console."}, nil
	}
	t := found.Traces[0]
	out := &check{Name: id, State: "ok", Link: "/traces/" + t.TraceID.String(), Label: "Open the trace",
		Answer: fmt.Sprintf("Found: trace %s of %s, %d spans, %s.", format.TraceID(t.TraceID), t.Application, t.Spans, ago(c.Now().Sub(t.Start)))}
	if len(found.Traces) > 1 {
		out.State, out.Link, out.Label = "note", "/traces?range=all&order=time&id="+id, "All of them"
		out.Answer = fmt.Sprintf("%d traces answer to this id: one request came apart, or the prefix is short.", len(found.Traces))
	}
	return out, nil
}

type traceIDPage struct {
	Breaks   []breakRow
	Looked   int
	CanProbe bool
	Probe    Probe
	Text     string
	Answer   *probeAnswer
	Error    string
}

// breakRow is a sidecar at which traces begin although its application was called in another one.
type breakRow struct {
	Service, Half string
	Traces        int
	Example       string
	Received      []string
	Missing       string
}

type probeAnswer struct {
	Sentence, State string
	Lines           []headerLine
	Sampled         bool
}

// traceID answers: Why does the trace ID change?
func (c *console) traceID(w http.ResponseWriter, r *http.Request) error {
	body := traceIDPage{CanProbe: c.Decide != nil, Text: r.URL.Query().Get("headers"),
		Probe: Probe{Direction: "outbound", Format: "w3c", Profile: "1.36", Sampling: 100}}
	found, err := c.Backend.Search(r.Context(), backend.Query{OrderBy: backend.ByTime, Limit: traceLimit})
	if err != nil {
		return err
	}
	body.Looked = len(found.Traces)
	if body.Breaks, err = c.breaks(r.Context(), found.Traces); err != nil {
		return err
	}
	q := r.URL.Query()
	for name, to := range map[string]*string{"direction": &body.Probe.Direction, "format": &body.Probe.Format, "profile": &body.Probe.Profile} {
		if v := q.Get(name); v != "" {
			*to = v
		}
	}
	if c.Decide != nil && q.Has("headers") {
		body.answer(c.Decide)
	}
	return c.render(w, r, http.StatusOK, "traceid", view{Title: "Why does the trace ID change?", Section: "trace-id", Live: "/live", Body: body})
}

// breaks finds, in the newest traces, roots at a sidecar's call out of an application. Such a sidecar started a new
// trace because the application gave it no complete context.
func (c *console) breaks(ctx context.Context, traces []backend.Summary) ([]breakRow, error) {
	index := make(map[[2]string]int)
	var out []breakRow
	for _, t := range traces {
		spans, err := c.Backend.Trace(ctx, t.TraceID)
		if errors.Is(err, span.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for i := range spans {
			s := &spans[i]
			if s.ParentID != 0 || s.Kind != span.KindClient || isEdge(s.Service) {
				continue
			}
			key := [2]string{s.Service, s.Kind.String()}
			at, known := index[key]
			if !known {
				at = len(out)
				index[key] = at
				row := breakRow{Service: s.Service, Half: "outbound sidecar", Example: t.TraceID.String()}
				got := headersOf(s, receivedPrefix)
				row.Received = headerNames(got)
				row.Missing = incomplete(got)
				out = append(out, row)
			}
			out[at].Traces++
		}
	}
	slices.SortStableFunc(out, func(a, b breakRow) int { return b.Traces - a.Traces })
	return out, nil
}

// isEdge tells gateways, at which traces are meant to begin, by Istio's names for them.
func isEdge(service string) bool {
	return strings.Contains(service, "gateway")
}

// incomplete says what a context lacks of the minimum: both B3 ids, or traceparent.
func incomplete(got map[string]string) string {
	if got == nil {
		return ""
	}
	_, traceID := got["x-b3-traceid"]
	_, spanID := got["x-b3-spanid"]
	_, parent := got["traceparent"]
	switch {
	case parent || traceID && spanID:
		return "the context is there, but of the other format or not readable"
	case traceID:
		return "x-b3-spanid is missing"
	case spanID:
		return "x-b3-traceid is missing"
	}
	return "neither x-b3-traceid with x-b3-spanid nor traceparent"
}

// answer sends the pasted headers through a sidecar's tracer and says what became of them.
func (p *traceIDPage) answer(decide func(Probe) (Verdict, error)) {
	headers, err := parseHeaders(p.Text)
	if err != nil {
		p.Error = err.Error()
		return
	}
	p.Probe.Headers = headers
	verdict, err := decide(p.Probe)
	if err != nil {
		p.Error = err.Error()
		return
	}
	before, after := joinLines(headers), joinLines(verdict.Sent)
	out := &probeAnswer{Lines: headerLines(before, after), Sampled: verdict.Sampled}
	was, is := traceOf(before), traceOf(after)
	switch {
	case is == "":
		out.State, out.Sentence = "problem", "The sidecar makes no span and passes the headers on as they came: it cannot read the context."
	case was == "":
		out.State, out.Sentence = "problem", "No complete context came, so the sidecar starts a new trace: "+is+"."
	case was == is && !changedSpan(before, after):
		out.State, out.Sentence = "problem", "The headers leave as they came: the sidecar could not use this context, or does not look at this format."
	case was == is:
		out.State, out.Sentence = "ok", "The trace id is kept; the sidecar adds its own span and names it as the next one's parent."
	default:
		out.State, out.Sentence = "problem", "The trace id changes from "+was+" to "+is+": the sidecar did not take this context."
	}
	p.Answer = out
}

func changedSpan(before, after map[string]string) bool {
	for _, name := range []string{"x-b3-spanid", "traceparent", "b3"} {
		if after[name] != "" && after[name] != before[name] {
			return true
		}
	}
	return false
}

// traceOf is the trace id of a context that is complete for some format.
func traceOf(h map[string]string) string {
	if id := h["x-b3-traceid"]; id != "" && h["x-b3-spanid"] != "" {
		return id
	}
	if parts := strings.Split(h["traceparent"], "-"); len(parts) >= 4 {
		return parts[1]
	}
	if parts := strings.Split(h["b3"], "-"); len(parts) >= 2 {
		return parts[0]
	}
	return ""
}

func joinLines(headers [][2]string) map[string]string {
	out := make(map[string]string)
	for _, h := range headers {
		name, value := strings.ToLower(h[0]), h[1]
		if value == "" {
			value = `""`
		}
		if had, twice := out[name]; twice {
			value = had + "\n" + value
		}
		out[name] = value
	}
	return out
}

// parseHeaders reads lines such as curl -v, browsers and proxies print them.
func parseHeaders(text string) ([][2]string, error) {
	if len(text) > 1<<14 {
		return nil, errors.New("headers: want at most 16 KiB")
	}
	var out [][2]string
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), "<>*"))
		line = strings.TrimSuffix(strings.TrimPrefix(line, "-H "), `\`)
		line = strings.Trim(strings.TrimSpace(line), `'"`)
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("headers, line %d: %q: want name: value", i+1, line)
		}
		out = append(out, [2]string{name, strings.TrimSpace(value)})
	}
	return out, nil
}

func (c *console) shortcuts(w http.ResponseWriter, r *http.Request) error {
	return c.render(w, r, http.StatusOK, "shortcuts", view{Title: "Keyboard shortcuts", Section: "shortcuts"})
}

type lessonsPage struct {
	Lessons []lessonLine
	Open    *lessonLine
}

type lessonLine struct {
	Lesson
	Finished, Known bool
}

func (c *console) lessons(w http.ResponseWriter, r *http.Request) error {
	return c.showLessons(w, r, "")
}

func (c *console) lesson(w http.ResponseWriter, r *http.Request) error {
	return c.showLessons(w, r, param(r, "slug"))
}

func (c *console) showLessons(w http.ResponseWriter, r *http.Request, slug string) error {
	if len(c.Lessons) == 0 {
		return notFound("this console has no lessons")
	}
	var body lessonsPage
	title := "Lessons"
	for _, l := range c.Lessons {
		line := lessonLine{Lesson: l}
		if l.Done != nil {
			done, err := l.Done(r.Context())
			if err != nil {
				return err
			}
			line.Finished, line.Known = done, true
		}
		body.Lessons = append(body.Lessons, line)
		if l.Slug == slug {
			body.Open, title = &line, l.Title
		}
	}
	if slug != "" && body.Open == nil {
		return notFound("no lesson " + slug)
	}
	return c.render(w, r, http.StatusOK, "lessons", view{Title: title, Section: "lessons", Live: "/live", Body: body})
}
