package route

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
)

// RewrittenPath returns the target that goes upstream; the query stays as it came.
func (r *Route) RewrittenPath(target string) string {
	w := r.Rewrite
	if w == nil {
		return target
	}
	path, query := splitTarget(target)
	switch {
	case w.Path != "":
		return w.Path + query
	case w.Regex != nil:
		return w.Regex.ReplaceAllString(path, goTemplate(w.Substitution)) + query
	case w.Prefix != "":
		return r.replacePrefix(path, w.Prefix) + query
	}
	return target
}

// replacePrefix puts prefix in place of what the route's path match took. A Separated match takes whole elements, so
// that "/" in place of "/a" makes "/a/b" into "/b" and not "//b" (Gateway API, ReplacePrefixMatch).
func (r *Route) replacePrefix(path, prefix string) string {
	m := r.Match.Path
	if m == nil {
		return prefix + strings.TrimPrefix(path, "/")
	}
	switch m.Kind {
	case Exact, Regex:
		return prefix // both matched the whole path
	case Prefix:
		return prefix + path[min(len(m.Value), len(path)):]
	case Separated:
		rest := path[min(len(strings.TrimSuffix(m.Value, "/")), len(path)):]
		rest = strings.TrimSuffix(prefix, "/") + rest
		if rest == "" || rest[0] != '/' {
			rest = "/" + rest
		}
		return rest
	}
	return path
}

// goTemplate turns RE2's \1 into Go's ${1}.
func goTemplate(substitution string) string {
	var b strings.Builder
	for i := 0; i < len(substitution); i++ {
		switch c := substitution[i]; {
		case c == '$':
			b.WriteString("$$")
		case c == '\\' && i+1 < len(substitution):
			i++
			if d := substitution[i]; d >= '0' && d <= '9' {
				b.WriteString("${" + string(d) + "}")
			} else {
				b.WriteByte(d)
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Location is the redirect's target. The port of the request stays, also with another scheme, unless it is the default
// of the old one (Envoy: source/common/router/config_utility and processRequestHost).
func (r *Route) Location(req *Request) string {
	d := r.Redirect
	from := req.Scheme
	if from == "" {
		from = "http"
	}
	scheme := cmp.Or(d.Scheme, from)
	host := d.Host
	if host == "" {
		name, port := splitAuthority(req.Authority)
		host = req.Authority
		if d.Port != 0 || scheme != from && (from == "http" && port == 80 || from == "https" && port == 443) {
			host = name
		}
	}
	if d.Port != 0 {
		host += ":" + strconv.Itoa(d.Port)
	}
	path, query := splitTarget(req.Path)
	switch {
	case d.Path != "":
		path = d.Path
		if strings.Contains(path, "?") {
			query = ""
		}
	case d.HasPrefix:
		path = r.replacePrefix(path, d.Prefix)
	}
	return scheme + "://" + host + path + query
}

// RedirectStatus is the redirect's status, 301 unless set.
func (d *Redirect) RedirectStatus() int {
	if d.Status == 0 {
		return 301
	}
	return d.Status
}

func splitTarget(target string) (path, query string) {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		return target[:i], target[i:]
	}
	return target, ""
}

// HashOf mixes what the route's hash policies name; ok is false if the request has none of it, and any endpoint will
// do. Where the first cookie policy with a TTL finds no cookie, cookie is the policy after which the relay generates one
// and asks again.
func (r *Route) HashOf(req *Request, source netip.Addr) (hash uint64, ok bool, cookie *HashPolicy) {
	for i := range r.Hash {
		policy := &r.Hash[i]
		var value string
		switch {
		case policy.Header != "":
			value, _ = req.field(policy.Header)
		case policy.Cookie != "":
			value = cookieValue(req, policy.Cookie)
			if value == "" && policy.CookieTTL != nil && cookie == nil {
				cookie = policy
			}
		case policy.Query != "":
			value, _ = req.queryValue(policy.Query)
		case policy.SourceIP && source.IsValid():
			value = source.String()
		}
		if value != "" {
			hash = (hash<<1 | hash>>63) ^ HashString(value)
			ok = true
		}
	}
	return hash, ok, cookie
}

// HashString is 64-bit FNV-1a, with its bits mixed once more so that short keys spread over a ring. (Envoy uses xxHash:
// which endpoint a key falls on is not part of any contract, only that it stays there.)
func HashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return h
}

func cookieValue(req *Request, name string) string {
	for _, field := range req.Headers {
		if field.Name != "cookie" {
			continue
		}
		rest := field.Value
		for rest != "" {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			if key, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && key == name {
				return strings.Trim(value, `"`)
			}
		}
	}
	return ""
}
