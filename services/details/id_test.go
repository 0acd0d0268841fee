package details

import (
	"net/http/httptest"
	"testing"
)

func FuzzParseID(f *testing.F) {
	for _, id := range []string{"", "0", "-3", "+3", "0x1F", "010", "0b1", "0o7", "0d9", "1_000", "1__0", "_1", "08", " 7 ", "--1", "0x-1", "\x00"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := parseID(text)
		if !ok {
			return
		}
		if again, ok := parseID(id.String()); !ok || again.Cmp(id) != 0 {
			t.Fatalf("%q is %v, which read again is %v, %v", text, id, again, ok)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, path := range []string{"/details/0", "/details", "/details/../x", "//", "/details/%2F", "/health/x"} {
		f.Add(path)
	}
	s := New(Config{})
	f.Fuzz(func(t *testing.T, path string) {
		req := httptest.NewRequest("GET", "/", nil)
		req.URL.Path = "/" + path
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		if rec.Code != 200 && rec.Code != 400 && rec.Code != 404 {
			t.Fatalf("%q: %d", path, rec.Code)
		}
	})
}
