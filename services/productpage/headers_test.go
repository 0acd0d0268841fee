package productpage_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestContract42_HeaderMatrix holds what is sent on to what came. B3 passes untouched, which the original's SDK rewrites.
func TestContract42_HeaderMatrix(t *testing.T) {
	const trace, span = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"
	parent := "00-" + trace + "-" + span + "-01"
	tests := []struct {
		name string
		in   []string
		want map[string]string // of every name that came; absent: must not be sent on
	}{
		{"B3", []string{"x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-parentspanid", "0020000000000001", "x-b3-sampled", "1"},
			map[string]string{"x-b3-traceid": trace, "x-b3-spanid": span, "x-b3-parentspanid": "0020000000000001", "x-b3-sampled": "1"}},
		{"B3 of 64 bits, upper case", []string{"x-b3-traceid", "48485A3953BB6124", "x-b3-spanid", "A2FB4A1D1A96D312"},
			map[string]string{"x-b3-traceid": "48485A3953BB6124", "x-b3-spanid": "A2FB4A1D1A96D312"}},
		{"B3 without a decision", []string{"x-b3-traceid", trace, "x-b3-spanid", span},
			map[string]string{"x-b3-traceid": trace, "x-b3-spanid": span}},
		{"B3 debug", []string{"x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-flags", "1"},
			map[string]string{"x-b3-traceid": trace, "x-b3-spanid": span, "x-b3-flags": "1"}},
		{"B3 that is no B3", []string{"x-b3-traceid", "zz", "x-b3-spanid", "0"},
			map[string]string{"x-b3-traceid": "zz", "x-b3-spanid": "0"}},
		{"B3 all zero", []string{"x-b3-traceid", strings.Repeat("0", 32), "x-b3-spanid", strings.Repeat("0", 16)},
			map[string]string{"x-b3-traceid": strings.Repeat("0", 32), "x-b3-spanid": strings.Repeat("0", 16)}},
		{"B3 in one header", []string{"b3", trace + "-" + span + "-1"}, map[string]string{"b3": trace + "-" + span + "-1"}},
		{"empty values", []string{"x-b3-parentspanid", "", "x-request-id", "r"}, map[string]string{"x-request-id": "r"}},
		{"W3C", []string{"traceparent", parent, "tracestate", "a=1", "tracestate", "b=2"},
			map[string]string{"traceparent": parent, "tracestate": "a=1,b=2"}},
		{"duplicates", []string{"x-request-id", "first", "x-request-id", "second"}, map[string]string{"x-request-id": "first"}},
		{"vendors", []string{"x-ot-span-context", "o", "x-datadog-trace-id", "1", "x-datadog-parent-id", "2", "x-datadog-sampling-priority", "1",
			"x-cloud-trace-context", "c/1;o=1", "grpc-trace-bin", "AAA", "sw8", "1-s", "x-client-trace-id", "cl"},
			map[string]string{"x-ot-span-context": "o", "x-datadog-trace-id": "1", "x-datadog-parent-id": "2", "x-datadog-sampling-priority": "1",
				"x-cloud-trace-context": "c/1;o=1", "grpc-trace-bin": "AAA", "sw8": "1-s", "x-client-trace-id": "cl"}},
		{"of one hop", []string{"x-forwarded-for", "1.2.3.4", "x-forwarded-proto", "https", "x-envoy-attempt-count", "1", "forwarded", "for=1"}, nil},
		{"identity", []string{"user-agent", "u/1", "cookie", "a=1", "authorization", "Bearer x", "jwt", "j", "end-user", "mallory"},
			map[string]string{"user-agent": "u/1", "cookie": "a=1", "authorization": "Bearer x", "jwt": "j"}},
		{"cookies on two lines", []string{"cookie", "a=1", "cookie", "b=2"}, map[string]string{"cookie": "a=1; b=2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.get(t, "/productpage", test.in...)
			f.get(t, "/api/v1/products/0/ratings", test.in...)
			for name, s := range map[string]*stub{"details": f.details, "reviews": f.reviews, "ratings": f.ratings} {
				got := s.seen()[0].Header
				for i := 0; i < len(test.in); i += 2 {
					key := test.in[i]
					want, sent := test.want[key]
					values := got.Values(key)
					if sent && (len(values) != 1 || values[0] != want) || !sent && values != nil {
						t.Errorf("%s received %s: %q, want %q", name, key, values, want)
					}
				}
			}
		})
	}
}

func TestNothingIsAdded(t *testing.T) {
	f := newFixture(t)
	f.get(t, "/productpage", "User-Agent", "")
	for name := range f.details.seen()[0].Header {
		switch name {
		case "Accept", "Accept-Encoding":
		default:
			t.Errorf("details received %s, which did not come", name)
		}
	}
}

