package query

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/format"
)

//go:embed openapi.yaml
var openAPIDocument []byte

func (a *API) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(openAPIDocument) //nolint:errcheck // the asker left
}

// numbers are backend.Numbers with the unit in each name.
type numbers struct {
	Requests  int64 `json:"requests"`
	Errors    int64 `json:"errors"`
	AverageUs int64 `json:"averageUs"`
	P50Us     int64 `json:"p50Us"`
	P95Us     int64 `json:"p95Us"`
	P99Us     int64 `json:"p99Us"`
	MaxUs     int64 `json:"maxUs"`
}

func numbersOf(n backend.Numbers) numbers {
	return numbers{
		Requests: n.Requests, Errors: n.Errors,
		AverageUs: n.Average.Microseconds(), P50Us: n.P50.Microseconds(),
		P95Us: n.P95.Microseconds(), P99Us: n.P99.Microseconds(), MaxUs: n.Peak.Microseconds(),
	}
}

// noted adds the note, if there is one, to an answer with numbers.
func (a *API) noted(answer map[string]any) map[string]any {
	if a.Note != "" {
		answer["note"] = a.Note
	}
	return answer
}

type application struct {
	Name string `json:"name"`
	numbers
	Spans    int64     `json:"spans"`
	Regions  []string  `json:"regions,omitempty"`
	LastSeen time.Time `json:"lastSeen"`
	Versions []version `json:"versions"`
}

type version struct {
	Name string `json:"name"`
	numbers
}

func (a *API) applications(r *http.Request) (any, error) {
	p := a.parameters(r)
	w := p.window()
	if p.err != nil {
		return nil, p.err
	}
	found, err := a.Backend.Applications(r.Context(), w)
	if err != nil {
		return nil, err
	}
	list := make([]application, 0, len(found))
	for _, f := range found {
		one := application{Name: f.Name, numbers: numbersOf(f.Numbers), Spans: f.Spans, Regions: f.Regions, LastSeen: f.LastSeen, Versions: []version{}}
		for _, v := range f.Versions {
			one.Versions = append(one.Versions, version{v.Name, numbersOf(v.Numbers)})
		}
		list = append(list, one)
	}
	return a.noted(map[string]any{"applications": list}), nil
}

type point struct {
	Time time.Time `json:"time"`
	numbers
}

func (a *API) metrics(r *http.Request) (any, error) {
	p := a.parameters(r)
	w := p.window()
	step := p.duration("step")
	if p.err == nil && step != 0 && step < time.Minute {
		p.fail("step", "at least 1m")
	}
	if p.err != nil {
		return nil, p.err
	}
	if w.To.IsZero() {
		w.To = p.now
	}
	if w.From.IsZero() {
		w.From = w.To.Add(-time.Hour)
	}
	if step == 0 {
		step = time.Minute
	}
	if w.To.Sub(w.From)/step > 10_000 {
		return nil, badParameter("step", step.String(), "a longer one: the range has more than 10,000 steps")
	}
	found, err := a.Backend.Series(r.Context(), chi.URLParam(r, "application"), p.text("version"), w, step)
	if err != nil {
		return nil, err
	}
	points := make([]point, 0, len(found))
	for _, f := range found {
		points = append(points, point{f.Time, numbersOf(f.Numbers)})
	}
	return a.noted(map[string]any{"points": points}), nil
}

type server struct {
	IP      string `json:"ip"`
	Host    string `json:"serverName"`
	Version string `json:"version"`
	numbers
	LastSeen time.Time `json:"lastSeen"`
}

func (a *API) servers(r *http.Request) (any, error) {
	p := a.parameters(r)
	w := p.window()
	if p.err != nil {
		return nil, p.err
	}
	found, err := a.Backend.Servers(r.Context(), chi.URLParam(r, "application"), w)
	if err != nil {
		return nil, err
	}
	list := make([]server, 0, len(found))
	for _, f := range found {
		list = append(list, server{f.IP, f.Host, f.Version, numbersOf(f.Numbers), f.LastSeen})
	}
	return a.noted(map[string]any{"servers": list}), nil
}

func (a *API) names(r *http.Request) (any, error) {
	list, err := orEmpty(a.Backend.Names(r.Context(), chi.URLParam(r, "application")))
	return map[string]any{"names": list}, err
}

type node struct {
	Application string `json:"application"`
	Version     string `json:"version"`
	numbers
}

type edge struct {
	From        string `json:"from"`
	FromVersion string `json:"fromVersion"`
	To          string `json:"to"`
	ToVersion   string `json:"toVersion"`
	numbers
}

