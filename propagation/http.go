package propagation

import (
	"maps"
	"net/http"
)

// Handler captures the trace headers of the set from each request and calls next with a context that carries them.
func Handler(set Set, next http.Handler) http.Handler {
	set.mask &= traceMask
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), set.Capture(r.Header))))
	})
}

// Transport is an [http.RoundTripper] that sets the headers carried by a request's context, and then leaves the request
// to Base. They replace what the caller set under the same names. The caller's request is not changed: RoundTrip works
// on a copy when there is something to set.
//
// The headers are set on the requests of a redirect too, since these belong to the same trace.
type Transport struct {
	Base http.RoundTripper // nil means http.DefaultTransport
}

// RoundTrip implements [http.RoundTripper]. Its errors are those of Base.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	return base(t.Base).RoundTrip(with(r, FromContext(r.Context())))
}

// CloseIdleConnections closes those of Base, so that [http.Client.CloseIdleConnections] reaches them.
func (t Transport) CloseIdleConnections() { closeIdle(t.Base) }

// with returns r with the headers that were captured, as a copy when there are any: a RoundTripper must not change the
// request.
func with(r *http.Request, captured ...Captured) *http.Request {
	more := 0
	for _, c := range captured {
		more += c.Len()
	}
	if more == 0 {
		return r
	}
	out := r.WithContext(r.Context())
	out.Header = make(http.Header, len(r.Header)+more)
	maps.Copy(out.Header, r.Header) // Apply replaces values and changes none
	for _, c := range captured {
		c.Apply(out.Header)
	}
	return out
}

func base(rt http.RoundTripper) http.RoundTripper {
	if rt == nil {
		return http.DefaultTransport
	}
	return rt
}

func closeIdle(rt http.RoundTripper) {
	if closer, ok := base(rt).(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}
