package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/expr"
	"example.com/bookinfo/services/console/query"
	"example.com/bookinfo/services/console/recorded"
	"example.com/bookinfo/services/console/remote"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/store"
)

// engine is a store behind the APIs of Jaeger and Zipkin.
type engine struct {
	store *store.Store
	ids   []span.TraceID
	begin time.Time
	now   time.Time
	url   string

	mu    sync.Mutex
	asked []string
}

func (e *engine) clock() time.Time { return e.now }

// newEngine holds Bookinfo's page ten times: one request fails, one is slow, two see reviews v1 and v2.
func newEngine(t *testing.T) *engine {
	t.Helper()
	e := &engine{begin: time.Unix(1_700_000_000, 0)}
	e.now = e.begin
	e.store = store.New(store.Options{Now: e.clock})
	chain := recorded.Find(t, "all/b3/gateway-two-spans")
	for i := range 10 {
		o := recorded.Options{Start: e.now, Seed: uint64(i + 1)}
		switch i {
		case 2, 3:
			o.Reviews = fmt.Sprintf("v%d", i-1)
		case 5:
			o.Slow = map[string]time.Duration{"ratings.default": time.Second}
		case 7:
			o.Fail = "ratings.default"
		}
		spans := chain.Spans(o)
		e.ids = append(e.ids, spans[0].TraceID)
		e.store.Append(spans)
		e.now = e.now.Add(time.Minute)
	}
	r := chi.NewRouter()
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e.mu.Lock()
			e.asked = append(e.asked, r.URL.Path)
			e.mu.Unlock()
			next.ServeHTTP(w, r)
		})
	})
	(&query.API{Backend: e.store, Now: e.clock}).Routes(r)
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

func (e *engine) remote(t *testing.T, kind string) *remote.Backend {
	t.Helper()
	o, err := remote.Parse(kind + "=" + e.url)
	if err != nil {
		t.Fatal(err)
	}
	o.Now = e.clock
	return remote.New(o)
}

// roughly lets times differ by what Zipkin's microseconds cut off, and by what only the engine knows.
func roughly() cmp.Options {
	return cmp.Options{
		cmpopts.EquateApproxTime(time.Microsecond),
		cmpopts.IgnoreFields(backend.Result{}, "Scanned"),
		cmpopts.IgnoreFields(backend.Summary{}, "Complete"),
		cmpopts.IgnoreFields(span.Span{}, "Received", "Cut", "Scope", "Resource", "Host"),
		cmpopts.SortSlices(func(a, b span.Tag) bool { return a.Key < b.Key }),
		cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= time.Microsecond }),
	}
}

