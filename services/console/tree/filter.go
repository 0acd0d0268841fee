package tree

import (
	"strings"

	"example.com/bookinfo/services/console/span"
)

// Filter finds spans inside one trace. Its text is words that must all match, in any case: a word is found in
// service, name, ids, address, server name, tags and events; key=value asks for a tag with just that value; error
// asks for failed spans; -word leaves out what word finds. "words in quotes" are one word.
type Filter struct{ terms []term }

type term struct {
	text, key string
	not       bool
}

// ParseFilter never fails: whatever is written is looked for.
func ParseFilter(text string) Filter {
	var f Filter
	for _, word := range words(text) {
		t := term{text: word}
		if rest, ok := strings.CutPrefix(word, "-"); ok && rest != "" {
			t.not, t.text = true, rest
		}
		if key, value, ok := strings.Cut(t.text, "="); ok && key != "" {
			t.key, t.text = key, value
		}
		t.text = strings.ToLower(t.text)
		f.terms = append(f.terms, t)
	}
	return f
}

func words(text string) (out []string) {
	var b strings.Builder
	quoted := false
	flush := func() {
		if b.Len() > 0 {
			out = append(out, b.String())
			b.Reset()
		}
	}
	for _, r := range text {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			flush()
		default:
			b.WriteRune(r)
		}
	}
	flush()
	return out
}

// Empty reports whether the filter keeps everything.
func (f Filter) Empty() bool { return len(f.terms) == 0 }

// Match reports whether the filter finds the node.
func (f Filter) Match(n *Node) bool {
	if n.Span == nil {
		return false
	}
	for _, t := range f.terms {
		found := t.in(n.Span) || n.Server != nil && t.in(n.Server)
		if found == t.not {
			return false
		}
	}
	return true
}

func (t term) in(s *span.Span) bool {
	if t.key != "" {
		for _, tags := range [...]span.Tags{s.Tags, s.Resource} {
			for _, tag := range tags {
				if strings.EqualFold(tag.Key, t.key) && strings.EqualFold(tag.Value, t.text) {
					return true
				}
			}
		}
		return false
	}
	if t.text == "error" && s.Error() {
		return true
	}
	has := func(v string) bool { return strings.Contains(strings.ToLower(v), t.text) }
	if has(s.Service) || has(s.Name) || has(s.IP) || has(s.Host) || has(s.ID.String()) || has(s.Kind.String()) {
		return true
	}
	if t.text == "error" {
		return false
	}
	for _, tag := range s.Tags {
		if has(tag.Key) || has(tag.Value) {
			return true
		}
	}
	for _, e := range s.Events {
		if has(e.Name) {
			return true
		}
	}
	return false
}

// Matches gives the indexes of the nodes that the filter finds, and of those together with everything above them,
// both in order.
func (t *Tree) Matches(f Filter) (matches, kept []int) {
	keep := make([]bool, len(t.Nodes))
	for i := range t.Nodes {
		if !f.Match(&t.Nodes[i]) {
			continue
		}
		matches = append(matches, i)
		for p := i; p >= 0 && !keep[p]; p = t.Nodes[p].Parent {
			keep[p] = true
		}
	}
	for i, k := range keep {
		if k {
			kept = append(kept, i)
		}
	}
	return matches, kept
}
