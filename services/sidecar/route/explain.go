package route

import (
	"fmt"
	"strconv"
	"strings"
)

// Explanation tells which route a request takes, and why the ones before it are not taken.
type Explanation struct {
	// Host is the virtual host's name; "" if none has the request's authority.
	Host string `json:"host,omitempty"`
	// Steps are the routes in order, up to the one that is taken.
	Steps []Step `json:"steps"`
	// Reason says why nothing is taken, if so.
	Reason string `json:"reason,omitempty"`
}

// Step is one route that was looked at.
type Step struct {
	Route *Route `json:"-"`
	// Source is the rule that the route comes from, Name its own name.
	Source string `json:"source"`
	Name   string `json:"name,omitempty"`
	Taken  bool   `json:"taken"`
	// Reasons: of a route that is taken what matched, of another the first thing that did not.
	Reasons []string `json:"reasons"`
}

// Taken returns the route that the request takes, nil if it takes none.
func (e *Explanation) Taken() *Route {
	if n := len(e.Steps); n > 0 && e.Steps[n-1].Taken {
		return e.Steps[n-1].Route
	}
	return nil
}

// Explain goes through the routes as [Table.Choose] does, one after the other.
func (t *Table) Explain(r *Request) Explanation {
	host := t.Host(r)
	if host == nil {
		return Explanation{Steps: []Step{}, Reason: fmt.Sprintf("no virtual host has the name %q: 404, flag NR", r.Authority)}
	}
	e := Explanation{Host: host.Name, Steps: []Step{}}
	for _, route := range host.Routes {
		reasons, ok := route.Match.explain(r)
		e.Steps = append(e.Steps, Step{Route: route, Source: route.Source, Name: route.Name, Taken: ok, Reasons: reasons})
		if ok {
			return e
		}
	}
	e.Reason = "no route matches: 404, flag NR"
	return e
}

func (m *Match) explain(r *Request) (reasons []string, ok bool) {
	var matched []string
	if m.Path != nil {
		want, have := "path "+m.Path.String(), r.path()
		if !m.Path.Matches(have) {
			return []string{fmt.Sprintf("%s, is %q", want, have)}, false
		}
		matched = append(matched, want)
	}
	for i := range m.Headers {
		value, has := r.field(m.Headers[i].Name)
		if want := m.Headers[i].describe("header"); m.Headers[i].matches(value, has) {
			matched = append(matched, want)
		} else {
			return []string{want + ", " + found(value, has)}, false
		}
	}
	for i := range m.Query {
		value, has := r.queryValue(m.Query[i].Name)
		if want := m.Query[i].describe("query parameter"); m.Query[i].matches(value, has) {
			matched = append(matched, want)
		} else {
			return []string{want + ", " + found(value, has)}, false
		}
	}
	if len(matched) == 0 {
		matched = []string{"every request"}
	}
	return matched, true
}

func found(value string, has bool) string {
	if !has {
		return "is absent"
	}
	return "is " + strconv.Quote(value)
}

// String describes the matcher: `exactly "jason"`, `with prefix "/static"`.
func (m *StringMatch) String() string {
	value := strconv.Quote(m.Value)
	if m.IgnoreCase {
		value += " in any case"
	}
	switch m.Kind {
	case Exact:
		return "exactly " + value
	case Prefix:
		return "with prefix " + value
	case Separated:
		return "at or below " + value
	case Regex:
		return "like " + value
	case Suffix:
		return "with suffix " + value
	}
	return "present"
}

func (m *FieldMatch) describe(what string) string {
	name := strings.TrimPrefix(m.Name, ":")
	if name != m.Name {
		what = name
	} else {
		what += " " + name
	}
	if m.Invert {
		if m.Value.Kind == Present {
			return what + " absent"
		}
		return what + " not " + m.Value.String()
	}
	return what + " " + m.Value.String()
}

// String describes the match: `path with prefix "/static", header end-user exactly "jason"`; "every request" if it
// wants nothing.
func (m *Match) String() string {
	var parts []string
	if m.Path != nil {
		parts = append(parts, "path "+m.Path.String())
	}
	for i := range m.Headers {
		parts = append(parts, m.Headers[i].describe("header"))
	}
	for i := range m.Query {
		parts = append(parts, m.Query[i].describe("query parameter"))
	}
	if len(parts) == 0 {
		return "every request"
	}
	return strings.Join(parts, ", ")
}

// Action describes where the route leads, one line for each destination.
func (r *Route) Action() []string {
	switch {
	case r.Redirect != nil:
		return []string{fmt.Sprintf("redirect %d", r.Redirect.RedirectStatus())}
	case r.Direct != nil:
		return []string{fmt.Sprintf("answer %d", r.Direct.Status)}
	}
	var total uint64
	for _, c := range r.Clusters {
		total += uint64(c.Weight)
	}
	var lines []string
	for _, c := range r.Clusters {
		line := c.Cluster
		if len(r.Clusters) > 1 && total > 0 {
			line = fmt.Sprintf("%s%% %s", strconv.FormatFloat(100*float64(c.Weight)/float64(total), 'f', -1, 64), line)
		}
		lines = append(lines, line)
	}
	return lines
}

// Settings describes what else the route does: timeout, retries, faults, mirrors, rewrites.
func (r *Route) Settings() []string {
	var s []string
	if f := r.Fault; f != nil && f.Delay > 0 {
		s = append(s, fmt.Sprintf("delay %v (%g%%)", f.Delay, f.DelayPercent.Float()))
	}
	if f := r.Fault; f != nil && f.AbortStatus > 0 {
		s = append(s, fmt.Sprintf("abort %d (%g%%)", f.AbortStatus, f.AbortPercent.Float()))
	}
	if r.Timeout > 0 {
		s = append(s, fmt.Sprintf("timeout %v", r.Timeout))
	}
	if r.Retry != nil {
		line := fmt.Sprintf("%d retries", r.Retry.Attempts)
		if r.Retry.PerTryTimeout > 0 {
			line += fmt.Sprintf(" of %v", r.Retry.PerTryTimeout)
		}
		s = append(s, line)
	}
	for _, m := range r.Mirrors {
		s = append(s, fmt.Sprintf("mirror %g%% to %s", m.Percent.Float(), m.Cluster))
	}
	if w := r.Rewrite; w != nil {
		for _, part := range []struct{ what, to string }{{"host", w.Host}, {"prefix", w.Prefix}, {"path", w.Path}, {"pattern", w.Substitution}} {
			if part.to != "" {
				s = append(s, "rewrite "+part.what+" to "+part.to)
			}
		}
	}
	if r.CORS != nil {
		s = append(s, "CORS")
	}
	if !r.RequestHeaders.Empty() {
		s = append(s, "request headers changed")
	}
	if !r.ResponseHeaders.Empty() {
		s = append(s, "response headers changed")
	}
	return s
}
