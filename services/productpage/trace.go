package productpage

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/trace"

	"example.com/bookinfo/internal/traceid"
	"example.com/bookinfo/propagation"
)

// traceHeaders puts on every response which trace it was part of: x-request-id as it came, and the trace in the format
// in which the request named it, or that of the SDK's span.
func (s *service) traceHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		echo(w.Header(), r.Header, "X-Request-Id")
		switch span := trace.SpanContextFromContext(r.Context()); {
		case span.IsValid():
			w.Header().Set("Traceresponse", "00-"+span.TraceID().String()+"-"+span.SpanID().String()+"-"+span.TraceFlags().String())
		case validTraceparent(r.Header.Get("Traceparent")):
			// W3C Trace Context Level 2: the same form as traceparent.
			w.Header().Set("Traceresponse", r.Header.Get("Traceparent"))
		case r.Header.Get("X-B3-Traceid") != "":
			echo(w.Header(), r.Header, "X-B3-Traceid")
		default:
			echo(w.Header(), r.Header, "B3")
		}
		next.ServeHTTP(w, r)
	})
}

func echo(to, from http.Header, name string) {
	if value := from.Get(name); value != "" {
		to.Set(name, value)
	}
}

func validTraceparent(value string) bool {
	return traceid.From(http.Header{"Traceparent": {value}}).Trace != ""
}

// traceView is what a page says about the trace that it was part of.
type traceView struct {
	ID        string
	RequestID string
	Sampled   bool // false if the request says that no span of it is kept
	URL       string
}

func (s *service) traceView(r *http.Request) traceView {
	view := traceView{RequestID: r.Header.Get("X-Request-Id"), Sampled: sampled(r.Header)}
	if span := trace.SpanContextFromContext(r.Context()); span.IsValid() {
		view.ID, view.Sampled = span.TraceID().String(), span.IsSampled()
	} else {
		view.ID = traceid.From(r.Header).Trace
	}
	if s.traceURL != "" && view.ID != "" && view.Sampled {
		view.URL = strings.ReplaceAll(s.traceURL, traceIDPlaceholder, view.ID)
	}
	return view
}

// sampled tells whether the request's trace is kept, as far as its headers say.
func sampled(h http.Header) bool {
	if parent := h.Get("Traceparent"); validTraceparent(parent) {
		return strings.ContainsRune("13579bdfBDF", rune(parent[54])) // bit 0 of the flags
	}
	switch h.Get("X-B3-Sampled") {
	case "0", "false":
		return h.Get("X-B3-Flags") == "1"
	}
	return true
}

// withIdentity returns the request's context with who the caller is: what came in headers, and the user of the session
// in place of any end-user that came, which a stranger could have sent.
func withIdentity(r *http.Request, user string) context.Context {
	return propagation.NewIdentityContext(r.Context(), propagation.Identity().CaptureFunc(func(name string) []string {
		if name == "end-user" {
			return []string{headerText(user)}
		}
		return r.Header.Values(name)
	}))
}
