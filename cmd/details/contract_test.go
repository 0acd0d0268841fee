package main

import (
	"net/http"
	"strings"
	"testing"

	"example.com/bookinfo/internal/servertest"
)

// The numbers of the tests are those of the checks that every drop-in for Bookinfo has to pass.

func facts(id string) string {
	return `{"id":` + id + `,"author":"William Shakespeare","year":1595,"type":"paperback","pages":200,"publisher":"PublisherA","language":"English","ISBN-10":"1234567890","ISBN-13":"123-1234567890"}`
}

const notNumeric = `{"error":"please provide numeric product id"}`

func TestContract03_Health(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for _, path := range []string{"/health", "/health/", "/health/any/thing"} {
		resp, body := s.Get(t, path)
		if resp.StatusCode != 200 || body != `{"status":"Details is healthy"}` || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %s %s", path, resp.Status, body)
		}
	}
}

func TestContract04_DetailsOfZero(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for _, method := range []string{"GET", "POST", "PUT"} {
		resp, body := s.Do(t, method, "/details/0", nil, "ignored")
		if resp.StatusCode != 200 || body != facts("0") || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %s %s", method, resp.Status, body)
		}
	}
	if resp, body := s.Do(t, "HEAD", "/details/0", nil, ""); resp.StatusCode != 200 || body != "" || resp.ContentLength != int64(len(facts("0"))) {
		t.Errorf("HEAD: got %s, length %d", resp.Status, resp.ContentLength)
	}
}

func TestContract05_AnyIdHasTheSameFacts(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for path, id := range map[string]string{
		"/details/7":                       "7",
		"/details/1/2":                     "2",
		"/details/7/":                      "7",
		"/details/7//":                     "7",
		"/details//7":                      "7",
		"/details/a/../7":                  "7",
		"/details%2F7":                     "7",
		"/details/%37":                     "7",
		"/details/0x1F":                    "31",
		"/details/010":                     "8",
		"/details/0o17":                    "15",
		"/details/0b101":                   "5",
		"/details/0d19":                    "19",
		"/details/1_000":                   "1000",
		"/details/0_7":                     "7",
		"/details/-3":                      "-3",
		"/details/+3":                      "3",
		"/details/-0x1f":                   "-31",
		"/details/%207%0A":                 "7",
		"/details/0?x=/9":                  "0",
		"/details/12345678901234567890123": "12345678901234567890123",
	} {
		if resp, body := s.Get(t, path); resp.StatusCode != 200 || body != facts(id) {
			t.Errorf("%s: got %s %s", path, resp.Status, body)
		}
	}
}

func TestContract06_NotNumeric(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for _, path := range []string{
		"/details", "/details/", "/details/abc", "/details/%20", "/details/1.5", "/details/12abc", "/details/1__0", "/details/_1",
		"/details/1_", "/details/08", "/details/0x", "/details/--1", "/details/-", "/details/1%00", "/details/0x-1", "/details/0_x1",
	} {
		resp, body := s.Get(t, path)
		if resp.StatusCode != 400 || body != notNumeric || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %s %s", path, resp.Status, body)
		}
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	s := servertest.Start(t, run, nil)
	for _, c := range []struct {
		method, path string
		status       int
		contentType  string
		allow        string
	}{
		{"GET", "/", 404, "text/html; charset=ISO-8859-1", ""},
		{"GET", "/detailsxyz", 404, "text/html; charset=ISO-8859-1", ""},
		{"DELETE", "/nothing", 404, "text/html; charset=ISO-8859-1", ""},
		{"DELETE", "/details/0", 405, "text/html; charset=ISO-8859-1", "GET,HEAD,OPTIONS,POST,PUT"},
		{"FOO", "/nothing", 404, "text/html; charset=ISO-8859-1", ""},
		{"FOO", "/details/0", 405, "text/html; charset=ISO-8859-1", "GET,HEAD,OPTIONS,POST,PUT"},
		{"PATCH", "/health", 405, "text/html; charset=ISO-8859-1", "GET,HEAD,OPTIONS,POST,PUT"},
		{"OPTIONS", "/details/0", 200, "", "GET,HEAD,OPTIONS,POST,PUT"},
		{"OPTIONS", "/health", 200, "", "GET,HEAD,OPTIONS,POST,PUT"},
	} {
		resp, _ := s.Do(t, c.method, c.path, nil, "")
		if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != c.contentType || resp.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: got %s, Content-Type %q, Allow %q", c.method, c.path, resp.Status, resp.Header.Get("Content-Type"), resp.Header.Get("Allow"))
		}
	}
	if _, body := s.Get(t, "/<script>"); strings.Contains(body, "<script>") {
		t.Errorf("the path is in the page unescaped: %s", body)
	}
}

func TestLimits(t *testing.T) {
	s := servertest.Start(t, run, nil)
	if resp, _ := s.Do(t, "POST", "/details/0", nil, strings.Repeat("x", 1<<20+1)); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %s", resp.Status)
	}
	header := http.Header{"X-Large": {strings.Repeat("x", 60<<10)}}
	if resp, _ := s.Do(t, "GET", "/details/0", header, ""); resp.StatusCode != 200 {
		t.Errorf("headers of 60 KiB: %s", resp.Status)
	}
	header.Set("X-Large", strings.Repeat("x", 64<<10))
	if resp, _ := s.Do(t, "GET", "/details/0", header, ""); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("headers of more than 64 KiB: %s", resp.Status)
	}
}

func TestContract56_BothFamilies(t *testing.T) { servertest.BothFamilies(t, run, nil) }

func TestLoadThroughARestart(t *testing.T) { servertest.HoldLoad(t, run, nil, "/details/0") }

func TestTeaching(t *testing.T) { servertest.Teaching(t, run, "details", nil, "", nil) }
