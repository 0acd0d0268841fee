package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"example.com/bookinfo/internal/servertest"
)

// The numbers of the tests are those of the checks that every drop-in for Bookinfo has to pass.

const (
	text1 = "Two pairs of twins, one town and no end of slapstick: I laughed from the first scene to the last."
	text2 = "Great fun and over before you know it, though anyone who looks for depth will find more of it in the later plays."
)

// page is the body that is wanted, with the spaces of the original.
func page(id, pod, cluster, rating1, rating2 string) string {
	return fmt.Sprintf(`{"id": "%s","podname": "%s","clustername": "%s","reviews": [{  "reviewer": "Reviewer1",  "text": "%s"%s},{  "reviewer": "Reviewer2",  "text": "%s"%s}]}`,
		id, pod, cluster, text1, rating1, text2, rating2)
}

func stars(n, color string) string {
	return fmt.Sprintf(`, "rating": {"stars": %s, "color": "%s"}`, n, color)
}

const noStars = `, "rating": {"error": "Ratings service is currently unavailable"}`

const good = `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`

// withRatings is the environment of v2, or of v3 with the color red, that asks the stub.
func withRatings(stub *servertest.Stub, more ...string) map[string]string {
	env := map[string]string{"ENABLE_RATINGS": "true", "RATINGS_HOSTNAME": stub.Host, "RATINGS_SERVICE_PORT": stub.Port}
	for _, pair := range more {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}

func TestContract03_Health(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for _, path := range []string{"/health", "/health/"} {
		if resp, body := s.Get(t, path); resp.StatusCode != 200 || body != `{"status": "Reviews is healthy"}` {
			t.Errorf("%s: got %s %s", path, resp.Status, body)
		}
	}
}

func TestContract16_V1HasNoRatings(t *testing.T) {
	s := servertest.Start(t, run, map[string]string{"HOSTNAME": "reviews-v1-abc"})
	resp, body := s.Get(t, "/reviews/0")
	if want := page("0", "reviews-v1-abc", "null", "", ""); resp.StatusCode != 200 || body != want {
		t.Errorf("got %s %s\nwant %s", resp.Status, body, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-Powered-By": "Servlet/3.1", "Content-Language": "en-US",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	s = servertest.Start(t, run, nil)
	if _, body := s.Get(t, "/reviews/0"); body != page("0", "null", "null", "", "") {
		t.Errorf("without HOSTNAME: %s", body)
	}
}

func TestContract17_V2HasBlackStars(t *testing.T) {
	ratings := servertest.NewStub(t, servertest.Answer(200, good))
	s := servertest.Start(t, run, withRatings(ratings))
	if _, body := s.Get(t, "/reviews/7"); body != page("7", "null", "null", stars("5", "black"), stars("4", "black")) {
		t.Errorf("got %s", body)
	}
	seen := ratings.Seen()
	if len(seen) != 1 || seen[0].Method != "GET" || seen[0].Target != "/ratings/7" || seen[0].Header.Get("Accept") != "application/json" {
		t.Errorf("ratings was asked %+v", seen)
	}
}

func TestContract18_V3HasRedStars(t *testing.T) {
	ratings := servertest.NewStub(t, servertest.Answer(200, good))
	s := servertest.Start(t, run, withRatings(ratings, "STAR_COLOR=red", "ENABLE_RATINGS=TRUE"))
	if _, body := s.Get(t, "/reviews/0"); body != page("0", "null", "null", stars("5", "red"), stars("4", "red")) {
		t.Errorf("got %s", body)
	}
}

func TestContract19_ClusterName(t *testing.T) {
	s := servertest.Start(t, run, map[string]string{"CLUSTER_NAME": "c1"})
	if _, body := s.Get(t, "/reviews/0"); body != page("0", "null", "c1", "", "") {
		t.Errorf("got %s", body)
	}
	s = servertest.Start(t, run, map[string]string{"CLUSTER_NAME": ""})
	if _, body := s.Get(t, "/reviews/0"); body != page("0", "null", "", "", "") {
		t.Errorf("set to nothing: got %s", body)
	}
	// The original puts the values into the JSON as they are, and breaks it.
	s = servertest.Start(t, run, map[string]string{"CLUSTER_NAME": `a"b\<c>`})
	_, body := s.Get(t, "/reviews/0")
	var decoded struct{ ClusterName string }
	if err := json.Unmarshal([]byte(body), &decoded); err != nil || decoded.ClusterName != `a"b\<c>` {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestContract20_RatingsFail(t *testing.T) {
	unavailable := page("0", "null", "null", noStars, noStars)
	for name, handle := range map[string]http.HandlerFunc{
		"503":        servertest.Answer(503, `{"error":"Service unavailable"}`),
		"404":        servertest.Answer(404, good),
		"201":        servertest.Answer(201, good),
		"redirect":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"cut":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no ratings": servertest.Answer(200, `{"error":"could not connect to ratings database"}`),
		"too much":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"x":"%s"}`, strings.Repeat("y", 2<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := servertest.Start(t, run, withRatings(servertest.NewStub(t, handle)))
			if resp, body := s.Get(t, "/reviews/0"); resp.StatusCode != 200 || body != unavailable {
				t.Errorf("got %s %s", resp.Status, body)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		s := servertest.Start(t, run, map[string]string{"ENABLE_RATINGS": "true", "RATINGS_HOSTNAME": "127.0.0.1", "RATINGS_SERVICE_PORT": "1"})
		if resp, body := s.Get(t, "/reviews/0"); resp.StatusCode != 200 || body != unavailable {
			t.Errorf("got %s %s", resp.Status, body)
		}
		if !strings.Contains(s.Log(), "ratings cannot be reached") {
			t.Errorf("the log does not say why:\n%s", s.Log())
		}
	})
}

func TestContract23_SomeRatings(t *testing.T) {
	for answer, want := range map[string][2]string{
		`{"ratings":{"Reviewer1":5}}`:                          {stars("5", "black"), noStars},
		`{"ratings":{"Reviewer2":4}}`:                          {noStars, stars("4", "black")},
		`{"ratings":{}}`:                                       {noStars, noStars},
		`{"ratings":{"reviewer1":5,"REVIEWER2":4}}`:            {noStars, noStars},
		`{"ratings":{"Reviewer1":4.9,"Reviewer2":0}}`:          {stars("4", "black"), stars("0", "black")},
		`{"ratings":{"Reviewer1":-1,"Reviewer2":-2}}`:          {noStars, stars("-2", "black")},
		`{"ratings":{"Reviewer1":1e10,"Reviewer2":6}}`:         {stars("1410065408", "black"), stars("6", "black")},
		`{"ratings":{"Reviewer1":1,"Reviewer1":2}}`:            {stars("2", "black"), noStars},
		` {"id":{}, "ratings" : {"Reviewer1":5, "other":"x"}}`: {stars("5", "black"), noStars},
	} {
		s := servertest.Start(t, run, withRatings(servertest.NewStub(t, servertest.Answer(200, answer))))
		if resp, body := s.Get(t, "/reviews/0"); resp.StatusCode != 200 || body != page("0", "null", "null", want[0], want[1]) {
			t.Errorf("%s: got %s %s", answer, resp.Status, body)
		}
	}
}

func TestRatingsThatMakeNoSenseAreAnError(t *testing.T) {
	for _, answer := range []string{
		"", "x", "5", "null", "[]", `{"ratings":5}`, `{"ratings":null}`, `{"ratings":{"Reviewer1":"5","Reviewer2":4}}`,
		`{"ratings":{"Reviewer1":null,"Reviewer2":4}}`, `{"ratings":{"Reviewer1":5,"Reviewer2":true}}`,
	} {
		s := servertest.Start(t, run, withRatings(servertest.NewStub(t, servertest.Answer(200, answer))))
		if resp, body := s.Get(t, "/reviews/0"); resp.StatusCode != 500 || !json.Valid([]byte(body)) {
			t.Errorf("%s: got %s %s", answer, resp.Status, body)
		}
	}
}

func TestContract24_Ids(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for _, c := range []struct {
		method, path string
		status       int
		id, allow    string
	}{
		{"GET", "/reviews/0", 200, "0", ""},
		{"GET", "/reviews/007", 200, "7", ""},
		{"GET", "/reviews/0/", 200, "0", ""},
		{"GET", "/reviews/-5", 200, "-5", ""},
		{"GET", "/reviews/-0", 200, "0", ""},
		{"GET", "/reviews/2147483647", 200, "2147483647", ""},
		{"GET", "/reviews/0?x=/9", 200, "0", ""},
		{"GET", "/reviews/2147483648", 404, "", ""},
		{"GET", "/reviews/-2147483649", 404, "", ""},
		{"GET", "/reviews/123456789012345678901234567890", 404, "", ""},
		{"GET", "/reviews/abc", 404, "", "OPTIONS"},
		{"GET", "/reviews/+5", 404, "", "OPTIONS"},
		{"GET", "/reviews/0;a=b", 404, "", "OPTIONS"},
		{"GET", "/reviews/1.0", 404, "", "OPTIONS"},
		{"GET", "/reviews/0//", 404, "", "OPTIONS"},
		{"GET", "/reviews", 404, "", "OPTIONS"},
		{"GET", "/reviews/", 404, "", "OPTIONS"},
		{"GET", "/", 404, "", "OPTIONS"},
		{"GET", "/index.html", 404, "", "OPTIONS"},
		{"OPTIONS", "/reviews/abc", 404, "", "OPTIONS"},
		{"POST", "/reviews/0", 405, "", "GET,OPTIONS,HEAD"},
		{"PUT", "/health", 405, "", "GET,OPTIONS,HEAD"},
		{"DELETE", "/reviews/0/", 405, "", "GET,OPTIONS,HEAD"},
		{"FOO", "/nothing", 404, "", "OPTIONS"},
		{"FOO", "/reviews/0", 405, "", "GET,OPTIONS,HEAD"},
		{"OPTIONS", "/reviews/0", 200, "", "GET,OPTIONS,HEAD"},
	} {
		resp, body := s.Do(t, c.method, c.path, nil, "")
		want := ""
		if c.id != "" {
			want = page(c.id, "null", "null", "", "")
		}
		if resp.StatusCode != c.status || body != want || resp.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: got %d %q, Allow %q", c.method, c.path, resp.StatusCode, body, resp.Header.Get("Allow"))
		}
		if resp.Header.Get("X-Powered-By") != "Servlet/3.1" {
			t.Errorf("%s %s: X-Powered-By %q", c.method, c.path, resp.Header.Get("X-Powered-By"))
		}
	}
	if resp, _ := s.Do(t, "GET", "/reviews/0", http.Header{"Accept": {"application/xml"}}, ""); resp.StatusCode != 200 {
		t.Errorf("Accept: application/xml: %s", resp.Status)
	}
	if resp, body := s.Do(t, "HEAD", "/reviews/0", nil, ""); resp.StatusCode != 200 || body != "" {
		t.Errorf("HEAD: %s %q", resp.Status, body)
	}
}

// forwarded are the headers that pass from a caller to ratings as they came.
func forwarded() http.Header {
	return http.Header{
		"X-Request-Id": {"4c7b1c7e-52f5-9d06-8d7c-5f5f1f7a6c11"}, "X-Ot-Span-Context": {"ot"},
		"X-Datadog-Trace-Id": {"1"}, "X-Datadog-Parent-Id": {"2"}, "X-Datadog-Sampling-Priority": {"1"},
		"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "Tracestate": {"a=b"},
		"X-Cloud-Trace-Context": {"105445aa7843bc8bf206b12000100000/1;o=1"}, "Grpc-Trace-Bin": {"AAA="},
		"X-B3-Traceid": {"4bf92f3577b34da6a3ce929d0e0e4736"}, "X-B3-Spanid": {"00f067aa0ba902b7"},
		"X-B3-Parentspanid": {"00f067aa0ba902b6"}, "X-B3-Sampled": {"1"}, "X-B3-Flags": {"0"},
		"Sw8": {"1-TRACE-SEGMENT-3-U-A-B-C"}, "End-User": {"jason"}, "User-Agent": {"curl/8"},
		"Cookie": {"session=x"}, "Authorization": {"Basic YTpi"}, "Jwt": {"j"},
	}
}

func TestContract39_EndUserReachesRatings(t *testing.T) {
	ratings := servertest.NewStub(t, servertest.Answer(200, good))
	s := servertest.Start(t, run, withRatings(ratings))
	s.Do(t, "GET", "/reviews/0", http.Header{"End-User": {"mallory"}}, "")
	if got := ratings.Seen()[0].Header.Values("End-User"); len(got) != 1 || got[0] != "mallory" {
		t.Errorf("ratings got end-user %q", got)
	}
}

// Checks 39, 42, 43, 44 and 67, as far as they pass through reviews.
func TestContract42_HeadersReachRatings(t *testing.T) {
	ratings := servertest.NewStub(t, servertest.Answer(200, good))
	s := servertest.Start(t, run, withRatings(ratings))
	sent := forwarded()
	kept := len(sent)
	for name, value := range map[string]string{"X-Forwarded-For": "1.2.3.4", "X-Envoy-Attempt-Count": "1", "X-Other": "x"} {
		sent.Set(name, value)
	}
	s.Do(t, "GET", "/reviews/0", sent, "")
	got := ratings.Seen()[0].Header
	for name, values := range forwarded() {
		if len(got[name]) != 1 || got[name][0] != values[0] {
			t.Errorf("%s: ratings got %q, want %q", name, got[name], values)
		}
	}
	got.Del("Accept")
	if len(got) != kept {
		t.Errorf("ratings got %d headers, want %d: %v", len(got), kept, got)
	}
}

func TestNothingIsForwardedThatDidNotCome(t *testing.T) {
	ratings := servertest.NewStub(t, servertest.Answer(200, good))
	s := servertest.Start(t, run, withRatings(ratings))
	empty := http.Header{}
	for name := range forwarded() {
		empty[name] = []string{""}
	}
	s.Do(t, "GET", "/reviews/0", empty, "")
	got := ratings.Seen()[0].Header
	got.Del("Accept")
	got.Del("User-Agent") // the client's own
	if len(got) != 0 {
		t.Errorf("empty headers were forwarded: %v", got)
	}
}

func TestForwardHeadersNone(t *testing.T) {
	ratings := servertest.NewStub(t, servertest.Answer(200, good))
	s := servertest.Start(t, run, withRatings(ratings, "FORWARD_HEADERS=none"))
	s.Do(t, "GET", "/reviews/0", forwarded(), "")
	got := ratings.Seen()[0].Header
	if got.Get("Traceparent") != "" || got.Get("X-B3-Traceid") != "" || got.Get("X-Request-Id") != "" {
		t.Errorf("trace headers were forwarded: %v", got)
	}
	if got.Get("End-User") != "jason" || got.Get("Authorization") == "" {
		t.Errorf("identity was not forwarded: %v", got)
	}
}

func TestContract54_AddressOfRatings(t *testing.T) {
	ratings := servertest.NewStub(t, servertest.Answer(200, good))
	// RATINGS_PORT is what Kubernetes sets for a Service of that name.
	s := servertest.Start(t, run, withRatings(ratings, "RATINGS_HOSTNAME=127.0.0", "SERVICES_DOMAIN=1", "RATINGS_PORT=tcp://10.0.0.1:9080"))
	if _, body := s.Get(t, "/reviews/0"); !strings.Contains(body, `"stars": 5`) {
		t.Errorf("got %s", body)
	}
}

func TestConnectionsToRatingsArePooled(t *testing.T) {
	connections := map[string]bool{}
	ratings := servertest.NewStub(t, func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr] = true
		_, _ = io.WriteString(w, good)
	})
	s := servertest.Start(t, run, withRatings(ratings))
	for range 10 {
		s.Get(t, "/reviews/0")
	}
	if len(connections) != 1 {
		t.Errorf("10 requests in a row opened %d connections", len(connections))
	}
}

func TestContract56_BothFamilies(t *testing.T) { servertest.BothFamilies(t, run, nil) }

func TestLoadThroughARestart(t *testing.T) {
	ratings := servertest.NewStub(t, servertest.Answer(200, good))
	servertest.HoldLoad(t, run, withRatings(ratings), "/reviews/0")
}

func TestWrongSettings(t *testing.T) {
	for name, value := range map[string]string{
		"RATINGS_SERVICE_PORT": "tcp://10.0.0.1:9080", "PORT": "x", "LOG_FORMAT": "xml", "DRAIN_DELAY": "5", "FORWARD_HEADERS": "b4",
	} {
		err := run(context.Background(), nil, func(asked string) (string, bool) { return value, asked == name }, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("%s=%q: ", name, value)) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}
