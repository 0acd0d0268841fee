package expr

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func lookup(tags map[string]string) Lookup {
	return func(key string) (string, bool) { v, ok := tags[key]; return v, ok }
}

func TestMatch(t *testing.T) {
	tags := lookup(map[string]string{
		"http.status_code": "503", "component": "proxy", "error": "", "http.url": "http://a/b c", "n": "1.50",
		"guid:x-request-id": "42ff", "and": "x", "size": "big",
	})
	for _, c := range []struct {
		expr string
		want bool
	}{
		{"error", true},
		{"missing", false},
		{"not missing", true},
		{"!error", false},
		{"http.status_code = 503", true},
		{"http.status_code = 503.0", true},
		{`http.status_code = "503.0"`, false},
		{`http.status_code = '503'`, true},
		{"http.status_code != 503", false},
		{"http.status_code >= 500 and http.status_code < 600", true},
		{"http.status_code > 503", false},
		{"http.status_code <= 503", true},
		{"http.status_code > 60", true},
		{`http.status_code > "60"`, false},
		{"n == 1.5", true},
		{"size > 1", false},
		{"size != 1", true},
		{"missing != 1", false},
		{"not missing = 1", true},
		{"component = proxy", true},
		{"component=proxy&&!missing", true},
		{"missing or component = other or error", true},
		{"error or missing and missing", true},
		{"(error or missing) and missing", false},
		{"NOT (error AND missing)", true},
		{`http.url = "http://a/b c"`, true},
		{"guid:x-request-id = 42ff", true},
		{`"and" = x`, true},
		{"error = ''", true},
	} {
		e, err := Parse(c.expr)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		if got := e.Match(tags); got != c.want {
			t.Errorf("%s: got %v, want %v", c.expr, got, c.want)
		}
	}
}

func TestParseError(t *testing.T) {
	for _, c := range []struct {
		expr string
		pos  int
		msg  string
	}{
		{"", 0, "expected a tag's name"},
		{"a =", 3, "expected a value after ="},
		{"a = and", 4, `found "and"`},
		{"a b", 2, "expected and, or, or the end"},
		{"(a or b", 7, "expected ) for the ( at character 1"},
		{"a and", 5, "found the end"},
		{"a = 'x", 4, "does not end"},
		{"a ? 1", 2, `unexpected "?"`},
		{"a)", 1, `found ")"`},
		{"'' = 1", 0, "empty"},
		{strings.Repeat("(", 100) + "a", 65, "deep"},
		{strings.Repeat("a", 5000), MaxLength, "longer than 4096"},
	} {
		_, err := Parse(c.expr)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.20q: no error", c.expr)
			continue
		}
		if e.Pos != c.pos || !strings.Contains(e.Msg, c.msg) {
			t.Errorf("%.20q: got %d %q, want %d %q", c.expr, e.Pos, e.Msg, c.pos, c.msg)
		}
	}
}

func TestMust(t *testing.T) {
	e, err := Parse(`a = "x" and b > 1 and (c or d) and not e and f`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, clause := range e.Must() {
		var any []string
		for _, c := range clause {
			any = append(any, fmt.Sprintf("%s:%s:%v:%v", c.Key, c.Value, c.Equal, c.Holds("2")))
		}
		got = append(got, strings.Join(any, "|"))
	}
	if text, want := strings.Join(got, " "), "a:x:true:false b::false:true c::false:true|d::false:true f::false:true"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if got := strings.Join(e.Keys(), " "); got != "a b c d e f" {
		t.Errorf("keys %s", got)
	}
}

// FuzzParse holds that nothing panics, and that an expression's own spelling means the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`a = "x" and b > 1`, "not (a or 'b c')", "a!=1||!b", `x = "\""`, "a = 1e3", "é = ü"} {
		f.Add(s, "1", "x")
	}
	f.Fuzz(func(t *testing.T, s, one, two string) {
		e, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(e.String())
		if err != nil && len(e.String()) <= MaxLength && !strings.Contains(err.Error(), "deep") {
			t.Fatalf("%q was written as %q: %v", s, e.String(), err)
		}
		if err != nil {
			return
		}
		for i := range 1 << min(len(e.Keys()), 4) {
			get := func(key string) (string, bool) {
				for k, have := range e.Keys() {
					if have == key {
						return []string{one, two}[k&1], k >= 4 || i>>k&1 == 1
					}
				}
				return "", false
			}
			if e.Match(get) != again.Match(get) {
				t.Fatalf("%q and %q differ", s, e.String())
			}
		}
	})
}
