package doctor

import (
	"slices"
	"strings"
	"time"

	"example.com/bookinfo/services/console/span"
)

// request indexes the spans of one request.
type request struct {
	spans        []span.Span
	known        Knowledge
	byID         map[key][]int
	parents      []int // see parent
	children     [][]int
	servers      map[string][]int // SERVER spans by application, by start
	requests     map[call]int     // the first SERVER span of an application with an x-request-id
	under        map[below]int    // the first SERVER span of an application below a span
	explained    []bool           // see explain
	lastReceived time.Time
	findings     []Finding
}

// key names a span by the right half of its trace id, so that a trace whose id was cut to 64 bits stays one trace.
type key struct {
	trace uint64
	id    span.ID
}

type call struct{ application, requestID string }

type below struct {
	parent      int
	application string
}

// fewest bounds how many spans are looked at where one usually is enough: spans with one id, SERVER spans around a
// moment. Whoever sends more of them has a trace that no doctor can tell apart.
const fewest = 64

func newRequest(spans []span.Span, known Knowledge) *request {
	if known.Callees == nil {
		known.Callees = func(*span.Span) []string { return nil }
	}
	if known.Serves == nil {
		known.Serves = func(string) bool { return false }
	}
	r := &request{
		spans: slices.Clone(spans), known: known,
		byID: make(map[key][]int, len(spans)), parents: make([]int, len(spans)), children: make([][]int, len(spans)),
		servers: map[string][]int{}, requests: map[call]int{}, under: map[below]int{},
	}
	slices.SortStableFunc(r.spans, func(a, b span.Span) int { return a.Start.Compare(b.Start) })
	for i := range r.spans {
		s := &r.spans[i]
		r.byID[key{s.TraceID.Lo, s.ID}] = append(r.byID[key{s.TraceID.Lo, s.ID}], i)
		if s.Kind == span.KindServer {
			r.servers[s.Service] = append(r.servers[s.Service], i)
			if id := s.RequestID(); id != "" && fromProxy(s) {
				if _, known := r.requests[call{s.Service, id}]; !known {
					r.requests[call{s.Service, id}] = i
				}
			}
		}
		if s.Received.After(r.lastReceived) {
			r.lastReceived = s.Received
		}
	}
	for i := range r.spans {
		p := r.findParent(i)
		r.parents[i] = p
		if p < 0 || p == i {
			continue
		}
		r.children[p] = append(r.children[p], i)
		if s := &r.spans[i]; s.Kind == span.KindServer {
			if _, known := r.under[below{p, s.Service}]; !known {
				r.under[below{p, s.Service}] = i
			}
		}
	}
	return r
}

func (r *request) parent(i int) int { return r.parents[i] }

// findParent is the index of the span's parent, -1 for a root or where the parent did not come. With a shared Zipkin id
// the client half is the parent of the server half, and the server half that of its children.
func (r *request) findParent(i int) int {
	s := &r.spans[i]
	if s.Shared {
		for _, p := range first(r.byID[key{s.TraceID.Lo, s.ID}]) {
			if p != i && !r.spans[p].Shared {
				return p
			}
		}
	}
	if s.ParentID == 0 {
		return -1
	}
	found := -1
	for _, p := range first(r.byID[key{s.TraceID.Lo, s.ParentID}]) {
		if found < 0 || r.spans[p].Shared || r.spans[p].Service == s.Service {
			found = p
		}
	}
	return found
}

func first(at []int) []int { return at[:min(len(at), fewest)] }

// orphan reports whether the span names a parent that did not come.
func (r *request) orphan(i int) bool {
	return r.spans[i].ParentID != 0 && len(r.byID[key{r.spans[i].TraceID.Lo, r.spans[i].ParentID}]) == 0
}

