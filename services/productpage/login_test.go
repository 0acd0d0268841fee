package productpage_test

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestUserNames(t *testing.T) {
	tests := []struct {
		name   string
		status int
		sent   []string // end-user at details
	}{
		{"jason", 302, []string{"jason"}},
		{"jäson", 302, []string{"j\xe4son"}}, // Latin-1, as the original sends it
		{"日本", 302, []string{"日本"}},
		{"<b>x</b>", 302, []string{"<b>x</b>"}},
		{"a,b; c", 302, []string{"a,b; c"}},
		{"", 302, nil},
		{"a\r\nx-evil: 1", 400, nil},
		{"a\nb", 400, nil},
		{"a\x00b", 400, nil},
		{"a\u0085b", 400, nil},
		{"\x7f", 400, nil},
		{"\xff", 400, nil},
		{strings.Repeat("x", 5000), 400, nil},
	}
	for _, test := range tests {
		f := newFixture(t)
		login := f.login(t, test.name)
		login.wantStatus(t, test.status)
		if test.status == 400 && login.Header.Get("Set-Cookie") != "" {
			t.Errorf("%.20q: refused, but a session began", test.name)
		}
		page := f.get(t, "/productpage")
		page.wantStatus(t, 200)
		page.lacks(t, "<b>x</b>")
		got := f.details.seen()[0].Header.Values("End-User")
		if len(got) != len(test.sent) || len(got) > 0 && got[0] != test.sent[0] {
			t.Errorf("%.20q: details received end-user %q, want %q", test.name, got, test.sent)
		}
	}
}

func TestLoginForms(t *testing.T) {
	const boundary = "b"
	multipart := "--b\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\njason\r\n--b--\r\n"
	tests := []struct {
		name, path, contentType, body string
		status                        int
		user                          string
	}{
		{"form", "/login", "application/x-www-form-urlencoded", "username=jason&passwd=x", 302, "jason"},
		{"multipart", "/login", "multipart/form-data; boundary=" + boundary, multipart, 302, "jason"},
		{"query", "/login?username=jason", "", "", 302, "jason"},
		{"query before form", "/login?username=jason", "application/x-www-form-urlencoded", "username=other", 302, "jason"},
		{"no name", "/login", "application/x-www-form-urlencoded", "passwd=x", 302, ""},
		{"no form", "/login", "text/plain", "username=jason", 302, ""},
		{"damaged form", "/login", "application/x-www-form-urlencoded", "username=%zz", 400, ""},
		{"damaged multipart", "/login", "multipart/form-data; boundary=b", "--b\r\nx", 400, ""},
		{"multipart without boundary", "/login", "multipart/form-data", multipart, 400, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			login := f.do(t, "POST", test.path, test.body, "Content-Type", test.contentType)
			login.wantStatus(t, test.status)
			f.get(t, "/productpage")
			if got := f.reviews.seen()[0].Header.Get("End-User"); got != test.user {
				t.Errorf("reviews received end-user %q, want %q", got, test.user)
			}
		})
	}
}

// TestSessionOfAReplica: with the same key any replica knows the session, with random keys only the one that began it.
func TestSessionOfAReplica(t *testing.T) {
	key := with("SESSION_KEY", strings.Repeat("k", 32))
	for _, test := range []struct {
		name     string
		replicas [2]*fixture
		known    bool
	}{
		{"shared key", [2]*fixture{newFixture(t, key), newFixture(t, key)}, true},
		{"random keys", [2]*fixture{newFixture(t), newFixture(t)}, false},
	} {
		cookie, _, _ := strings.Cut(test.replicas[0].login(t, "jason").Header.Get("Set-Cookie"), ";")
		page := test.replicas[1].get(t, "/productpage", "Cookie", cookie)
		if got := strings.Contains(page.body, "Sign out"); got != test.known {
			t.Errorf("%s: the other replica knows the session: %t, want %t", test.name, got, test.known)
		}
	}
}

func newStubServer(t *testing.T, s *stub) string {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv.URL
}