// TestAnswersAreThoseOfTheEngine asks a store itself, and through each of the two APIs.
func TestAnswersAreThoseOfTheEngine(t *testing.T) {
	e := newEngine(t)
	ctx := t.Context()
	last := backend.Window{From: e.begin.Add(5 * time.Minute), To: e.begin.Add(9 * time.Minute)}
	summary, err := e.store.Search(ctx, backend.Query{ID: e.ids[4].String()})
	if err != nil {
		t.Fatal(err)
	}
	requestID := summary.Traces[0].RequestID
	questions := map[string]func(backend.Backend) (any, error){
		"applications":         func(b backend.Backend) (any, error) { return b.Applications(ctx, backend.Window{}) },
		"applications, window": func(b backend.Backend) (any, error) { return b.Applications(ctx, last) },
		"series": func(b backend.Backend) (any, error) {
			return b.Series(ctx, "ratings.default", "", last, 2*time.Minute)
		},
		"series of a version": func(b backend.Backend) (any, error) {
			return b.Series(ctx, "reviews.default", "v1", backend.Window{}, time.Minute)
		},
		"servers":                   func(b backend.Backend) (any, error) { return b.Servers(ctx, "reviews.default", backend.Window{}) },
		"topology":                  func(b backend.Backend) (any, error) { return b.Topology(ctx, "", backend.Window{}) },
		"topology of one":           func(b backend.Backend) (any, error) { return b.Topology(ctx, "details.default", last) },
		"names":                     func(b backend.Backend) (any, error) { return b.Names(ctx, "ratings.default") },
		"all names":                 func(b backend.Backend) (any, error) { return b.Names(ctx, "") },
		"tag values":                func(b backend.Backend) (any, error) { return b.TagValues(ctx, "http.status_code", "", 10) },
		"a trace":                   func(b backend.Backend) (any, error) { return b.Trace(ctx, e.ids[3]) },
		"a trace that is not there": func(b backend.Backend) (any, error) { return b.Trace(ctx, span.TraceID{Lo: 7}) },
	}
	for name, q := range map[string]backend.Query{
		"search":                   {},
		"search, newest":           {OrderBy: backend.ByTime, Limit: 3},
		"search, window":           {Window: last},
		"search, application":      {Application: "details.default", OrderBy: backend.ByTime, Limit: 2},
		"search, name":             {Application: "ratings.default", Name: "ratings.default.svc.cluster.local:9080/*"},
		"search, name alone":       {Name: "ratings.default.svc.cluster.local:9080/*"},
		"search, version":          {Application: "reviews.default", Version: "v1"},
		"search, errors":           {Status: "error"},
		"search, errors of one":    {Application: "ratings.default", Status: "error"},
		"search, ok":               {Status: "ok"},
		"search, slow":             {MinDuration: 500 * time.Millisecond},
		"search, slow application": {Application: "ratings.default", MinDuration: 500 * time.Millisecond, MaxDuration: 5 * time.Second},
		"search, quick":            {MaxDuration: 500 * time.Millisecond},
		"search, tag":              {Tags: `http.status_code = "500"`},
		"search, tags":             {Tags: `http.status_code >= 500 and not (component = "x" or missing)`},
		"search, nothing":          {Tags: `http.url = "http://nowhere/?a=b and c"`},
		"search, address":          {IP: e.addressOf(t, "ratings.default")},
		"search, edge":             {EdgeFrom: "productpage.default", EdgeTo: "details.default"},
		"search, trace id":         {ID: e.ids[6].String()},
		"search, no such id":       {ID: strings.Repeat("7", 32)},
		"search, request id":       {ID: requestID},
		"search, wrong expression": {Tags: "a = and"},
	} {
		questions[name] = func(b backend.Backend) (any, error) { return b.Search(ctx, q) }
	}
	for _, kind := range []string{"zipkin", "jaeger"} {
		for name, ask := range questions {
			t.Run(kind+"/"+name, func(t *testing.T) {
				want, wantErr := ask(e.store)
				got, err := ask(e.remote(t, kind))
				var wrong *expr.Error
				switch {
				case wantErr == nil && err != nil:
					t.Fatal(err)
				case errors.Is(wantErr, span.ErrNotFound) && !errors.Is(err, span.ErrNotFound),
					errors.As(wantErr, &wrong) && !errors.As(err, &wrong):
					t.Fatalf("error %v, want %v", err, wantErr)
				}
				if diff := cmp.Diff(want, got, roughly()); diff != "" {
					t.Errorf("-engine +remote:\n%s", diff)
				}
			})
		}
	}
}

func (e *engine) addressOf(t *testing.T, app string) string {
	t.Helper()
	servers, err := e.store.Servers(t.Context(), app, backend.Window{})
	if err != nil || len(servers) == 0 {
		t.Fatalf("no server: %v", err)
	}
	return servers[0].IP
}

