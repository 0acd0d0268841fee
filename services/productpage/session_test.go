package productpage

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func testSessions(now time.Time) sessions {
	return sessions{key: []byte(strings.Repeat("k", 32)), now: func() time.Time { return now }}
}

func request(cookies ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, c := range cookies {
		r.Header.Add("Cookie", c)
	}
	return r
}

func TestSessionRoundTrip(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, name := range []string{"jason", "", "jäson", "日本", `a"b\c`, "<b>", strings.Repeat("x", 2000)} {
		cookie, err := testSessions(start).start(&name)
		if err != nil {
			t.Fatal(err)
		}
		later := testSessions(start.Add(30 * 24 * time.Hour))
		got, ok := later.read(request("other=1; session=bad; session=" + cookie))
		if !ok || got.name() != name {
			t.Errorf("%q came back as %q, %t", name, got.name(), ok)
		}
		if _, ok := testSessions(start.Add(32 * 24 * time.Hour)).read(request("session=" + cookie)); ok {
			t.Errorf("%q: the session counts after 32 days", name)
		}
		other := testSessions(start)
		other.key = []byte(strings.Repeat("o", 32))
		if _, ok := other.read(request("session=" + cookie)); ok {
			t.Errorf("%q: a session of another key counts", name)
		}
	}
}

// TestSessionPayload: as in the original anybody can read who the cookie claims to be.
func TestSessionPayload(t *testing.T) {
	name := "jason"
	cookie, err := testSessions(time.Now()).start(&name)
	if err != nil {
		t.Fatal(err)
	}
	payload, _, _ := strings.Cut(cookie, ".")
	if text, _ := base64.RawURLEncoding.DecodeString(payload); string(text) != `{"user":"jason"}` {
		t.Errorf("payload %s", text)
	}
}

func TestForgedSessions(t *testing.T) {
	s := testSessions(time.Now())
	name := "jason"
	cookie, err := s.start(&name)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(cookie, ".")
	mallory := encode([]byte(`{"user":"mallory"}`))
	for _, forged := range []string{
		"", ".", "..", "a", cookie[:len(cookie)-1], cookie + "A", parts[0] + "." + parts[2], mallory + "." + parts[1] + "." + parts[2],
		parts[0] + ".AAAA." + parts[2], strings.Repeat("a", 10_000), cookie + "." + cookie,
	} {
		if got, ok := s.read(request("session=" + forged)); ok {
			t.Errorf("%.60q counts as %q", forged, got.name())
		}
	}
}

func TestHeaderText(t *testing.T) {
	for name, want := range map[string]string{"jason": "jason", "jäson": "j\xe4son", "日本": "日本", "ä日": "ä日"} {
		if got := headerText(name); got != want {
			t.Errorf("%q travels as %q, want %q", name, got, want)
		}
	}
}

// FuzzCookie: whatever a browser sends, only what we signed counts.
func FuzzCookie(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	name := "jason"
	good, err := testSessions(now).start(&name)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, good + ";", `session="` + good + `"`, "a.b.c", "", ".", good[1:], strings.ToUpper(good)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cookie string) {
		got, ok := testSessions(now).read(request("session=" + cookie))
		if ok && got.name() != "jason" {
			t.Fatalf("%q counts as %q", cookie, got.name())
		}
		if ok && !strings.Contains(cookie, good) {
			t.Fatalf("%q counts and is not what was signed", cookie)
		}
	})
}
