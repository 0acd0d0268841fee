package productpage_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/internal/telemetry"
	"example.com/bookinfo/services/productpage"
)

// Answers of the services behind the page, in the spelling of the originals.
const (
	detailsJSON = `{"id":0,"author":"William Shakespeare","year":1595,"type":"paperback","pages":200,"publisher":"PublisherA","language":"English","ISBN-10":"1234567890","ISBN-13":"123-1234567890"}`
	ratingsJSON = `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`
	reviewsV1   = `{"id": "0","podname": "reviews-v1-aaa","clustername": "null","reviews": [{  "reviewer": "Reviewer1",  "text": "First text."},{  "reviewer": "Reviewer2",  "text": "Second text."}]}`
	reviewsV2   = `{"id": "0","podname": "reviews-v2-bbb","clustername": "null","reviews": [{  "reviewer": "Reviewer1",  "text": "First text.", "rating": {"stars": 5, "color": "black"}},{  "reviewer": "Reviewer2",  "text": "Second text.", "rating": {"stars": 4, "color": "black"}}]}`
)

// stub is a service behind the page, which counts what reaches it.
type stub struct {
	handle http.HandlerFunc

	mu       sync.Mutex
	requests []*http.Request
	at       []time.Time
	conns    int
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	s.at = append(s.at, time.Now())
	s.mu.Unlock()
	s.handle(w, r)
}

func (s *stub) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// times returns when each request came.
func (s *stub) times() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *stub) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		s.mu.Lock()
		s.conns++
		s.mu.Unlock()
	}
}

// answer returns a handler with a fixed answer.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// fixture is productpage with stubs behind it.
type fixture struct {
	details, reviews, ratings *stub
	url                       string
	client                    *http.Client // follows no redirect, keeps cookies
}

type option func(env map[string]string, f *fixture)

func with(name, value string) option {
	return func(env map[string]string, _ *fixture) { env[name] = value }
}

func details(h http.HandlerFunc) option {
	return func(_ map[string]string, f *fixture) { f.details.handle = h }
}

func reviews(h http.HandlerFunc) option {
	return func(_ map[string]string, f *fixture) { f.reviews.handle = h }
}

func ratings(h http.HandlerFunc) option {
	return func(_ map[string]string, f *fixture) { f.ratings.handle = h }
}

func newFixture(t *testing.T, options ...option) *fixture {
	t.Helper()
	f := &fixture{
		details: &stub{handle: answer(200, detailsJSON)},
		reviews: &stub{handle: answer(200, reviewsV2)},
		ratings: &stub{handle: answer(200, ratingsJSON)},
	}
	env := map[string]string{}
	for name, s := range map[string]*stub{"DETAILS": f.details, "REVIEWS": f.reviews, "RATINGS": f.ratings} {
		srv := httptest.NewUnstartedServer(s)
		srv.Config.ConnState = s.connState
		srv.Start()
		t.Cleanup(srv.Close)
		address, _ := url.Parse(srv.URL)
		env[name+"_HOSTNAME"], env[name+"_SERVICE_PORT"] = address.Hostname(), address.Port()
	}
	for _, set := range options {
		set(env, f)
	}
	srv := httptest.NewUnstartedServer(handler(t, env, nil))
	srv.Config.MaxHeaderBytes = server.MaxHeaderBytes
	srv.Start()
	t.Cleanup(srv.Close)
	f.url = srv.URL
	jar, _ := cookiejar.New(nil)
	f.client = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return f
}

// handler returns productpage with what every service of the suite has around it.
func handler(t testing.TB, env map[string]string, dial func(ctx context.Context, network, address string) (net.Conn, error)) http.Handler {
	t.Helper()
	e := settings.From(settings.Map(env))
	tel, err := telemetry.Start(context.Background(), e.Getenv, "productpage")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	h, err := productpage.New(productpage.FromEnv(e), productpage.Deps{Log: log, Registry: registry, Trace: tel.Transport, Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	return server.Observer{Log: log, Registry: registry, Trace: tel.Handler}.Handler(h)
}

// response is an answer with its body read.
type response struct {
	*http.Response
	body string
}

func (f *fixture) do(t *testing.T, method, path, body string, headers ...string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return roundTrip(t, f.client, req)
}

func roundTrip(t *testing.T, client *http.Client, req *http.Request) response {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp, string(data)}
}

func (f *fixture) get(t *testing.T, path string, headers ...string) response {
	t.Helper()
	return f.do(t, http.MethodGet, path, "", headers...)
}

// login signs in as the contract's tutorials do: by curl, over plain HTTP, without a Referer.
func (f *fixture) login(t *testing.T, name string) response {
	t.Helper()
	form := url.Values{"username": {name}, "passwd": {"password"}}
	return f.do(t, http.MethodPost, "/login", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func (r response) wantStatus(t *testing.T, want int) {
	t.Helper()
	if r.StatusCode != want {
		t.Errorf("status %d, want %d; body: %.300s", r.StatusCode, want, r.body)
	}
}

func (r response) wantBody(t *testing.T, want string) {
	t.Helper()
	if r.body != want {
		t.Errorf("body %q, want %q", r.body, want)
	}
}

func (r response) wantHeader(t *testing.T, name, want string) {
	t.Helper()
	if got := strings.Join(r.Header.Values(name), " | "); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

func (r response) contains(t *testing.T, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(r.body, text) {
			t.Errorf("the body does not hold %q", text)
		}
	}
}

func (r response) lacks(t *testing.T, unwanted ...string) {
	t.Helper()
	for _, text := range unwanted {
		if strings.Contains(r.body, text) {
			t.Errorf("the body holds %q", text)
		}
	}
}
