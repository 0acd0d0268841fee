package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzAppendString holds what is written against encoding/json reading it.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", `a"b\c`, "\x00\x01\n\t\x1f\x7f", "é✓\u2028", "\xff\xc3", "\xed\xa0\x80", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := AppendString([]byte("x"), s)
		if b[0] != 'x' || !utf8.Valid(b) {
			t.Fatalf("%q is written as %q", s, b)
		}
		var got string
		if err := json.Unmarshal(b[1:], &got); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		// encoding/json, too, reads each byte that is not UTF-8 as one U+FFFD.
		if want := strings.ToValidUTF8(string([]rune(s)), "\ufffd"); got != want {
			t.Errorf("%q is read back as %q, want %q", s, got, want)
		}
	})
}
