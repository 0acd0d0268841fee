package store

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/expr"
	"example.com/bookinfo/services/console/span"
)

// epoch is when the test's spans begin.
var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// randomSpans makes traces with calls, errors, shared ids, values of low and high cardinality, events and links.
func randomSpans(r *rand.Rand, traces int) []span.Span {
	apps := []string{"gateway", "productpage.default", "details.default", "reviews.default", "ratings.default"}
	var all []span.Span
	for n := range traces {
		id := span.TraceID{Hi: r.Uint64() * uint64(r.IntN(3)), Lo: r.Uint64() | 1}
		start := epoch.Add(time.Duration(n) * 37 * time.Millisecond)
		request := formatUUID(r.Uint64(), r.Uint64())
		var parent span.ID
		for k := range 1 + r.IntN(9) {
			s := span.Span{TraceID: id, ID: span.ID(r.Uint64() | 1), ParentID: parent, Kind: span.Kind(1 + r.IntN(5)),
				Service: apps[r.IntN(len(apps))], Name: fmt.Sprintf("op-%d", r.IntN(7)), Version: fmt.Sprintf("v%d", r.IntN(3)),
				IP: fmt.Sprintf("10.0.0.%d", r.IntN(5)), Start: start.Add(time.Duration(k) * time.Millisecond),
				Duration: time.Duration(r.IntN(100_000)) * time.Microsecond, Received: start.Add(time.Second)}
			if r.IntN(4) == 0 {
				s.Host = "pod-" + s.IP
			}
			code := []string{"200", "200", "404", "503"}[r.IntN(4)]
			s.Tags = span.Tags{{Key: "http.status_code", Value: code}, {Key: "component", Value: "proxy"}}
			if r.IntN(3) > 0 {
				s.Tags = append(s.Tags, span.Tag{Key: requestIDTag, Value: request})
			}
			if r.IntN(20) == 0 {
				s.Tags = append(s.Tags, span.Tag{Key: requestIDTag + ".other", Value: formatUUID(r.Uint64(), 1)})
			}
			if r.IntN(2) == 0 {
				s.Tags = append(s.Tags, span.Tag{Key: "url", Value: fmt.Sprintf("/u/%d", r.IntN(1500))})
			}
			if code == "503" {
				s.Status, s.StatusMessage = span.StatusError, "unavailable"
				s.Tags = append(s.Tags, span.Tag{Key: "error", Value: "true"})
			}
			if r.IntN(5) == 0 {
				s.Resource = span.Tags{{Key: "host.arch", Value: "amd64"}, {Key: "http.status_code", Value: "999"}}
				s.Scope, s.TraceState = "lib 1", "a=1"
				s.Events = []span.Event{{Time: s.Start.Add(5), Name: "ev", Tags: span.Tags{{Key: "k", Value: "v"}}}, {Time: s.Start.Add(-7), Name: "ss"}}
				s.Links = []span.Link{{TraceID: span.TraceID{Hi: 1, Lo: r.Uint64()}, SpanID: 7, Tags: span.Tags{{Key: "l", Value: "w"}}}}
				s.Remote = span.Endpoint{Service: "db", IP: "10.9.9.9", Port: 3306}
				s.Cut = []string{"tags"}
			}
			all = append(all, s)
			if r.IntN(3) > 0 {
				parent = s.ID
			}
			if s.Kind == span.KindClient && r.IntN(8) == 0 {
				half := s
				half.Kind, half.Shared, half.Service = span.KindServer, true, apps[r.IntN(len(apps))]
				all = append(all, half)
			}
		}
	}
	return all
}

func normal(s span.Span) span.Span {
	if len(s.Tags) == 0 {
		s.Tags = nil
	}
	return s
}

func describe(s span.Span) string { return fmt.Sprintf("%+v", normal(s)) }

