package route

import (
	"slices"
	"strings"
)

// pathIndex finds the first matching route of a virtual host without trying all: routes are filed under the exact
// path, the prefix, or the literal beginning of the regular expression that they want. What can match a path is then
// one list for the exact path and one for each length of prefix in use. Of each list the first that matches counts,
// and of those the one that stands first in the virtual host.
type pathIndex struct {
	exact    map[string]bucket
	prefixes map[string]bucket
	lengths  []int // of the keys of prefixes, ascending
	folded   bucket
}

// bucket is a list of routes that want the same path. Where many of them also want a header to have exactly some
// value, those are filed by that value.
type bucket struct {
	routes   []*Route
	byHeader map[string]map[string][]*Route
}

// fileByHeaderFrom is the size from which a bucket is filed by header: below it a walk is as fast.
const fileByHeaderFrom = 16

func newPathIndex(routes []*Route) pathIndex {
	exact, prefixes := make(map[string][]*Route), make(map[string][]*Route)
	var folded []*Route
	for i, route := range routes {
		route.order = i
		switch path := route.Match.Path; {
		case path == nil || path.Kind == Present || path.Kind == Suffix:
			prefixes[""] = append(prefixes[""], route)
		case path.IgnoreCase:
			folded = append(folded, route)
		case path.Kind == Exact:
			exact[path.Value] = append(exact[path.Value], route)
		case path.Kind == Regex:
			// The literal beginning of "^(?:…)$" is empty, so it is taken from the expression as written. It is no
			// beginning at all when the expression has alternatives, which LiteralPrefix knows.
			literal := literalPrefix(path)
			prefixes[literal] = append(prefixes[literal], route)
		default:
			prefixes[path.Value] = append(prefixes[path.Value], route)
		}
	}
	index := pathIndex{exact: make(map[string]bucket, len(exact)), prefixes: make(map[string]bucket, len(prefixes)), folded: newBucket(folded)}
	for path, routes := range exact {
		index.exact[path] = newBucket(routes)
	}
	for prefix, routes := range prefixes {
		index.prefixes[prefix] = newBucket(routes)
		if !slices.Contains(index.lengths, len(prefix)) {
			index.lengths = append(index.lengths, len(prefix))
		}
	}
	slices.Sort(index.lengths)
	return index
}

func newBucket(routes []*Route) bucket {
	if len(routes) < fileByHeaderFrom {
		return bucket{routes: routes}
	}
	b := bucket{byHeader: make(map[string]map[string][]*Route)}
	for _, route := range routes {
		name, value, ok := exactHeader(&route.Match)
		if !ok {
			b.routes = append(b.routes, route)
			continue
		}
		if b.byHeader[name] == nil {
			b.byHeader[name] = make(map[string][]*Route)
		}
		b.byHeader[name][value] = append(b.byHeader[name][value], route)
	}
	return b
}

// exactHeader returns the first header that the match wants to have exactly one value.
func exactHeader(m *Match) (name, value string, ok bool) {
	for i := range m.Headers {
		if h := &m.Headers[i]; h.Value.Kind == Exact && !h.Value.IgnoreCase && !h.Invert {
			return h.Name, h.Value.Value, true
		}
	}
	return "", "", false
}

func literalPrefix(m *StringMatch) string {
	// Anything special ends the literal; what stands before a quantifier is optional.
	end := strings.IndexAny(m.Value, `\.+*?()|[]{}^$`)
	switch {
	case strings.IndexByte(m.Value, '|') >= 0:
		return ""
	case end < 0:
		return m.Value
	case end > 0 && strings.IndexByte(`*?{`, m.Value[end]) >= 0:
		// A quantifier binds the character before it, which may be of several bytes: leave ASCII only.
		if m.Value[end-1] >= 0x80 {
			return ""
		}
		return m.Value[:end-1]
	}
	return m.Value[:end]
}

// first returns the first route that matches, nil if none does.
func (x *pathIndex) first(r *Request) *Route {
	path := r.path()
	var best *Route
	if len(x.exact) > 0 {
		if b, ok := x.exact[path]; ok {
			best = b.first(r, path, best)
		}
	}
	for _, length := range x.lengths {
		if length > len(path) {
			break
		}
		if b, ok := x.prefixes[path[:length]]; ok {
			best = b.first(r, path, best)
		}
	}
	return x.folded.first(r, path, best)
}

// first returns the first route of the bucket that matches and stands before best, else best.
func (b *bucket) first(r *Request, path string, best *Route) *Route {
	best = firstOf(b.routes, r, path, best)
	for name, byValue := range b.byHeader {
		if value, ok := r.field(name); ok {
			best = firstOf(byValue[value], r, path, best)
		}
	}
	return best
}

func firstOf(routes []*Route, r *Request, path string, best *Route) *Route {
	for _, route := range routes {
		if best != nil && route.order > best.order {
			return best
		}
		if m := &route.Match; (m.Path == nil || m.Path.Matches(path)) && m.fieldsMatch(r) {
			return route
		}
	}
	return best
}
