package route

import (
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/sidecar/header"
)

// CORS is a cross-origin policy, as Envoy's cors filter acts on it.
type CORS struct {
	Origins                      []StringMatch
	Methods, Headers, Expose     string // comma lists as they are sent
	MaxAge                       *time.Duration
	Credentials                  *bool
	ForwardNotMatchingPreflights bool // pass a preflight of an unknown origin on to the upstream
}

// Preflight answers an OPTIONS request with Access-Control-Request-Method from an origin that the policy knows: the
// proxy sends status 200 with these fields and asks no upstream. ok is false if the request is to be routed on.
func (c *CORS) Preflight(r *Request) (fields header.Fields, ok bool) {
	origin, has := r.Headers.Lookup("origin")
	if c == nil || !has || r.Method != "OPTIONS" || r.Headers.Get("access-control-request-method") == "" {
		return nil, false
	}
	if !c.knows(origin) {
		return nil, !c.ForwardNotMatchingPreflights
	}
	fields.Add("access-control-allow-origin", origin)
	if c.Credentials != nil && *c.Credentials {
		fields.Add("access-control-allow-credentials", "true")
	}
	if c.Methods != "" {
		fields.Add("access-control-allow-methods", c.Methods)
	}
	if c.Headers != "" {
		fields.Add("access-control-allow-headers", c.Headers)
	}
	if c.Expose != "" {
		fields.Add("access-control-expose-headers", c.Expose)
	}
	if c.MaxAge != nil {
		fields.Add("access-control-max-age", strconv.FormatInt(int64(*c.MaxAge/time.Second), 10))
	}
	return fields, true
}

// Respond adds to the response of an ordinary cross-origin request.
func (c *CORS) Respond(origin string, fields *header.Fields) {
	if c == nil || origin == "" || !c.knows(origin) {
		return
	}
	fields.Set("access-control-allow-origin", origin)
	if c.Credentials != nil && *c.Credentials {
		fields.Set("access-control-allow-credentials", "true")
	}
	if c.Expose != "" {
		fields.Set("access-control-expose-headers", c.Expose)
	}
}

func (c *CORS) knows(origin string) bool {
	for i := range c.Origins {
		if m := &c.Origins[i]; m.Matches(origin) || m.Kind == Exact && strings.EqualFold(m.Value, "*") {
			return true
		}
	}
	return false
}
