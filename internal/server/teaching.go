package server

import (
	"crypto/rand"
	"net/http"
	"strings"

	"example.com/bookinfo/internal/breakage"
)

// teachingPath is where a service that was started for teaching lets its forwarding of headers be broken.
const teachingPath = "/teaching"

// teaching breaks the forwarding of one service on request. A nil one, which is the rule, breaks nothing and has no
// route.
type teaching struct{ breaker *breakage.Breaker }

func newTeaching(on bool) *teaching {
	if !on {
		return nil
	}
	return &teaching{breakage.NewBreaker(func(b []byte) { _, _ = rand.Read(b) })} // never fails
}

// transport puts the breakage directly above the connection, so that what it changes is what leaves.
func (t *teaching) transport(base http.RoundTripper) http.RoundTripper {
	if t == nil {
		return base
	}
	if base == nil {
		base = http.DefaultTransport
	}
	return t.breaker.Transport(base)
}

// handler adds the control to a service's routes. A page of another site cannot use it.
func (t *teaching) handler(service string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	control := breakage.Handler([]string{service}, map[string]*breakage.Breaker{service: t.breaker})
	control = http.NewCrossOriginProtection().Handler(http.StripPrefix(teachingPath, control))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == teachingPath:
			http.Redirect(w, r, teachingPath+"/", http.StatusPermanentRedirect)
		case strings.HasPrefix(r.URL.Path, teachingPath+"/"):
			control.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
