package vectors

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// symbol finds the symbols in a recorded value: see README.md.
var symbol = regexp.MustCompile(`\$(trace\d+(?:\.right16)?|span\d+|uuid\d+|ms|us|ns|date|local_ip|upstream|envoy_version|x70000)`)

// given are the ids that the recorder sent. A fresh id is none of them.
var given = []string{
	"463ac35c9f6413ad48485a3953bb6124", "48485a3953bb6124", "a2fb4a1d1a96d312", "0020000000000001",
	"80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1", "05e3ac9a4f6e3b90",
}

// Matcher compares what was seen with one recorded entry. It learns what each symbol stands for at first sight.
type Matcher struct {
	t     testing.TB
	fresh map[string]Fresh
	bound map[string]string
}

// NewMatcher returns a matcher for one entry. Symbols may be bound beforehand, for example "$local_ip".
func NewMatcher(t testing.TB, fresh map[string]Fresh, bound map[string]string) *Matcher {
	m := &Matcher{t: t, fresh: fresh, bound: map[string]string{}}
	for name, value := range bound {
		m.bound[name] = value
	}
	return m
}

// Text fails the test unless got is what the recorded want says. what names the place.
func (m *Matcher) Text(what, want, got string) {
	m.t.Helper()
	if err := m.match(want, got); err != nil {
		m.t.Errorf("%s: %v", what, err)
	}
}

// Lines compares header lines with the recorded ones, in order.
func (m *Matcher) Lines(what string, want, got []Pair) {
	m.t.Helper()
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			m.t.Errorf("%s: also has %s: %q\n got %q\nwant %q", what, got[i][0], got[i][1], got, want)
			return
		case i >= len(got):
			m.t.Errorf("%s: lacks %s: %q\n got %q\nwant %q", what, want[i][0], want[i][1], got, want)
			return
		case want[i][0] != got[i][0]:
			m.t.Errorf("%s: line %d is %s, want %s\n got %q\nwant %q", what, i, got[i][0], want[i][0], got, want)
			return
		}
		m.Text(what+": "+want[i][0], want[i][1], got[i][1])
	}
}