// naive answers a query by looking at every span.
func naive(byTrace map[span.TraceID][]span.Span, q backend.Query) []string {
	var e *expr.Expr
	if q.Tags != "" {
		e, _ = expr.Parse(q.Tags)
	}
	single := q.Application != "" || q.Version != "" || q.Name != "" || q.IP != "" || e != nil
	in := func(t time.Time) bool {
		return (q.From.IsZero() || !t.Before(q.From)) && (q.To.IsZero() || t.Before(q.To))
	}
	lasts := func(d time.Duration) bool { return d >= q.MinDuration && (q.MaxDuration == 0 || d <= q.MaxDuration) }
	type hit struct {
		id    span.TraceID
		start time.Time
		d     time.Duration
	}
	var hits []hit
	for id, trace := range byTrace {
		h := hit{id: id, start: trace[0].Start}
		end, failed, match := trace[0].End(), false, false
		for i := range trace {
			s := &trace[i]
			if s.Start.Before(h.start) {
				h.start = s.Start
			}
			if s.End().After(end) {
				end = s.End()
			}
			failed = failed || s.Error()
			get := func(key string) (string, bool) {
				if v, ok := s.Tags.Get(key); ok {
					return v, true
				}
				return s.Resource.Get(key)
			}
			match = match || in(s.Start) && lasts(s.Duration) &&
				(q.Application == "" || s.Service == q.Application) && (q.Version == "" || s.Version == q.Version) &&
				(q.Name == "" || s.Name == q.Name) && (q.IP == "" || s.IP == q.IP || s.Host == q.IP) &&
				(q.Status != "error" || s.Error()) && (q.Status != "ok" || !s.Error()) && (e == nil || e.Match(get))
		}
		h.d = end.Sub(h.start)
		if !single {
			match = in(h.start) && lasts(h.d) && (q.Status != "error" || failed) && (q.Status != "ok" || !failed)
		}
		if q.ID != "" {
			found := strings.HasPrefix(id.String(), q.ID) || id.Hi == 0 && strings.HasPrefix(span.ID(id.Lo).String(), q.ID)
			for _, s := range trace {
				found = found || s.RequestID() != "" && strings.HasPrefix(s.RequestID(), q.ID)
			}
			match = match && found
		}
		if match {
			hits = append(hits, h)
		}
	}
	slices.SortFunc(hits, func(a, b hit) int {
		if q.OrderBy == backend.ByTime {
			return cmp.Or(b.start.Compare(a.start), cmp.Compare(a.id.Hi, b.id.Hi), cmp.Compare(a.id.Lo, b.id.Lo))
		}
		return cmp.Or(cmp.Compare(b.d, a.d), b.start.Compare(a.start), cmp.Compare(a.id.Hi, b.id.Hi), cmp.Compare(a.id.Lo, b.id.Lo))
	})
	var ids []string
	for _, h := range hits[:min(len(hits), q.Limit)] {
		ids = append(ids, h.id.String())
	}
	return ids
}

