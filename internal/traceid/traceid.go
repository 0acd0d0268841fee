// Package traceid finds which trace a request belongs to, whatever format its headers are in: for log lines and for
// links to a trace. It decides nothing and forwards nothing.
package traceid

import (
	"net/http"
	"strings"
)

// IDs names one span of one trace, as the header spells it: hexadecimal in most formats, decimal in Datadog's.
type IDs struct {
	Trace, Span string
}

// From returns the ids of the first format that the headers hold. W3C comes before B3, as in Envoy when it is
// configured with both; the vendors' own formats come last. Both ids are empty when there is none.
func From(h http.Header) IDs {
	if v := first(h, "Traceparent"); v != "" {
		if ids, ok := traceparent(v); ok {
			return ids
		}
	}
	if trace := first(h, "X-B3-Traceid"); trace != "" {
		return clean(IDs{trace, first(h, "X-B3-Spanid")})
	}
	if v := first(h, "B3"); v != "" {
		if trace, rest, ok := strings.Cut(v, "-"); ok {
			span, _, _ := strings.Cut(rest, "-")
			return clean(IDs{trace, span})
		}
	}
	return vendor(h)
}

func vendor(h http.Header) IDs {
	if v := first(h, "Uber-Trace-Id"); v != "" {
		if trace, rest, ok := strings.Cut(v, ":"); ok {
			span, _, _ := strings.Cut(rest, ":")
			return clean(IDs{trace, span})
		}
	}
	if v := first(h, "X-Cloud-Trace-Context"); v != "" {
		trace, rest, _ := strings.Cut(v, "/")
		span, _, _ := strings.Cut(rest, ";")
		return clean(IDs{trace, span})
	}
	if v := first(h, "X-Datadog-Trace-Id"); v != "" {
		return clean(IDs{v, first(h, "X-Datadog-Parent-Id")})
	}
	if v := first(h, "X-Amzn-Trace-Id"); v != "" {
		var ids IDs
		for field := range strings.SplitSeq(v, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			switch name {
			case "Root":
				ids.Trace = value
			case "Parent":
				ids.Span = value
			}
		}
		return clean(ids)
	}
	return IDs{}
}

// traceparent reads a W3C Trace Context header: version, trace id, parent id and flags, joined by hyphens.
func traceparent(v string) (IDs, bool) {
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return IDs{}, false
	}
	ids := IDs{v[3:35], v[36:52]}
	return ids, clean(ids) == ids
}

// maxLength bounds an id in bytes: the longest known one is Amazon's, 35.
const maxLength = 64

// clean drops ids that are too long or hold anything but letters, digits and hyphens, so that what a stranger sends
// can neither bloat nor forge a log line.
func clean(ids IDs) IDs {
	if !plain(ids.Trace) {
		return IDs{}
	}
	if !plain(ids.Span) {
		ids.Span = ""
	}
	return ids
}

func plain(id string) bool {
	if len(id) > maxLength {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}

// first returns the first value of a header, given by its canonical name; h.Get would canonicalise it again.
func first(h http.Header, canonical string) string {
	if values := h[canonical]; len(values) > 0 {
		return values[0]
	}
	return ""
}
