package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/span"
)

func one(id, parent uint64, kind span.Kind, service string) span.Span {
	return span.Span{TraceID: span.TraceID{Hi: 1, Lo: 2}, ID: span.ID(id), ParentID: span.ID(parent), Kind: kind, Service: service,
		Version: "v1", Name: "op", Start: epoch.Add(time.Duration(id) * time.Millisecond), Duration: 10 * time.Millisecond, Received: epoch}
}

func edges(t *testing.T, s *Store) []string {
	t.Helper()
	top, err := s.Topology(t.Context(), "", backend.Window{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range top.Edges {
		out = append(out, e.From+">"+e.To+":"+itoa(int(e.Requests)))
	}
	return out
}

// TestEdges counts each call once, in whatever order its spans come.
func TestEdges(t *testing.T) {
	word := func(s span.Span, remote string) span.Span {
		s.Remote.Service = remote
		return s
	}
	shared := func(s span.Span) span.Span {
		s.Shared = true
		return s
	}
	for _, c := range []struct {
		name  string
		spans []span.Span
		want  []string
	}{
		{"client and server", []span.Span{one(1, 0, span.KindServer, "a"), one(2, 1, span.KindClient, "a"), one(3, 2, span.KindServer, "b")}, []string{"a>b:1"}},
		{"no client span", []span.Span{one(1, 0, span.KindServer, "a"), one(3, 1, span.KindServer, "b")}, []string{"a>b:1"}},
		{"two servers of one client", []span.Span{one(1, 0, span.KindClient, "a"), one(2, 1, span.KindServer, "b"), one(3, 1, span.KindServer, "c")}, []string{"a>b:1", "a>c:1"}},
		{"shared halves", []span.Span{one(1, 0, span.KindServer, "a"), one(2, 1, span.KindClient, "a"), shared(one(2, 1, span.KindServer, "b")), one(3, 2, span.KindClient, "b"), shared(one(3, 2, span.KindServer, "c"))}, []string{"a>b:1", "b>c:1"}},
		{"by the client's word", []span.Span{one(1, 0, span.KindServer, "a"), word(one(2, 1, span.KindClient, "a"), "db")}, []string{"a>db:1"}},
		{"the server's span replaces the word", []span.Span{word(one(2, 0, span.KindClient, "a"), "svc"), one(3, 2, span.KindServer, "b")}, []string{"a>b:1"}},
		{"the word is taken back once", []span.Span{word(one(2, 0, span.KindClient, "a"), "svc"), one(3, 2, span.KindServer, "b"), one(4, 2, span.KindServer, "b")}, []string{"a>b:2"}},
		{"messages", []span.Span{one(1, 0, span.KindProducer, "a"), one(2, 1, span.KindConsumer, "b")}, []string{"a>b:1"}},
		{"within one application", []span.Span{one(1, 0, span.KindServer, "a"), one(2, 1, span.KindClient, "a"), one(3, 2, span.KindServer, "a")}, nil},
		{"an orphan", []span.Span{one(3, 2, span.KindServer, "b")}, nil},
		{"its own parent", []span.Span{one(3, 3, span.KindServer, "b")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			for range 6 {
				s := New(Options{})
				for _, sp := range c.spans {
					s.Append([]span.Span{sp})
				}
				if got := edges(t, s); !slices.Equal(got, c.want) {
					t.Fatalf("order %v: got %v, want %v", c.spans, got, c.want)
				}
				r.Shuffle(len(c.spans), func(i, j int) { c.spans[i], c.spans[j] = c.spans[j], c.spans[i] })
			}
		})
	}
}

// TestLongTrace has more spans than are walked for each new one.
func TestLongTrace(t *testing.T) {
	s := New(Options{})
	var spans []span.Span
	for i := range uint64(2000) {
		kind, app := span.KindClient, "a"
		if i%2 == 1 {
			kind, app = span.KindServer, "b"
		}
		spans = append(spans, one(i+1, i, kind, app))
	}
	for i := 0; i < len(spans); i += 100 {
		s.Append(spans[i : i+100])
	}
	s.Append(spans)
	if st := s.Stats(); st.Spans != 2000 || st.Duplicates != 2000 {
		t.Errorf("%+v", st)
	}
	// Each server span answers the client before it; the client after it is its child in another application, but no server.
	if got := edges(t, s); !slices.Equal(got, []string{"a>b:1000"}) {
		t.Errorf("edges %v", got)
	}
}

func TestRequestsAndNumbers(t *testing.T) {
	s := New(Options{})
	gateway := one(1, 0, span.KindClient, "gateway") // a root of any kind is a request
	serve := one(2, 1, span.KindServer, "a")
	serve.Status = span.StatusError
	later := one(4, 0, span.KindServer, "a")
	later.TraceID.Lo, later.Version, later.Start, later.Duration = 3, "v2", epoch.Add(3*time.Minute), 30*time.Millisecond
	lost := one(5, 0, span.KindClient, "a") // a call without its context is none
	lost.TraceID.Lo = 4
	s.Append([]span.Span{gateway, serve, one(3, 2, span.KindClient, "a"), later, lost})
	apps, err := s.Applications(t.Context(), backend.Window{})
	if err != nil || len(apps) != 2 {
		t.Fatal(apps, err)
	}
	a := apps[0]
	if a.Name != "a" || a.Requests != 2 || a.Errors != 1 || a.Spans != 4 || a.Average != 20*time.Millisecond || a.Peak != 30*time.Millisecond ||
		len(a.Versions) != 2 || a.Versions[0].Requests != 1 || !a.LastSeen.Equal(later.Start) {
		t.Errorf("%+v", a)
	}
	if g := apps[1]; g.Name != "gateway" || g.Requests != 1 {
		t.Errorf("%+v", g)
	}
	points, err := s.Series(t.Context(), "a", "", backend.Window{From: epoch, To: epoch.Add(5 * time.Minute)}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var counts []int64
	for _, p := range points {
		counts = append(counts, p.Requests)
	}
	if !slices.Equal(counts, []int64{1, 0, 0, 1, 0}) || !points[0].Time.Equal(epoch) {
		t.Errorf("series %v from %v", counts, points[0].Time)
	}
	if _, err := s.Series(t.Context(), "a", "", backend.Window{From: epoch.AddDate(-1, 0, 0), To: epoch}, time.Minute); err == nil {
		t.Error("a year by the minute was answered")
	}
}

func TestQuantile(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(bucketOf(time.Duration(i+1)*time.Millisecond), 1)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.95: 950 * time.Millisecond, 0.99: 990 * time.Millisecond} {
		got := h.quantile(q)
		if off := float64(got-want) / float64(want); off < -0.07 || off > 0.07 {
			t.Errorf("quantile %v: %v, want about %v", q, got, want)
		}
	}
	for _, d := range []time.Duration{0, 1, time.Microsecond, 7 * time.Microsecond, 8 * time.Microsecond, time.Millisecond, time.Hour, 1 << 62} {
		if m := bucketMiddle(bucketOf(d)); d >= 16*time.Microsecond && (float64(m) < 0.93*float64(d) || float64(m) > 1.07*float64(d)) {
			t.Errorf("%v stands for %v", m, d)
		}
	}
}

// TestEviction fills a small store many times over.
func TestEviction(t *testing.T) {
	s := New(Options{MaxBytes: MinMaxBytes})
	r := rand.New(rand.NewPCG(3, 3))
	var last []span.Span
	total := 0
	for range 60 {
		last = randomSpans(r, 500)
		total += len(last)
		s.Append(last)
		if st := s.Stats(); st.Bytes > MinMaxBytes {
			t.Fatalf("%d bytes, allowed %d", st.Bytes, MinMaxBytes)
		}
	}
	st := s.Stats()
	if st.Evicted == 0 || st.Evicted+st.Spans+st.Duplicates != int64(total) {
		t.Errorf("of %d: %+v", total, st)
	}
	if _, err := s.Trace(t.Context(), last[len(last)-1].TraceID); err != nil {
		t.Errorf("the newest trace: %v", err)
	}
	all, err := s.Search(t.Context(), backend.Query{Limit: 1 << 20})
	if err != nil || int64(len(all.Traces)) != st.Traces {
		t.Errorf("%d traces found of %d, %v", len(all.Traces), st.Traces, err)
	}
	var held int64
	for _, sum := range all.Traces {
		held += int64(sum.Spans)
	}
	if held != st.Spans {
		t.Errorf("%d spans in summaries, %d held", held, st.Spans)
	}
}

func TestHugeSpanIsCut(t *testing.T) {
	s := New(Options{})
	sp := one(1, 0, span.KindServer, "a")
	for i := range 300 {
		sp.Tags = append(sp.Tags, span.Tag{Key: "k" + itoa(i), Value: strings.Repeat("x", 4000)})
	}
	s.Append([]span.Span{sp})
	got, err := s.Trace(t.Context(), sp.TraceID)
	if err != nil || len(got[0].Cut) == 0 || len(got[0].Tags) == 0 {
		t.Errorf("%v %v", got, err)
	}
}

func TestTraceByEitherWidth(t *testing.T) {
	s := New(Options{})
	sp := one(1, 0, span.KindServer, "a")
	s.Append([]span.Span{sp})
	for _, id := range []span.TraceID{sp.TraceID, {Lo: sp.TraceID.Lo}} {
		if got, err := s.Trace(t.Context(), id); err != nil || len(got) != 1 {
			t.Errorf("%v: %v %v", id, got, err)
		}
	}
	if _, err := s.Trace(t.Context(), span.TraceID{Hi: 9, Lo: 2}); !errors.Is(err, span.ErrNotFound) {
		t.Errorf("another trace with the same right half: %v", err)
	}
}

func TestSummary(t *testing.T) {
	now := epoch
	s := New(Options{Now: func() time.Time { return now }})
	root := one(1, 0, span.KindServer, "a")
	root.Tags = span.Tags{{Key: "http.status_code", Value: "200"}, {Key: requestIDTag, Value: "not-a-uuid"}}
	orphan := one(3, 2, span.KindServer, "b")
	s.Append([]span.Span{orphan})
	search := func(q backend.Query) backend.Summary {
		res, err := s.Search(t.Context(), q)
		if err != nil || len(res.Traces) != 1 {
			t.Fatal(res, err)
		}
		return res.Traces[0]
	}
	now = epoch.Add(time.Hour)
	if sum := search(backend.Query{}); sum.Complete || sum.Application != "b" {
		t.Errorf("an orphan alone: %+v", sum)
	}
	orphan2 := one(2, 1, span.KindClient, "a")
	s.Append([]span.Span{root, orphan2})
	sum := search(backend.Query{ID: "not-a-uuid"})
	if !sum.Complete || sum.Application != "a" || sum.Status != "200" || sum.RequestID != "not-a-uuid" || sum.Spans != 3 || len(sum.Findings) != 0 {
		t.Errorf("%+v", sum)
	}
	if res, err := s.Search(t.Context(), backend.Query{Finding: "two"}); err != nil || len(res.Traces) != 0 {
		t.Errorf("%+v %v", res, err)
	}
	if sum := search(backend.Query{EdgeFrom: "a", EdgeTo: "b"}); sum.Spans != 3 {
		t.Errorf("%+v", sum)
	}
	if res, err := s.Search(t.Context(), backend.Query{EdgeFrom: "b", EdgeTo: "a"}); err != nil || len(res.Traces) != 0 {
		t.Errorf("%+v %v", res, err)
	}
}

func TestSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		heard := make(chan span.TraceID, 10)
		s.Subscribe(ctx, func(id span.TraceID) { heard <- id })
		s.Append([]span.Span{one(1, 0, span.KindServer, "a"), one(2, 1, span.KindServer, "a")})
		s.Append([]span.Span{one(3, 1, span.KindServer, "a")})
		time.Sleep(2 * watchEvery)
		synctest.Wait()
		if len(heard) != 1 {
			t.Errorf("heard %d times of one trace within 100 ms", len(heard))
		}
		cancel()
		synctest.Wait()
		s.Append([]span.Span{one(4, 1, span.KindServer, "a")})
		time.Sleep(2 * watchEvery)
		if len(heard) != 1 {
			t.Error("heard after the end")
		}
	})
}