func (a *API) topology(r *http.Request) (any, error) {
	p := a.parameters(r)
	w := p.window()
	if p.err != nil {
		return nil, p.err
	}
	found, err := a.Backend.Topology(r.Context(), p.text("application"), w)
	if err != nil {
		return nil, err
	}
	nodes, edges := make([]node, 0, len(found.Nodes)), make([]edge, 0, len(found.Edges))
	for _, n := range found.Nodes {
		nodes = append(nodes, node{n.Application, n.Version, numbersOf(n.Numbers)})
	}
	for _, e := range found.Edges {
		edges = append(edges, edge{e.From, e.FromVersion, e.To, e.ToVersion, numbersOf(e.Numbers)})
	}
	return a.noted(map[string]any{"nodes": nodes, "edges": edges}), nil
}

type summary struct {
	TraceID     string         `json:"traceId"`
	Start       time.Time      `json:"start"`
	DurationUs  int64          `json:"durationUs"`
	Application string         `json:"application"`
	Name        string         `json:"name"`
	IP          string         `json:"ip"`
	Host        string         `json:"serverName"`
	Status      string         `json:"status"`
	RequestID   string         `json:"requestId"`
	Spans       int            `json:"spans"`
	Errors      int            `json:"errors"`
	Services    []serviceCount `json:"services"`
	Findings    []string       `json:"findings"`
	Complete    bool           `json:"complete"`
}

type serviceCount struct {
	Application string `json:"application"`
	Spans       int    `json:"spans"`
	Errors      int    `json:"errors"`
}

func (a *API) traces(r *http.Request) (any, error) {
	p := a.parameters(r)
	q := backend.Query{
		Window:      p.window(),
		Application: p.text("application"),
		Version:     p.text("version"),
		Name:        p.text("name"),
		Status:      p.choice("status", "", "ok", "error"),
		MinDuration: p.duration("minDuration"),
		MaxDuration: p.duration("maxDuration"),
		IP:          p.text("ip"),
		ID:          p.text("id"),
		Tags:        p.text("tags"),
		OrderBy:     backend.Order(p.choice("order", string(backend.ByDuration), string(backend.ByTime))),
		Limit:       p.count("limit", 100, 1, 1000),
		EdgeFrom:    p.text("from-application"),
		EdgeTo:      p.text("to-application"),
		Finding:     p.text("finding"),
	}
	if p.err != nil {
		return nil, p.err
	}
	found, err := a.Backend.Search(r.Context(), q)
	if err != nil {
		return nil, err
	}
	list := make([]summary, 0, len(found.Traces))
	for _, f := range found.Traces {
		list = append(list, summaryOf(f))
	}
	return map[string]any{"traces": list, "more": found.More, "scannedSpans": found.Scanned}, nil
}

func summaryOf(f backend.Summary) summary {
	s := summary{
		TraceID: f.TraceID.String(), Start: f.Start, DurationUs: f.Duration.Microseconds(),
		Application: f.Application, Name: f.Name, IP: f.IP, Host: f.Host, Status: f.Status, RequestID: f.RequestID,
		Spans: f.Spans, Errors: f.Errors, Services: []serviceCount{}, Findings: f.Findings, Complete: f.Complete,
	}
	for _, c := range f.Services {
		s.Services = append(s.Services, serviceCount(c))
	}
	if s.Findings == nil {
		s.Findings = []string{}
	}
	return s
}

func (a *API) trace(r *http.Request) (any, error) {
	p := a.parameters(r)
	as := p.choice("format", "tree", "otlp", "zipkin", "jaeger")
	if p.err != nil {
		return nil, p.err
	}
	spans, err := a.spansOf(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		return nil, err
	}
	switch as {
	case "otlp":
		return format.OTLP(spans), nil
	case "zipkin":
		return format.Zipkin(spans), nil
	case "jaeger":
		return format.JaegerTraces{Data: []format.JaegerTrace{format.Jaeger(spans)}, Total: 1}, nil
	}
	answer := treeOf(spans)
	if a.Examine != nil {
		answer.Findings = findings(a.Examine(r.Context(), spans))
	}
	return answer, nil
}

// load takes in a file of OTLP, Zipkin or Jaeger JSON.
func (a *API) load(r *http.Request) (any, error) {
	if a.Import == nil {
		return nil, backend.ErrUnsupported
	}
	ids, err := a.Import(r.Context(), r.Body)
	if err != nil {
		return nil, err
	}
	traces := make([]string, len(ids))
	for i, id := range ids {
		traces[i] = id.String()
	}
	return map[string]any{"traceIds": traces}, nil
}

func (a *API) tagKeys(r *http.Request) (any, error) {
	p := a.parameters(r)
	limit := p.count("limit", 100, 1, 1000)
	if p.err != nil {
		return nil, p.err
	}
	list, err := orEmpty(a.Backend.TagKeys(r.Context(), p.text("prefix"), limit))
	return map[string]any{"keys": list}, err
}

