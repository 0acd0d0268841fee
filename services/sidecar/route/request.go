package route

import (
	"net/netip"
	"strings"

	"example.com/bookinfo/services/sidecar/header"
)

// Request is what routing sees of a request.
type Request struct {
	Method, Scheme, Authority string
	// Path is the target in origin form, with its query.
	Path    string
	Headers header.Fields
	// Port of the destination, where the listener stands for one; 0 takes the authority's.
	Port int
	// Principal is the caller's identity without "spiffe://": "cluster.local/ns/default/sa/bookinfo-reviews"; "" if it
	// has none. Only access rules look at it.
	Principal string
	// Source is the address of the direct peer.
	Source netip.Addr
}

// path is the target without query and fragment.
func (r *Request) path() string {
	if i := strings.IndexAny(r.Path, "?#"); i >= 0 {
		return r.Path[:i]
	}
	return r.Path
}

// field returns the value of a header or of one of the pseudo headers that Envoy matches in the same way. Several lines
// of a name count as one, joined with ",".
func (r *Request) field(name string) (value string, ok bool) {
	switch name {
	case ":method":
		return r.Method, true
	case ":authority", "host":
		return r.Authority, true
	case ":scheme":
		return r.Scheme, true
	case ":path":
		return r.Path, true
	}
	if !r.Headers.Has(name) {
		return "", false
	}
	return r.Headers.Joined(name), true
}

// queryValue returns the first value of a query parameter. Envoy decodes neither names nor values before matching.
func (r *Request) queryValue(name string) (value string, ok bool) {
	_, query, _ := strings.Cut(r.Path, "?")
	query, _, _ = strings.Cut(query, "#")
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if key, value, _ := strings.Cut(pair, "="); key == name {
			return value, true
		}
	}
	return "", false
}