// edge reports whether an application stands at the mesh's edge, where a trace may begin: a gateway, or a client
// that nobody calls.
func (r *request) edge(i int) bool {
	s := &r.spans[i]
	if node, ok := s.Tags.Get("node_id"); ok {
		if kind, _, ok := strings.Cut(node, "~"); ok {
			return kind == "router"
		}
	}
	if edgeService(s.Service) {
		return true
	}
	return len(r.servers[s.Service]) == 0 && !r.known.Serves(s.Service)
}

// served is the SERVER span during which the application made the call i that lost its context: one with the same
// x-request-id, else the latest begun one around it. It is the proxy's where the application makes SERVER spans too.
// sure is false where several could be it.
func (r *request) served(i int) (server int, byRequestID, sure bool) {
	s := &r.spans[i]
	if c, known := r.requests[call{s.Service, s.RequestID()}]; known && c != i && samePlace(s, &r.spans[c]) {
		return c, true, true
	}
	server = -1
	candidates := 0
	around := r.servers[s.Service]
	last, _ := slices.BinarySearchFunc(around, s.Start.Add(1), func(c int, t time.Time) int { return r.spans[c].Start.Compare(t) })
	for _, c := range around[max(0, last-fewest):last] {
		if m := &r.spans[c]; c != i && within(s, m) && samePlace(s, m) && fromProxy(m) {
			server = c
			candidates++
		}
	}
	return server, false, candidates == 1
}

// callee is the application that a CLIENT span called: its SERVER child's, else what the proxy tells of the cluster.
func (r *request) callee(i int) string {
	for _, c := range r.children[i] {
		if r.spans[c].Kind == span.KindServer {
			return r.spans[c].Service
		}
	}
	s := &r.spans[i]
	if s.Remote.Service != "" {
		return s.Remote.Service
	}
	host, _, _ := strings.Cut(s.Name, ":")
	if cluster, ok := s.Tags.Get("upstream_cluster.name"); ok {
		if parts := strings.Split(strings.TrimSuffix(cluster, ";"), "|"); len(parts) == 4 {
			host = parts[3]
		}
	}
	parts := strings.Split(host, ".")
	if len(parts) >= 3 && parts[2] == "svc" {
		return parts[0] + "." + parts[1]
	}
	return host
}

// caller is the application whose CLIENT span is the parent of a SERVER span.
func (r *request) caller(server int) string {
	if server < 0 {
		return ""
	}
	if p := r.parent(server); p >= 0 {
		return r.spans[p].Service
	}
	return ""
}

func (r *request) evidence(i int) Evidence {
	return Evidence{r.spans[i].TraceID, r.spans[i].ID}
}

func (r *request) startOf(e Evidence) time.Time {
	if at := r.byID[key{e.TraceID.Lo, e.SpanID}]; len(at) > 0 {
		return r.spans[at[0]].Start
	}
	return time.Time{}
}

// add files a finding; the same kind at the same application is one finding with more evidence.
func (r *request) add(f Finding) {
	for i := range r.findings {
		have := &r.findings[i]
		if have.Kind != f.Kind || have.Application != f.Application {
			continue
		}
		for _, c := range f.Callees {
			if !slices.Contains(have.Callees, c) {
				have.Callees = append(have.Callees, c)
			}
		}
		for _, h := range f.Headers {
			if !slices.Contains(have.Headers, h) {
				have.Headers = append(have.Headers, h)
			}
		}
		for _, e := range f.Evidence {
			if len(have.Evidence) < fewest && !slices.Contains(have.Evidence, e) {
				have.Evidence = append(have.Evidence, e)
			}
		}
		if rank(f.Confidence) < rank(have.Confidence) {
			have.Confidence = f.Confidence
		}
		return
	}
	r.findings = append(r.findings, f)
}

func rank(c Confidence) int {
	return slices.Index([]Confidence{Certain, Likely, Possible}, c)
}

func (r *request) has(kind Kind, application string) bool {
	return slices.ContainsFunc(r.findings, func(f Finding) bool { return f.Kind == kind && f.Application == application })
}
