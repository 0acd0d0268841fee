package route

import (
	"regexp"
	"strings"
)

// MatchKind is a way of comparing a string.
type MatchKind int

// The ways. Present holds for any value; the others compare it.
const (
	Present MatchKind = iota
	Exact
	Prefix
	// Separated is a prefix that ends at a path element: "/a" matches "/a" and "/a/b" but not "/ab" (Gateway API).
	Separated
	Regex
	Suffix
)

// StringMatch compares one string. The zero value holds for every string.
type StringMatch struct {
	Kind  MatchKind
	Value string
	// IgnoreCase holds for Exact and Prefix.
	IgnoreCase bool

	regex *regexp.Regexp
}

// NewStringMatch compiles a matcher; a regular expression (RE2) must match the whole string.
func NewStringMatch(kind MatchKind, value string, ignoreCase bool) (StringMatch, error) {
	m := StringMatch{Kind: kind, Value: value, IgnoreCase: ignoreCase}
	if kind == Regex {
		// Alone first: "a)(b" is no expression, but would become one between the parentheses.
		if _, err := regexp.Compile(value); err != nil {
			return m, err
		}
		compiled, err := regexp.Compile(`^(?:` + value + `)$`)
		if err != nil {
			return m, err
		}
		m.regex = compiled
	}
	return m, nil
}

// Matches tells whether s is what the matcher wants.
func (m *StringMatch) Matches(s string) bool {
	switch m.Kind {
	case Exact:
		return s == m.Value || m.IgnoreCase && strings.EqualFold(s, m.Value)
	case Prefix:
		return hasPrefix(s, m.Value, m.IgnoreCase)
	case Separated:
		return hasPrefix(s, m.Value, m.IgnoreCase) &&
			(len(s) == len(m.Value) || s[len(m.Value)] == '/' || strings.HasSuffix(m.Value, "/"))
	case Suffix:
		return strings.HasSuffix(s, m.Value)
	case Regex:
		return m.regex.MatchString(s)
	default:
		return true
	}
}

func hasPrefix(s, prefix string, ignoreCase bool) bool {
	if ignoreCase {
		return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
	}
	return strings.HasPrefix(s, prefix)
}

// Match is what a request must look like; every part that is set must hold. The zero value matches all.
type Match struct {
	// Path is compared without the query; nil is any.
	Path *StringMatch
	// Headers includes :method, :authority and :scheme.
	Headers []FieldMatch
	// Query parameters.
	Query []FieldMatch
}

// FieldMatch compares a header field or a query parameter.
type FieldMatch struct {
	Name  string
	Value StringMatch
	// Invert wants the opposite: absent, or of another value.
	Invert bool
}

func (m *FieldMatch) matches(value string, ok bool) bool {
	return (ok && m.Value.Matches(value)) != m.Invert
}

// fieldsMatch checks headers and query, which cost more than the path.
func (m *Match) fieldsMatch(r *Request) bool {
	for i := range m.Headers {
		value, ok := r.field(m.Headers[i].Name)
		if !m.Headers[i].matches(value, ok) {
			return false
		}
	}
	for i := range m.Query {
		value, ok := r.queryValue(m.Query[i].Name)
		if !m.Query[i].matches(value, ok) {
			return false
		}
	}
	return true
}

// Matches tells whether the request is what m wants.
func (m *Match) Matches(r *Request) bool {
	return (m.Path == nil || m.Path.Matches(r.path())) && m.fieldsMatch(r)
}