func (a *API) tagValues(r *http.Request) (any, error) {
	p := a.parameters(r)
	limit := p.count("limit", 100, 1, 1000)
	if p.err != nil {
		return nil, p.err
	}
	list, err := orEmpty(a.Backend.TagValues(r.Context(), chi.URLParam(r, "key"), p.text("prefix"), limit))
	return map[string]any{"values": list}, err
}

// usage is backend.Usage with JSON names.
type usage struct {
	Day        string     `json:"day"`
	Spans      int64      `json:"spans"`
	Bytes      int64      `json:"bytes"`
	QuotaSpans int64      `json:"quotaSpans"`
	QuotaBytes int64      `json:"quotaBytes"`
	Refused    int64      `json:"refused"`
	HeldSpans  int64      `json:"heldSpans"`
	HeldBytes  int64      `json:"heldBytes"`
	MaxBytes   int64      `json:"maxBytes"`
	Evicted    int64      `json:"evicted"`
	Cut        int64      `json:"cut"`
	Malformed  int64      `json:"malformed"`
	History    []dayUsage `json:"history"`
}

type dayUsage struct {
	Day     string `json:"day"`
	Spans   int64  `json:"spans"`
	Bytes   int64  `json:"bytes"`
	Refused int64  `json:"refused"`
}

func (a *API) usage(*http.Request) (any, error) {
	if a.Admin == nil {
		return nil, backend.ErrUnsupported
	}
	u := a.Admin.Usage()
	history := make([]dayUsage, 0, len(u.History))
	for _, d := range u.History {
		history = append(history, dayUsage(d))
	}
	return usage{u.Day, u.Spans, u.Bytes, u.QuotaSpans, u.QuotaBytes, u.Refused, u.HeldSpans, u.HeldBytes, u.MaxBytes, u.Evicted, u.Cut, u.Malformed, history}, nil
}

type push struct {
	Time     time.Time `json:"time"`
	Sender   string    `json:"sender"`
	Agent    string    `json:"agent"`
	Protocol string    `json:"protocol"`
	Bytes    int64     `json:"bytes"`
	Spans    int       `json:"spans"`
	Status   int       `json:"status"`
	Error    string    `json:"error,omitempty"`
}

func (a *API) pushes(*http.Request) (any, error) {
	if a.Admin == nil {
		return nil, backend.ErrUnsupported
	}
	log := a.Admin.PushLog()
	list := make([]push, 0, len(log))
	for _, l := range log {
		list = append(list, push(l))
	}
	return map[string]any{"pushes": list}, nil
}

func (a *API) settings(*http.Request) (any, error) {
	if a.Admin == nil {
		return nil, backend.ErrUnsupported
	}
	return a.Admin.Settings(), nil
}

const maxSettings = 1 << 20

// updateSettings merges a JSON object into the settings: fields which it does not name stay, an application's entry
// is replaced as a whole, and null removes it.
func (a *API) updateSettings(r *http.Request) (any, error) {
	if a.Admin == nil {
		return nil, backend.ErrUnsupported
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSettings+1))
	if err != nil {
		return nil, badRequest{"body: " + err.Error()}
	}
	if len(body) > maxSettings {
		return nil, badRequest{fmt.Sprintf("body: more than %d bytes", maxSettings)}
	}
	var change struct {
		QuotaSpans   *int64                                  `json:"quotaSpans"`
		QuotaBytes   *int64                                  `json:"quotaBytes"`
		Applications map[string]*backend.ApplicationSettings `json:"applications"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&change); err != nil {
		return nil, badRequest{"body: " + err.Error()}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, badRequest{"body: want one JSON object and nothing after it"}
	}
	for name, quota := range map[string]*int64{"quotaSpans": change.QuotaSpans, "quotaBytes": change.QuotaBytes} {
		if quota != nil && *quota < 0 {
			return nil, badRequest{fmt.Sprintf("%s: %d: want 0 (no quota) or more", name, *quota)}
		}
	}
	err = a.Admin.Update(func(s *backend.Settings) error {
		if change.QuotaSpans != nil {
			s.QuotaSpans = *change.QuotaSpans
		}
		if change.QuotaBytes != nil {
			s.QuotaBytes = *change.QuotaBytes
		}
		for name, settings := range change.Applications {
			if settings == nil {
				delete(s.Applications, name)
				continue
			}
			if s.Applications == nil {
				s.Applications = map[string]backend.ApplicationSettings{}
			}
			s.Applications[name] = *settings
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.Admin.Settings(), nil
}
