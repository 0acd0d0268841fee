package pyjson

import (
	"fmt"
	"strings"
	"testing"
)

func TestSpelling(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"id":0,"author":"William Shakespeare"}`, `{"id": 0, "author": "William Shakespeare"}`},
		{`{"b":1,"a":[true,false,null]}`, `{"b": 1, "a": [true, false, null]}`},
		{` [ ] `, `[]`},
		{`{}`, `{}`},
		{`"é😀"`, `"\u00e9\ud83d\ude00"`},
		{"\"\x7f/\\u0001\\b\\f\\n\\r\\t\\\"\\\\\"", `"\u007f/\u0001\b\f\n\r\t\"\\"`},
		{`{"a":1,"b":2,"a":3}`, `{"a": 3, "b": 2}`},
		{`-0`, `0`},
		{`-0.0`, `-0.0`},
		{`4.90`, `4.9`},
		{`1e3`, `1000.0`},
		{`1e16`, `1e+16`},
		{`123456789012345.6`, `123456789012345.6`},
		{`0.0001`, `0.0001`},
		{`0.00001`, `1e-05`},
		{`1.5E-7`, `1.5e-07`},
		{`1e999`, `Infinity`},
		{`-1e999`, `-Infinity`},
		{`123456789012345678901234567890`, `123456789012345678901234567890`},
	}
	for _, test := range tests {
		value, err := Parse([]byte(test.in))
		if err != nil {
			t.Errorf("Parse(%s): %v", test.in, err)
			continue
		}
		if got := string(value.Append(nil)); got != test.want {
			t.Errorf("%s is written as %s, want %s", test.in, got, test.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		``, ` `, `x`, `{"a":1`, `{"a" 1}`, `[1,]`, `[1 2]`, `{} {}`, `'a'`, `01`, "\"\n\"",
		strings.Repeat("[", 300) + strings.Repeat("]", 300),
		strings.Repeat("9", 5000),
	} {
		if value, err := Parse([]byte(in)); err == nil {
			t.Errorf("Parse(%.20q) = %s, want an error", in, value.Append(nil))
		}
	}
}

func TestAccess(t *testing.T) {
	value, err := Parse([]byte(`{"stars":5,"share":4.9,"name":"x","none":null,"list":[1,2]}`))
	if err != nil {
		t.Fatal(err)
	}
	stars, _ := value.Get("stars")
	if n, ok := stars.Int(); n != 5 || !ok {
		t.Errorf("stars = %d, %t", n, ok)
	}
	for _, name := range []string{"share", "name", "none", "missing"} {
		v, found := value.Get(name)
		if found != (name != "missing") {
			t.Errorf("Get(%s) found: %t", name, found)
		}
		if _, ok := v.Int(); ok {
			t.Errorf("%s is taken for a whole number", name)
		}
	}
	if list, _ := value.Get("list"); len(list.Items()) != 2 {
		t.Errorf("list has %d items", len(list.Items()))
	}
	if _, found := Text("x").Get("a"); found {
		t.Error("a string has a field")
	}
}

// TestManyFields: names are found again whether there are few of them or many.
func TestManyFields(t *testing.T) {
	for _, n := range []int{1, 15, 16, 17, 100} {
		var in strings.Builder
		in.WriteString("{")
		for round := range 2 {
			for i := range n {
				if i+round > 0 {
					in.WriteString(",")
				}
				fmt.Fprintf(&in, `"k%d":%d`, i, 1000*round+i)
			}
		}
		in.WriteString("}")
		value, err := Parse([]byte(in.String()))
		if err != nil {
			t.Fatal(err)
		}
		if len(value.fields) != n {
			t.Errorf("%d names became %d", n, len(value.fields))
		}
		for i := range n {
			if v, _ := value.Get(fmt.Sprintf("k%d", i)); v.text != fmt.Sprint(1000+i) || value.fields[i].name != fmt.Sprintf("k%d", i) {
				t.Errorf("of %d: k%d is %s at the place of %s", n, i, v.text, value.fields[i].name)
			}
		}
	}
}

// FuzzParse holds what is written to what was read: it is ASCII, it is JSON again, and it means the same.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5,"é"],"a":null}`, `"\ud800"`, `[[[]]]`, `-0`, `1e999`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		value, err := Parse(data)
		if err != nil {
			return
		}
		out := value.Append(nil)
		for _, c := range out {
			if c < ' ' || c > '~' {
				t.Fatalf("%q holds byte %#x", out, c)
			}
		}
		if strings.Contains(string(out), "Infinity") {
			return // Python's spelling, which is not JSON
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", data, out, err)
		}
		if second := again.Append(nil); string(second) != string(out) {
			t.Fatalf("%q became %q, then %q", data, out, second)
		}
	})
}