// match binds the symbols of want that are new, and then demands equality.
func (m *Matcher) match(want, got string) error {
	pattern, at := "^", 0
	var open []string
	for _, span := range symbol.FindAllStringIndex(want, -1) {
		name := want[span[0]:span[1]]
		pattern += regexp.QuoteMeta(want[at:span[0]])
		at = span[1]
		value, ok := m.value(name)
		if ok {
			pattern += regexp.QuoteMeta(value)
			continue
		}
		open = append(open, name)
		pattern += m.shape(name)
	}
	pattern += regexp.QuoteMeta(want[at:]) + "$"
	found := regexp.MustCompile("(?s)" + pattern).FindStringSubmatch(got)
	if found == nil {
		return fmt.Errorf("got %q, want %q (with %v)", got, want, m.bound)
	}
	for i, name := range open {
		if err := m.bind(name, found[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Matcher) value(name string) (string, bool) {
	switch name {
	case "$x70000":
		return strings.Repeat("x", 70000), true
	case "$ms", "$us", "$ns", "$date", "$upstream", "$envoy_version":
		return "", false
	}
	if trace, ok := strings.CutSuffix(name, ".right16"); ok {
		if whole, ok := m.bound[trace]; ok {
			return whole[max(len(whole)-16, 0):], true
		}
	}
	value, ok := m.bound[name]
	return value, ok
}

// shape is the expression for a symbol that is not bound yet.
func (m *Matcher) shape(name string) string {
	switch {
	case strings.HasPrefix(name, "$trace") && !strings.HasSuffix(name, ".right16"):
		return "([0-9a-f]{" + strconv.Itoa(m.fresh[name].Hex) + "})"
	case strings.HasPrefix(name, "$trace"), strings.HasPrefix(name, "$span"):
		return "([0-9a-f]{16})"
	case strings.HasPrefix(name, "$uuid"):
		return "([0-9a-f]{8}-[0-9a-f]{4}-" + m.fresh[name].Nibble + "[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"
	case name == "$ms", name == "$us", name == "$ns":
		return `(\d+)`
	case name == "$local_ip":
		return `([0-9a-f.:]+)`
	case name == "$upstream":
		return `(127\.0\.0\.1:\d+)`
	case name == "$date":
		return `([A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT)`
	}
	return "(.+)"
}

func (m *Matcher) bind(name, value string) error {
	switch name {
	case "$ms", "$us", "$ns", "$date", "$upstream", "$envoy_version":
		return nil
	}
	if slices.Contains(given, value) {
		return fmt.Errorf("%s is %s, which was sent: want a fresh id", name, value)
	}
	for other, taken := range m.bound {
		if taken == value {
			return fmt.Errorf("%s is %s, which is %s too", name, value, other)
		}
	}
	m.bound[name] = value
	if half, ok := m.bound[name+".right16"]; ok && !strings.HasSuffix(value, half) {
		return fmt.Errorf("%s is %s, but %s.right16 is %s", name, value, name, half)
	}
	return nil
}

// JSON compares a decoded JSON value with a recorded one; numbers may be symbols. Objects must have the same keys.
func (m *Matcher) JSON(what string, want, got any) {
	m.t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			m.t.Errorf("%s is %v, want an object", what, got)
			return
		}
		// Ids first, so that what is made of them is known.
		for _, key := range slices.SortedFunc(maps.Keys(w), func(a, b string) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
		}) {
			if _, ok := g[key]; !ok {
				m.t.Errorf("%s lacks %s, want %v", what, key, w[key])
				continue
			}
			m.JSON(what+"."+key, w[key], g[key])
		}
		for key := range g {
			if _, ok := w[key]; !ok {
				m.t.Errorf("%s has %s: %v, which was not recorded", what, key, g[key])
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			m.t.Errorf("%s is %v, want %v", what, got, want)
			return
		}
		for i := range w {
			m.JSON(fmt.Sprintf("%s[%d]", what, i), w[i], g[i])
		}
	case string:
		if number, ok := got.(float64); ok {
			got = strconv.FormatFloat(number, 'f', -1, 64)
		}
		text, ok := got.(string)
		if !ok {
			m.t.Errorf("%s is %v, want %q", what, got, w)
			return
		}
		m.Text(what, w, text)
	default:
		if want != got {
			m.t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
}

func rank(key string) int { return slices.Index([]string{"spanId", "id", "traceId"}, key) * -1 }

// Spans compares reported spans with the recorded ones, tags restricted to those of the recording's choice.
func (m *Matcher) Spans(want, got []Span) {
	m.t.Helper()
	if len(got) != len(want) {
		m.t.Errorf("%d spans were reported, want %d: %+v", len(got), len(want), got)
		return
	}
	for i := range want {
		what := fmt.Sprintf("span %d", i)
		w, g := want[i], got[i]
		m.Text(what+": trace", w.Trace, g.Trace)
		m.Text(what+": id", w.ID, g.ID)
		m.optional(what+": parent", w.Parent, g.Parent)
		if w.TraceState != nil {
			m.optional(what+": trace state", w.TraceState, g.TraceState)
		}
		if w.Kind != g.Kind || w.Name != g.Name || w.Shared != g.Shared {
			m.t.Errorf("%s is %s %q shared %v, want %s %q %v", what, g.Kind, g.Name, g.Shared, w.Kind, w.Name, w.Shared)
		}
		for key, value := range w.Tags {
			if _, ok := g.Tags[key]; !ok {
				m.t.Errorf("%s: lacks the tag %s: %q", what, key, value)
				continue
			}
			m.Text(what+": tag "+key, value, g.Tags[key])
		}
		for key, value := range g.Tags {
			if _, ok := w.Tags[key]; !ok && chosenTag(key, w.Tags) {
				m.t.Errorf("%s: has the tag %s: %q, which was not recorded", what, key, value)
			}
		}
	}
}

func (m *Matcher) optional(what string, want, got *string) {
	m.t.Helper()
	switch {
	case want == nil && got == nil:
	case want == nil:
		m.t.Errorf("%s is %q, want none", what, *got)
	case got == nil:
		m.t.Errorf("%s is missing, want %q", what, *want)
	default:
		m.Text(what, *want, *got)
	}
}

// chosenTag tells whether the recording would list the tag.
func chosenTag(key string, recorded map[string]string) bool {
	switch key {
	case "guid:x-request-id", "guid:x-client-trace-id", "http.status_code", "response_flags", "error", "retry.count",
		"downstream_cluster":
		return true
	case "http.url":
		_, ok := recorded[key]
		return ok
	}
	return false
}
