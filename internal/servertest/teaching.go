package servertest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// Teaching proves that a service's forwarding can be broken over HTTP if it was started for that, and else cannot.
// stub is what the service calls for a GET of path, nil for a service that calls nobody.
func Teaching(t *testing.T, run Entry, service string, env map[string]string, path string, stub *Stub) {
	t.Helper()
	with := func(teaching string) map[string]string {
		all := map[string]string{"TEACHING": teaching}
		for name, value := range env {
			all[name] = value
		}
		return all
	}
	for _, off := range []string{"", "false"} {
		s := Start(t, run, with(off))
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			for _, at := range []string{"/teaching", "/teaching/", "/teaching/" + service} {
				if resp, body := s.Do(t, method, at, nil, `{"broken":["drop=x-b3-spanid"]}`); resp.StatusCode < 400 || strings.Contains(body, "broken") { //nolint:bodyclose // closed already
					t.Errorf("TEACHING=%q: %s %s: %s %s", off, method, at, resp.Status, body)
				}
			}
		}
	}
	s := Start(t, run, with("true"))
	var states []struct {
		Service string
		Broken  []string
	}
	resp, body := s.Get(t, "/teaching/") //nolint:bodyclose // closed already
	if err := json.Unmarshal([]byte(body), &states); err != nil || len(states) != 1 || states[0].Service != service || len(states[0].Broken) != 0 {
		t.Fatalf("GET /teaching/: %s %s, want %s unbroken", resp.Status, body, service)
	}
	if !strings.Contains(s.Log(), "TEACHING is on") {
		t.Error("the log does not say that teaching is on")
	}
	control := func(method, at, body string, header http.Header, want int) {
		t.Helper()
		if resp, got := s.Do(t, method, at, header, body); resp.StatusCode != want { //nolint:bodyclose // closed already
			t.Errorf("%s %s %s: %s %s, want %d", method, at, body, resp.Status, got, want)
		}
	}
	control(http.MethodPut, "/teaching/nobody", `{"broken":["reuse"]}`, nil, 404)
	control(http.MethodPut, "/teaching/"+service, `{"broken":["smash"]}`, nil, 400)
	control(http.MethodPut, "/teaching/"+service, `{"broken":["reuse"]}`, http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403)
	if stub == nil {
		return
	}
	const id = "a2fb4a1d1a96d312"
	sent := func() string {
		t.Helper()
		resp, body := s.Do(t, http.MethodGet, path, http.Header{"X-B3-Spanid": {id}}, "") //nolint:bodyclose // closed already
		seen := stub.Seen()
		if resp.StatusCode != 200 || len(seen) == 0 {
			t.Fatalf("GET %s: %s %s", path, resp.Status, body)
		}
		return seen[len(seen)-1].Header.Get("X-B3-Spanid")
	}
	for _, step := range []struct{ method, body, want string }{
		{http.MethodGet, "", id},
		{http.MethodPut, `{"broken":["drop=x-b3-spanid"]}`, ""},
		{http.MethodDelete, "", id},
	} {
		control(step.method, "/teaching/"+service, step.body, nil, 200)
		if got := sent(); got != step.want {
			t.Errorf("after %s %s: x-b3-spanid %q left, want %q", step.method, step.body, got, step.want)
		}
	}
}
