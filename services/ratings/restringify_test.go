package ratings

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os/exec"
	"strings"
	"testing"

	"example.com/bookinfo/internal/need"
)

// posted are texts with what JSON.stringify(JSON.parse(text)) makes of them in node; TestPostedAsInNode asks it.
func posted() map[string]string {
	return map[string]string{
		`5`:                                     `5`,
		`-0`:                                    `0`,
		`1.0`:                                   `1`,
		`1e21`:                                  `1e+21`,
		`123456789012345680000`:                 `123456789012345680000`,
		`0.000001`:                              `0.000001`,
		`0.0000001`:                             `1e-7`,
		`1e-10`:                                 `1e-10`,
		`1.5e300`:                               `1.5e+300`,
		`1e999`:                                 `null`,
		`-1e999`:                                `null`,
		`9007199254740993`:                      `9007199254740992`,
		`null`:                                  `null`,
		` true `:                                `true`,
		`false`:                                 `false`,
		`[ ]`:                                   `[]`,
		`{ }`:                                   `{}`,
		`[1 ,2,[ 3 ]]`:                          `[1,2,[3]]`,
		`"a"`:                                   `"a"`,
		`"\u0041\/\"\\\b\f\n\r\t"`:              `"A/\"\\\b\f\n\r\t"`,
		`"\u001f\u007f\u2028<>&"`:               "\"\\u001f\x7f\u2028<>&\"",
		`"\ud83d\ude00"`:                        `"😀"`,
		`"\ud83d"`:                              `"\ud83d"`,
		`"\ude00\ud83d"`:                        `"\ude00\ud83d"`,
		`"\uD83Dx"`:                             `"\ud83dx"`,
		`"\ud83d\u0041"`:                        `"\ud83dA"`,
		`"é"`:                                   `"é"`,
		`{"b":1,"a":2}`:                         `{"b":1,"a":2}`,
		`{"b":1,"10":2,"9":3,"01":4}`:           `{"9":3,"10":2,"b":1,"01":4}`,
		`{"4294967294":1,"4294967295":2}`:       `{"4294967294":1,"4294967295":2}`,
		`{"a":1,"4294967295":2,"1":3}`:          `{"1":3,"a":1,"4294967295":2}`,
		`{"a":1,"b":2,"a":3}`:                   `{"a":3,"b":2}`,
		`{"\u0061":1,"a":2}`:                    `{"a":2}`,
		`{"__proto__":1,"x":{"constructor":2}}`: `{"__proto__":1,"x":{"constructor":2}}`,
		`{"":1,"-1":2,"1.5":3}`:                 `{"":1,"-1":2,"1.5":3}`,
	}
}

func TestRestringify(t *testing.T) {
	for text, want := range posted() {
		got, err := restringify([]byte(text))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestPostedAsInNode(t *testing.T) {
	node := need.Tool(t, "node")
	var texts []string
	for text := range posted() {
		texts = append(texts, text)
	}
	ids := []string{"12abc", "0x1F", "0x", "-0", "  5", "1e3", "9007199254740993", strings.Repeat("1", 25), strings.Repeat("9", 400), "0xfffffffffffffffff", "\u00a07"}
	in, err := json.Marshal(map[string][]string{"texts": texts, "ids": ids})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "-e", `
		const {texts, ids} = JSON.parse(require("fs").readFileSync(0, "utf8"))
		console.log(JSON.stringify({
			texts: texts.map(t => JSON.stringify(JSON.parse(t))),
			ids: ids.map(i => Number.isNaN(parseInt(i)) ? "NaN" : JSON.stringify(parseInt(i))),
		}))`)
	cmd.Stdin = bytes.NewReader(in)
	printed, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	// Decoding would replace half surrogate pairs: node escapes them twice, so they come as text.
	var out struct{ Texts, IDs []string }
	if err := json.Unmarshal(printed, &out); err != nil {
		t.Fatal(err)
	}
	for i, text := range texts {
		if got, err := restringify([]byte(text)); err != nil || string(got) != out.Texts[i] {
			t.Errorf("%s: got %s, %v, node has %s", text, got, err, out.Texts[i])
		}
	}
	for i, id := range ids {
		got := "NaN"
		if n := parseInt(id); !math.IsNaN(n) {
			got = string(AppendNumber(nil, n))
		}
		if got != out.IDs[i] {
			t.Errorf("parseInt(%q): got %s, node has %s", id, got, out.IDs[i])
		}
	}
}

func TestRestringifyRefuses(t *testing.T) {
	for _, text := range []string{"", "x", "{", "[1,]", `{"a":}`, "1 2", "\ufeff1", "NaN", `"\x"`, "\"\n\""} {
		if got, err := restringify([]byte(text)); err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
	deep := strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2)
	if _, err := restringify([]byte(deep)); !errors.Is(err, errTooDeep) {
		t.Errorf("too deep: %v", err)
	}
}

func FuzzRestringify(f *testing.F) {
	for text := range posted() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		once, err := restringify(text)
		if (err == nil) != json.Valid(text) && !errors.Is(err, errTooDeep) {
			t.Fatalf("%q: valid JSON is %v, error %v", text, json.Valid(text), err)
		}
		if err != nil {
			return
		}
		twice, err := restringify(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q: %s, and again %s, %v", text, once, twice, err)
		}
	})
}

func FuzzParseInt(f *testing.F) {
	for _, id := range []string{"", "0", "12abc", "0x1F", "-0", "  +7", "0x", "1e3", strings.Repeat("9", 400), "\u00a05", "\xff"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		n := parseInt(id)
		if math.IsNaN(n) {
			return
		}
		if n != math.Trunc(n) {
			t.Fatalf("parseInt(%q) = %v, no integer", id, n)
		}
		if text := AppendNumber(nil, n); !json.Valid(text) {
			t.Fatalf("parseInt(%q) is written as %s", id, text)
		}
	})
}