// TestSearchWhileSegmentsComeAndGo appends from several senders at the memory limit while others ask. What is found is
// whole: a trace in an answer has spans, and the answer keeps its order.
func TestSearchWhileSegmentsComeAndGo(t *testing.T) {
	s := New(Options{MaxBytes: MinMaxBytes})
	var senders, readers sync.WaitGroup
	stop := make(chan struct{})
	for n := range 3 {
		senders.Go(func() {
			r := rand.New(rand.NewPCG(9, uint64(n)))
			for range 25 {
				s.Append(randomSpans(r, 400))
			}
		})
	}
	for n := range 2 {
		qs := []backend.Query{{Tags: `url = "/u/77"`}, {Status: "error"}, {Application: "ratings.default", Tags: "error"}, {MinDuration: 95 * time.Millisecond}, {OrderBy: backend.ByTime}}
		readers.Go(func() {
			for i := n; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				q := qs[i%len(qs)]
				res, err := s.Search(t.Context(), q)
				if err != nil {
					t.Error(err)
					return
				}
				for i, sum := range res.Traces {
					if sum.Spans == 0 {
						t.Errorf("%+v: a trace without spans", q)
						return
					}
					// The end of a trace that has lost spans is that of all it had.
					if i > 0 && q.OrderBy == backend.ByTime && sum.Start.After(res.Traces[i-1].Start.Add(time.Second)) {
						t.Errorf("%+v: trace %d began at %v, the one before at %v", q, i, sum.Start, res.Traces[i-1].Start)
						return
					}
				}
			}
		})
	}
	senders.Wait()
	close(stop)
	readers.Wait()
	if st := s.Stats(); st.Evicted == 0 || st.Bytes > MinMaxBytes {
		t.Errorf("%+v", st)
	}
}

// TestShortLength: an index must not rule out what its shorter durations cannot tell apart.
func TestShortLength(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for range 100_000 {
		a, b := r.Int64()>>r.IntN(63), r.Int64()>>r.IntN(63)
		if a > b {
			a, b = b, a
		}
		if shortLength(a) > shortLength(b) {
			t.Fatalf("%d became %d, and %d %d", a, shortLength(a), b, shortLength(b))
		}
	}
	if a, b := shortLength(1_000_000), shortLength(1_002_000); a == b {
		t.Errorf("1 ms and 1.002 ms are both %d", a)
	}
}
