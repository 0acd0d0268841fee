package main

import (
	"net/http"
	"strings"
	"testing"

	"example.com/bookinfo/internal/servertest"
)

// The numbers of the tests are those of the checks that every drop-in for Bookinfo has to pass.

func TestContract03_Health(t *testing.T) {
	s := servertest.Start(t, run, nil)
	resp, body := s.Get(t, "/health")
	if resp.StatusCode != 200 || body != `{"status":"Ratings is healthy"}` {
		t.Errorf("got %s %s", resp.Status, body)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}

const notNumeric = `{"error":"please provide numeric product ID"}`

func TestContract07_RatingsOfAnyProduct(t *testing.T) {
	s := servertest.Start(t, run, nil)
	rated := func(id string) string { return `{"id":` + id + `,"ratings":{"Reviewer1":5,"Reviewer2":4}}` }
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/ratings/7", 200, rated("7")},
		{"GET", "/ratings/0", 200, rated("0")},
		{"GET", "/ratings/12abc", 200, rated("12")},
		{"GET", "/ratings/1e3", 200, rated("1")},
		{"GET", "/ratings/-1", 200, rated("-1")},
		{"GET", "/ratings/+1", 200, rated("1")},
		{"GET", "/ratings/-0", 200, rated("0")},
		{"GET", "/ratings/007", 200, rated("7")},
		{"GET", "/ratings/0x1F", 200, rated("31")},
		{"GET", "/ratings/0?x=1", 200, rated("0")},
		{"GET", "/ratings/0?x=/9", 200, rated("9")},
		{"GET", "/ratings/1/2", 200, rated("2")},
		{"GET", "/ratings/123456789012345678901234567890", 200, rated("1.2345678901234568e+29")},
		{"GET", "/ratings/9007199254740993", 200, rated("9007199254740992")},
		{"GET", "/ratings/" + strings.Repeat("9", 400), 200, rated("null")},
		{"GET", "/ratings/", 400, notNumeric},
		{"GET", "/ratings/0/", 400, notNumeric},
		{"GET", "/ratings/1/xx", 400, notNumeric},
		{"GET", "/ratings/0x", 400, notNumeric},
		{"GET", "/ratings/%31", 400, notNumeric},
		{"GET", "/ratings/.5", 400, notNumeric},
		{"GET", "/ratings", 404, ""},
		{"GET", "/", 404, ""},
		{"GET", "/ratingsx/1", 404, ""},
		{"GET", "/health/", 404, ""},
		{"POST", "/health", 404, ""},
		{"POST", "/", 404, ""},
	} {
		resp, body := s.Do(t, c.method, c.path, nil, "")
		if resp.StatusCode != c.status || body != c.body {
			t.Errorf("%s %s: got %d %s, want %d %s", c.method, c.path, resp.StatusCode, body, c.status, c.body)
		}
		wantType := "application/json"
		if c.status == 404 {
			wantType = ""
		}
		if got := resp.Header.Get("Content-Type"); got != wantType {
			t.Errorf("%s %s: Content-Type %q, want %q", c.method, c.path, got, wantType)
		}
	}
}

func TestContract08_PostedRatingsAreKeptById(t *testing.T) {
	s := servertest.Start(t, run, nil)
	const posted = `{"Reviewer1":1,"Reviewer2":1}`
	for _, method := range []string{"POST", "GET"} {
		resp, body := s.Do(t, method, "/ratings/7", nil, posted)
		if resp.StatusCode != 200 || body != `{"id":7,"ratings":`+posted+`}` {
			t.Errorf("%s: got %s %s", method, resp.Status, body)
		}
	}
	if _, body := s.Get(t, "/ratings/0"); body != `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}` {
		t.Errorf("product 0 changed: %s", body)
	}
}

func TestContract08_PostedJSONIsReserialised(t *testing.T) {
	s := servertest.Start(t, run, nil)
	resp, body := s.Do(t, "POST", "/ratings/1", http.Header{"Content-Type": {"text/plain"}}, ` { "b" : 1.0, "2": [ 1e3 ], "1": null } `)
	if want := `{"id":1,"ratings":{"1":null,"2":[1000],"b":1}}`; resp.StatusCode != 200 || body != want {
		t.Errorf("got %s %s, want %s", resp.Status, body, want)
	}
}

func TestContract09_PostOfNoJSON(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for _, body := range []string{"x", "", "{", `{"a":1}x`, "undefined", "'a'", "01"} {
		resp, got := s.Do(t, "POST", "/ratings/7", nil, body)
		if resp.StatusCode != 400 || got != `{"error":"please provide valid ratings JSON"}` {
			t.Errorf("POST %q: got %s %s", body, resp.Status, got)
		}
	}
}

func TestContract10_NotNumeric(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for _, method := range []string{"GET", "POST"} {
		resp, body := s.Do(t, method, "/ratings/abc", nil, "{}")
		if resp.StatusCode != 400 || body != notNumeric {
			t.Errorf("%s: got %s %s", method, resp.Status, body)
		}
	}
}

func TestContract11_PostWithADatabase(t *testing.T) {
	s := servertest.Start(t, run, map[string]string{"SERVICE_VERSION": "v2"})
	for _, c := range []struct {
		path, post string
		status     int
		body       string
	}{
		{"/ratings/abc", "{}", 400, notNumeric},
		{"/ratings/7", "x", 400, `{"error":"please provide valid ratings JSON"}`},
		{"/ratings/7", "{}", 501, `{"error":"Post not implemented for database backed ratings"}`},
	} {
		resp, body := s.Do(t, "POST", c.path, nil, c.post)
		if resp.StatusCode != c.status || body != c.body {
			t.Errorf("POST %s %s: got %s %s", c.path, c.post, resp.Status, body)
		}
	}
}

// The original never answers these methods: the connection hangs.
func TestOtherMethodsAreRefusedAndDoNotHang(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for _, method := range []string{"PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"} {
		for path, allow := range map[string]string{"/ratings/7": "GET, HEAD, POST", "/health": "GET, HEAD"} {
			resp, _ := s.Do(t, method, path, nil, "")
			if resp.StatusCode != 405 || resp.Header.Get("Allow") != allow {
				t.Errorf("%s %s: got %s, Allow %q", method, path, resp.Status, resp.Header.Get("Allow"))
			}
		}
	}
	if resp, _ := s.Do(t, "FOO", "/nothing", nil, ""); resp.StatusCode != 404 {
		t.Errorf("FOO /nothing: got %s", resp.Status)
	}
	resp, body := s.Do(t, "HEAD", "/ratings/7", nil, "")
	if resp.StatusCode != 200 || body != "" || resp.ContentLength != 48 {
		t.Errorf("HEAD: got %s, length %d, body %q", resp.Status, resp.ContentLength, body)
	}
}

func TestContract56_BothFamilies(t *testing.T) { servertest.BothFamilies(t, run, nil) }

func TestLoadThroughARestart(t *testing.T) { servertest.HoldLoad(t, run, nil, "/ratings/0") }