func TestContract43_EndToEnd(t *testing.T) {
	f := newFixture(t)
	in := []string{"traceparent", "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-00", "tracestate", "a=1,b=2", "sw8", "1-QQ==-QQ==-1-QQ==-QQ==-QQ==-QQ==", "x-request-id", "88ee"}
	f.get(t, "/productpage", in...)
	for i := 0; i < len(in); i += 2 {
		if got := f.reviews.seen()[0].Header.Get(in[i]); got != in[i+1] {
			t.Errorf("%s became %q", in[i], got)
		}
	}
}

// TestContract44_OriginalUnitTest is what the original tests itself with.
func TestContract44_OriginalUnitTest(t *testing.T) {
	f := newFixture(t)
	in := []string{"x-request-id", "34eeb41d-d267-9e49-8b84-dde403fc5b72", "x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7",
		"x-b3-spanid", "e457b5a2e4d86bd1", "x-b3-sampled", "1", "sw8", "40c7fdf104e3de67"}
	f.get(t, "/api/v1/products/0/reviews", in...)
	f.get(t, "/api/v1/products/0/ratings", in...)
	for _, s := range []*stub{f.reviews, f.ratings} {
		for i := 0; i < len(in); i += 2 {
			if got := s.seen()[0].Header.Get(in[i]); got != in[i+1] {
				t.Errorf("%s: %s became %q", s.seen()[0].URL, in[i], got)
			}
		}
	}
}

// TestResponseNamesTheTrace: x-request-id and the trace, in the format in which it came.
func TestResponseNamesTheTrace(t *testing.T) {
	const trace, span = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"
	f := newFixture(t, with("TRACE_URL", "http://viewer.example/traces/{traceId}"))
	link := `href="http://viewer.example/traces/` + trace + `"`
	tests := []struct {
		name         string
		in           []string
		header, want string
		linked       bool
	}{
		{"W3C", []string{"traceparent", "00-" + trace + "-" + span + "-01"}, "traceresponse", "00-" + trace + "-" + span + "-01", true},
		{"W3C, not sampled", []string{"traceparent", "00-" + trace + "-" + span + "-00"}, "traceresponse", "00-" + trace + "-" + span + "-00", false},
		{"B3", []string{"x-b3-traceid", trace, "x-b3-spanid", span}, "x-b3-traceid", trace, true},
		{"B3, not sampled", []string{"x-b3-traceid", trace, "x-b3-spanid", span, "x-b3-sampled", "0"}, "x-b3-traceid", trace, false},
		{"b3", []string{"b3", trace + "-" + span + "-1"}, "b3", trace + "-" + span + "-1", true},
		{"none", nil, "traceresponse", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, path := range []string{"/productpage", "/api/v1/products/0", "/health", "/nothing"} {
				resp := f.get(t, path, append(test.in, "x-request-id", "r-1")...)
				resp.wantHeader(t, test.header, test.want)
				resp.wantHeader(t, "x-request-id", "r-1")
			}
			page := f.get(t, "/productpage", test.in...)
			if got := strings.Contains(page.body, link) && strings.Contains(page.body, "Open this trace"); got != test.linked {
				t.Errorf("link to the trace: %t, want %t", got, test.linked)
			}
		})
	}
}

func TestRedirectsAreFollowed(t *testing.T) {
	other := &stub{handle: answer(200, detailsJSON)}
	elsewhere := httptest.NewServer(other)
	defer elsewhere.Close()
	f := newFixture(t, details(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/details/0":
			http.Redirect(w, r, "/details/moved", http.StatusFound)
		case "/details/loop":
			http.Redirect(w, r, "/details/loop", http.StatusFound)
		case "/details/away":
			http.Redirect(w, r, elsewhere.URL+"/details/0", http.StatusFound)
		default:
			answer(200, detailsJSON)(w, r)
		}
	}))
	f.get(t, "/api/v1/products/0", "x-request-id", "r", "authorization", "a").contains(t, "William Shakespeare")
	if got := f.details.seen()[1].Header; got.Get("X-Request-Id") != "r" || got.Get("Authorization") != "a" {
		t.Errorf("the redirected request carries %v", got)
	}
	f.get(t, "/api/v1/products/loop").wantStatus(t, 500)

	f.login(t, "jason")
	f.get(t, "/api/v1/products/away", "authorization", "a", "jwt", "j", "x-request-id", "r").contains(t, "William Shakespeare")
	got := other.seen()[0].Header
	if got.Get("X-Request-Id") != "r" {
		t.Error("the trace ends at the redirect to another host")
	}
	for _, name := range []string{"Authorization", "Jwt", "Cookie", "End-User"} {
		if got.Get(name) != "" {
			t.Errorf("another host received %s: %s", name, got.Get(name))
		}
	}
}