// TestAPageAsksTheEngineOnce: what one page needs comes from one sample, and what a list brought is not asked again.
func TestAPageAsksTheEngineOnce(t *testing.T) {
	e := newEngine(t)
	b := e.remote(t, "zipkin")
	w := backend.Window{From: e.begin, To: e.now}
	for range 3 {
		if _, err := b.Applications(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Topology(t.Context(), "", w); err != nil {
			t.Fatal(err)
		}
	}
	if want := 1 + 5; len(e.asked) != want { // services, and the traces of each
		t.Errorf("asked %d times, want %d: %q", len(e.asked), want, e.asked)
	}
	e.asked = nil
	result, err := b.Search(t.Context(), backend.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range result.Traces {
		if _, err := b.Trace(t.Context(), s.TraceID); err != nil {
			t.Fatal(err)
		}
	}
	if len(e.asked) != 1 {
		t.Errorf("a list and its traces took %d questions: %q", len(e.asked), e.asked)
	}
	e.now = e.now.Add(time.Hour)
	if _, err := b.Applications(t.Context(), w); err != nil || len(e.asked) != 1+6 {
		t.Errorf("an old sample was used: %q, %v", e.asked, err)
	}
}

// TestMoreSaysThatTheEngineMayHoldMore: the sample is bounded, and a list that reached the bound says so.
func TestMoreSaysThatTheEngineMayHoldMore(t *testing.T) {
	e := newEngine(t)
	result, err := e.remote(t, "jaeger").Search(t.Context(), backend.Query{Limit: 4})
	if err != nil || len(result.Traces) != 4 || !result.More {
		t.Errorf("%d traces, more %v, %v; want 4 and more", len(result.Traces), result.More, err)
	}
}

func TestUnsupported(t *testing.T) {
	e := newEngine(t)
	for _, q := range []backend.Query{{ID: e.ids[0].String()[:8]}, {Finding: "context-lost"}} {
		_, err := e.remote(t, "zipkin").Search(t.Context(), q)
		if !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), " ") {
			t.Errorf("%+v: %v, want ErrUnsupported", q, err)
		}
	}
}

func TestEngineFails(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		kind    string
		handler http.HandlerFunc
		want    string
	}{
		"overloaded":         {"zipkin", answer(503, "try\nlater"), "it answered 503 to /api/v2/services: try later"},
		"garbled":            {"zipkin", answer(200, "<html>"), "its answer is no list of names"},
		"garbled jaeger":     {"jaeger", answer(200, "[]"), "its answer is no list of services"},
		"not its query API":  {"jaeger", answer(404, ""), "not found"},
		"wrong credentials":  {"jaeger", answer(401, "who?"), "it answered 401"},
		"an endless answer":  {"zipkin", func(w http.ResponseWriter, r *http.Request) { flood(w) }, "more than 64 MiB"},
		"a hung up":          {"zipkin", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"a redirect in ring": {"zipkin", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "redirect"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			o, err := remote.Parse(c.kind + "=" + strings.Replace(server.URL, "http://", "http://ann:secret@", 1))
			if err != nil {
				t.Fatal(err)
			}
			o.Now = time.Now
			_, err = remote.New(o).Applications(t.Context(), backend.Window{})
			if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), c.want) || errors.Is(err, span.ErrNotFound) {
				t.Errorf("%v, want %s", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%q shows the password, or has lines", err)
			}
		})
	}
}

func flood(w http.ResponseWriter) {
	chunk := []byte(strings.Repeat(" ", 1<<20))
	for range 70 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestCancel(t *testing.T) {
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer server.Close()
	defer close(hold)
	o, err := remote.Parse("zipkin=" + server.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Now = time.Now
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := remote.New(o).Trace(ctx, span.TraceID{Lo: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestHeadersAreSent(t *testing.T) {
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		_, _ = w.Write([]byte("[]"))
	}))
	defer server.Close()
	o, err := remote.Parse("zipkin=" + strings.Replace(server.URL, "//", "//ann:pw@", 1))
	if err != nil {
		t.Fatal(err)
	}
	o.Now, o.Header = time.Now, http.Header{"X-Tenant": {"a"}}
	if err := remote.New(o).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got.Get("X-Tenant") != "a" || !strings.HasPrefix(got.Get("Authorization"), "Basic ") {
		t.Errorf("sent %v", got)
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"", "jaeger", "tempo=http://a", "zipkin=", "zipkin=a:9411", "jaeger=ftp://a", "jaeger=http://", "zipkin=http://a/?x=1", "zipkin=http://a b"} {
		if _, err := remote.Parse(bad); err == nil || !slices.ContainsFunc([]string{"jaeger=URL", "http://"}, func(s string) bool { return strings.Contains(err.Error(), s) }) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	o, err := remote.Parse("jaeger=https://tracing.example/jaeger/")
	if err != nil || o.Kind != "jaeger" || o.URL.Host != "tracing.example" {
		t.Errorf("%+v, %v", o, err)
	}
}