func queries(spans []span.Span) []backend.Query {
	some := spans[len(spans)/2]
	qs := []backend.Query{
		{}, {Application: "ratings.default"}, {Application: "nobody"}, {Version: "v2"}, {Name: "op-3"},
		{Application: "reviews.default", Name: "op-1", Version: "v1"}, {Status: "error"}, {Status: "ok"},
		{Status: "ok", Application: "details.default"}, {IP: "10.0.0.3"}, {IP: "pod-10.0.0.3"},
		{MinDuration: 90 * time.Millisecond}, {MinDuration: 20 * time.Millisecond, MaxDuration: 30 * time.Millisecond},
		{MaxDuration: 5 * time.Millisecond}, {Application: "gateway", MinDuration: 95 * time.Millisecond},
		{Name: "op-2", MaxDuration: 2 * time.Millisecond},
		{Tags: `http.status_code >= 500`}, {Tags: `http.status_code = 999`}, {Tags: `url = "/u/77"`}, {Tags: `url = "/u/nowhere"`},
		{Tags: `host.arch`}, {Tags: `not component`}, {Tags: `error and component = proxy`}, {Tags: `missing`},
		{Tags: `url = "/u/3" or http.status_code = 404`}, {Tags: `url >= "/u/149"`, Application: "productpage.default"},
		{Tags: requestIDTag + ` = "` + some.RequestID() + `"`}, {Tags: requestIDTag},
		{ID: some.TraceID.String()}, {ID: some.TraceID.String()[:7]}, {ID: "no-such"},
		{ID: span.ID(some.TraceID.Lo).String()[:5]},
	}
	w := backend.Window{From: epoch.Add(5 * time.Second), To: epoch.Add(9 * time.Second)}
	for _, q := range qs[:28] {
		q.Window = w
		qs = append(qs, q)
	}
	qs = append(qs, backend.Query{Window: backend.Window{From: epoch.Add(-time.Hour), To: epoch}})
	for _, s := range spans {
		if s.RequestID() != "" {
			qs = append(qs, backend.Query{ID: s.RequestID()}, backend.Query{ID: s.RequestID()[:10]})
			break
		}
	}
	for _, q := range slices.Clone(qs) {
		q.OrderBy = backend.ByTime
		qs = append(qs, q)
	}
	for i := range qs {
		qs[i].Limit = []int{1, 10, 100, 10_000}[i%4]
		if qs[i].OrderBy == "" {
			qs[i].OrderBy = backend.ByDuration
		}
	}
	return qs
}

// TestAgainstModel compares every answer with that of looking at all spans, in one segment and in many.
func TestAgainstModel(t *testing.T) {
	for _, traces := range []int{3, 400, 7_000} {
		t.Run(fmt.Sprint(traces), func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, uint64(traces)))
			spans := randomSpans(r, traces)
			s := New(Options{MaxBytes: 48 << 20, Now: func() time.Time { return epoch.Add(time.Hour) }})
			in := slices.Clone(spans)
			// Late and repeated spans.
			for range len(in) / 3 {
				i := r.IntN(len(in))
				j := min(i+r.IntN(300), len(in)-1)
				in[i], in[j] = in[j], in[i]
			}
			for i := 0; i < len(in); i += 50 {
				s.Append(in[i:min(i+50, len(in))])
			}
			s.Append(in[len(in)-min(len(in), 40):])
			st := s.Stats()
			if st.Evicted > 0 || int(st.Spans) != len(spans) || int(st.Duplicates) != min(len(in), 40) {
				t.Fatalf("%d spans became %+v", len(spans), st)
			}
			if traces > 1000 && st.Segments < 3 {
				t.Fatalf("only %d segments", st.Segments)
			}
			byTrace := map[span.TraceID][]string{}
			for _, sp := range spans {
				byTrace[sp.TraceID] = append(byTrace[sp.TraceID], describe(sp))
			}
			for id, want := range byTrace {
				got, err := s.Trace(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				var have []string
				for _, sp := range got {
					have = append(have, describe(sp))
				}
				slices.Sort(have)
				slices.Sort(want)
				if !slices.Equal(have, want) {
					t.Fatalf("trace %s: got\n%s\nwant\n%s", id, strings.Join(have, "\n"), strings.Join(want, "\n"))
				}
			}
			traces := map[span.TraceID][]span.Span{}
			for _, s := range spans {
				traces[s.TraceID] = append(traces[s.TraceID], s)
			}
			for _, q := range queries(spans) {
				res, err := s.Search(t.Context(), q)
				if err != nil {
					t.Fatalf("%+v: %v", q, err)
				}
				var got []string
				for _, sum := range res.Traces {
					got = append(got, sum.TraceID.String())
				}
				if want := naive(traces, q); !slices.Equal(got, want) {
					t.Errorf("%+v: got %d traces, want %d; %.300v instead of %.300v", q, len(got), len(want), got, want)
				}
			}
		})
	}
}
