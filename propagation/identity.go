package propagation

import (
	"context"
	"net/http"
)

// Identity returns the set of headers that say who the caller is: end-user, user-agent, cookie, authorization and jwt.
// Routing by user and authorization further down need them; hosts outside must not see them.
func Identity() Set { return Set{(1<<len(rows) - 1) &^ traceMask} }

// IdentityTable returns the headers of [Identity] by name. It is a copy.
func IdentityTable() []Header { return Identity().Headers() }

// CaptureIdentity takes the headers of [Identity] from those of a request.
func CaptureIdentity(h http.Header) Captured { return Identity().Capture(h) }

type identityKey struct{}

// NewIdentityContext returns a context that carries c to requests made through [IdentityTransport], in place of what ctx
// carries.
func NewIdentityContext(ctx context.Context, c Captured) context.Context {
	return context.WithValue(ctx, identityKey{}, c)
}

// IdentityFromContext returns the identity headers that ctx carries, which are none when nothing was captured for it.
func IdentityFromContext(ctx context.Context) Captured {
	c, _ := ctx.Value(identityKey{}).(Captured)
	return c
}

// IdentityHandler captures the identity headers of the set from each request and calls next with a context that carries
// them. An application that says itself who its caller is leaves a header out: Identity().Without("end-user").
func IdentityHandler(set Set, next http.Handler) http.Handler {
	set.mask &= Identity().mask
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(NewIdentityContext(r.Context(), set.Capture(r.Header))))
	})
}

// IdentityTransport is an [http.RoundTripper] that sets the identity headers carried by a request's context. Use it for
// hosts that may know the caller and for no other. A redirect to another host goes without them, as [http.Client] does
// with cookies and authorization.
type IdentityTransport struct {
	Base http.RoundTripper // nil means http.DefaultTransport
}

// RoundTrip implements [http.RoundTripper]. Its errors are those of Base.
func (t IdentityTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var caller Captured
	if atFirstHost(r) {
		caller = IdentityFromContext(r.Context())
	}
	if trace, ok := t.Base.(Transport); ok { // the usual pair shares one copy of the request
		return base(trace.Base).RoundTrip(with(r, caller, FromContext(r.Context())))
	}
	return base(t.Base).RoundTrip(with(r, caller))
}

// atFirstHost tells whether r goes to the host that was asked in the first place: it does unless a redirect has led
// elsewhere.
func atFirstHost(r *http.Request) bool {
	first := r
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	return first.URL.Host == r.URL.Host && first.URL.Scheme == r.URL.Scheme
}

// CloseIdleConnections closes those of Base, so that [http.Client.CloseIdleConnections] reaches them.
func (t IdentityTransport) CloseIdleConnections() { closeIdle(t.Base) }
