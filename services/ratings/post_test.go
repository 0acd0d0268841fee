package ratings

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"testing"
)

// FuzzPost sends whatever target and body a client may come up with: the answer is one of those that are meant, and what
// was accepted comes back from a GET.
func FuzzPost(f *testing.F) {
	f.Add("/ratings/7", []byte(`{"Reviewer1":1,"Reviewer2":1}`))
	f.Add("/ratings/", []byte(`{}`))
	f.Add("/ratings/0?x=/9", []byte(`5`))
	f.Add("/ratings/12abc", []byte(`x`))
	f.Add("/health", []byte(``))
	s := New(Config{Version: "v1"})
	f.Fuzz(func(t *testing.T, target string, body []byte) {
		if u, err := url.ParseRequestURI(target); err != nil || target[0] != '/' || u.Host != "" {
			return // net/http refuses it before any handler
		}
		do := func(method string) *httptest.ResponseRecorder {
			req := httptest.NewRequest("POST", "/", bytes.NewReader(body))
			req.Method, req.RequestURI = method, target
			req.URL, _ = url.ParseRequestURI(target)
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, req)
			return rec
		}
		posted := do("POST")
		switch posted.Code {
		case 200:
			if !json.Valid(posted.Body.Bytes()) {
				t.Fatalf("POST %q %q: %s is no JSON", target, body, posted.Body)
			}
			if got := do("GET"); got.Code != 200 || !bytes.Equal(got.Body.Bytes(), posted.Body.Bytes()) {
				t.Fatalf("POST %q %q answers %s, GET then %d %s", target, body, posted.Body, got.Code, got.Body)
			}
		case 400, 404:
		default:
			t.Fatalf("POST %q %q: %d", target, body, posted.Code)
		}
	})
}
