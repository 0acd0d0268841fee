package vectors

import (
	"strings"
	"testing"
)

// What a matcher must not let pass: a check that cannot fail shows nothing.
func TestMatch(t *testing.T) {
	fresh := map[string]Fresh{
		"$trace1": {Hex: 32}, "$span1": {Hex: 16}, "$span2": {Hex: 16}, "$uuid1": {Nibble: "9"},
	}
	const (
		trace = "0123456789abcdef0011223344556677"
		right = "0011223344556677"
		span  = "fedcba9876543210"
		uuid  = "3f1a9c20-7b1d-9e44-8a51-0c2f6d7e8b90"
	)
	type step struct{ want, got string }
	for _, tt := range []struct {
		name  string
		steps []step
		fails string // of the last step; empty: it passes
	}{
		{"literal", []step{{"a", "a"}}, ""},
		{"other literal", []step{{"a", "b"}}, `got "b"`},
		{"inside a value", []step{{"00-$trace1-$span1-01", "00-" + trace + "-" + span + "-01"}}, ""},
		{"bound value again", []step{{"$trace1", trace}, {"$trace1", trace}}, ""},
		{"bound value differs", []step{{"$trace1", trace}, {"$trace1", strings.ToUpper(trace)}}, "got"},
		{"right half", []step{{"$trace1", trace}, {"$trace1.right16", right}}, ""},
		{"right half differs", []step{{"$trace1", trace}, {"$trace1.right16", span}}, "got"},
		{"right half first", []step{{"$trace1.right16", right}, {"$trace1", trace}}, ""},
		{"right half first, differs", []step{{"$trace1.right16", span}, {"$trace1", trace}}, "right16 is"},
		{"too narrow", []step{{"$trace1", right}}, "got"},
		{"capitals", []step{{"$span1", "FEDCBA9876543210"}}, "got"},
		{"two symbols, one value", []step{{"$span1", span}, {"$span2", span}}, "which is $span1 too"},
		{"an id that was sent", []step{{"$span1", "a2fb4a1d1a96d312"}}, "which was sent"},
		{"request id", []step{{"$uuid1", uuid}}, ""},
		{"other reason", []step{{"$uuid1", strings.Replace(uuid, "-9e", "-4e", 1)}}, "got"},
		{"number", []step{{"$us", "17"}, {"$us", "18"}}, ""},
		{"no number", []step{{"$us", "x"}}, "got"},
		{"long value", []step{{"$x70000", strings.Repeat("x", 70000)}}, ""},
		{"long value cut", []step{{"$x70000", "xxx"}}, "got"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := NewMatcher(t, fresh, nil)
			var err error
			for i, s := range tt.steps {
				if err = m.match(s.want, s.got); err != nil && i < len(tt.steps)-1 {
					t.Fatal(err)
				}
			}
			switch {
			case tt.fails == "" && err != nil:
				t.Error(err)
			case tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)):
				t.Errorf("got %v, want an error with %q", err, tt.fails)
			}
		})
	}
}

func TestEntriesAreThere(t *testing.T) {
	for name, atLeast := range map[string]int{"b3.json": 500, "b3-w3c.json": 143, "otel.json": 233, "hcm.json": 113} {
		entries := Entries(t, name)
		if len(entries) < atLeast {
			t.Errorf("%s has %d entries, want %d", name, len(entries), atLeast)
		}
		for _, e := range entries {
			if len(e.Envoy) == 0 || e.Text("direction") == "" || e.Status == 0 {
				t.Errorf("%s: %s is not read completely: %+v", name, e.ID, e)
			}
		}
	}
}
