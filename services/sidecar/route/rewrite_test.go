package route

import (
	"math/rand/v2"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/sidecar/header"
)

func TestRewrittenPath(t *testing.T) {
	path := func(kind MatchKind, value string) *StringMatch { m := match(t, kind, value, false); return &m }
	for _, c := range []struct {
		match    *StringMatch
		rewrite  Rewrite
		in, want string
	}{
		{path(Prefix, "/rewrite/"), Rewrite{Prefix: "/new/"}, "/rewrite/b3?x=1", "/new/b3?x=1"},
		{path(Exact, "/a"), Rewrite{Prefix: "/b"}, "/a?x", "/b?x"},
		{path(Regex, "/a.*"), Rewrite{Prefix: "/b"}, "/abc?x", "/b?x"},
		{path(Separated, "/a"), Rewrite{Prefix: "/"}, "/a/b", "/b"},
		{path(Separated, "/a"), Rewrite{Prefix: "/"}, "/a", "/"},
		{path(Separated, "/a"), Rewrite{Prefix: "/x/"}, "/a/b", "/x/b"},
		{nil, Rewrite{Prefix: "/new/"}, "/a", "/new/a"},
		{nil, Rewrite{Path: "/whole"}, "/a/b?c", "/whole?c"},
		{nil, Rewrite{Regex: regexp.MustCompile(`^/service/([^/]+)(/.*)$`), Substitution: `\2/instance/\1`}, "/service/foo/v1/api?q", "/v1/api/instance/foo?q"},
		{nil, Rewrite{Host: "x"}, "/a", "/a"},
	} {
		r := &Route{Match: Match{Path: c.match}, Rewrite: &c.rewrite}
		if got := r.RewrittenPath(c.in); got != c.want {
			t.Errorf("%+v of %q: %q, want %q", c.rewrite, c.in, got, c.want)
		}
	}
}

func TestLocation(t *testing.T) {
	prefix := match(t, Separated, "/a", false)
	for _, c := range []struct {
		redirect        Redirect
		authority, path string
		want            string
	}{
		{Redirect{Host: "other.example", Path: "/there"}, "h:8080", "/x?q", "http://other.example/there?q"},
		{Redirect{Scheme: "https"}, "h:8080", "/x?q", "https://h:8080/x?q"},
		{Redirect{Scheme: "https"}, "h:80", "/x?q", "https://h/x?q"},
		{Redirect{Port: 8443, Scheme: "https"}, "h", "/", "https://h:8443/"},
		{Redirect{Port: 80}, "h:8080", "/", "http://h:80/"},
		{Redirect{Path: "/p"}, "h:8080", "/", "http://h:8080/p"},
		{Redirect{Prefix: "/b", HasPrefix: true}, "h", "/a/c?d", "http://h/b/c?d"},
	} {
		r := &Route{Match: Match{Path: &prefix}, Redirect: &c.redirect}
		if got := r.Location(&Request{Scheme: "http", Authority: c.authority, Path: c.path}); got != c.want {
			t.Errorf("%+v: %s, want %s", c.redirect, got, c.want)
		}
	}
}

// The redirect that a real Envoy was asked for.
func TestRecordedRedirect(t *testing.T) {
	var recorded struct {
		Cases []struct {
			ID    string
			Route *struct {
				Redirect *struct {
					Host string `json:"host_redirect"`
					Path string `json:"path_redirect"`
				}
			}
			Request  struct{ Path, Host string }
			Response *struct{ Headers [][2]string }
		}
	}
	vectors.Load(t, "router.json", &recorded)
	found := 0
	for _, c := range recorded.Cases {
		if c.Route == nil || c.Route.Redirect == nil {
			continue
		}
		found++
		r := &Route{Redirect: &Redirect{Host: c.Route.Redirect.Host, Path: c.Route.Redirect.Path}}
		for _, h := range c.Response.Headers {
			if h[0] == "location" && r.Location(&Request{Scheme: "http", Authority: c.Request.Host, Path: c.Request.Path}) != h[1] {
				t.Errorf("%s: want %s", c.ID, h[1])
			}
		}
	}
	if found == 0 {
		t.Error("no redirect was recorded")
	}
}

func TestHashOf(t *testing.T) {
	ttl := time.Hour
	request := func(fields ...header.Field) *Request { return &Request{Path: "/?k=v", Headers: fields} }
	byHeader := &Route{Hash: []HashPolicy{{Header: "end-user"}}}
	a, ok, _ := byHeader.HashOf(request(header.Field{Name: "end-user", Value: "jason"}), netip.Addr{})
	b, _, _ := byHeader.HashOf(request(header.Field{Name: "end-user", Value: "anna"}), netip.Addr{})
	if !ok || a == b {
		t.Errorf("%v %x %x", ok, a, b)
	}
	if _, ok, _ := byHeader.HashOf(request(), netip.Addr{}); ok {
		t.Error("a request without the header has a hash")
	}
	byCookie := &Route{Hash: []HashPolicy{{Cookie: "session", CookieTTL: &ttl}}}
	if _, ok, missing := byCookie.HashOf(request(header.Field{Name: "cookie", Value: "a=b"}), netip.Addr{}); ok || missing == nil {
		t.Error("a missing cookie with a TTL is to be set")
	}
	c, ok, missing := byCookie.HashOf(request(header.Field{Name: "cookie", Value: `a=b; session="x"`}), netip.Addr{})
	if !ok || missing != nil || c != HashString("x") {
		t.Errorf("cookie: %v %x", ok, c)
	}
	if _, ok, _ := (&Route{Hash: []HashPolicy{{Query: "k"}, {SourceIP: true}}}).HashOf(request(), netip.MustParseAddr("10.0.0.1")); !ok {
		t.Error("query and address give no hash")
	}
}

func TestFaultAndMirror(t *testing.T) {
	routes := []*Route{{
		Clusters: []WeightedCluster{{Cluster: "a", Weight: 100}},
		Fault:    &Fault{Delay: time.Second, DelayPercent: PercentOf(50), AbortStatus: 500, AbortPercent: PercentOf(10)},
		Mirrors:  []Mirror{{Cluster: "a", Percent: PercentOf(25)}, {Cluster: "absent", Percent: Always}},
	}}
	table := NewTable("t", 1, []*VirtualHost{{Domains: []string{"*"}, Routes: routes}}, map[string]*Cluster{"a": {Name: "a"}})
	dice := rand.NewPCG(5, 6)
	var delays, aborts, mirrors int
	const n = 4000
	for range n {
		c := table.Choose(&Request{Path: "/"}, dice)
		if c.Delay > 0 {
			delays++
		}
		if c.Abort > 0 {
			aborts++
		}
		mirrors += len(c.Mirrors)
	}
	for _, c := range []struct {
		name      string
		got, want int
	}{{"delays", delays, n / 2}, {"aborts", aborts, n / 10}, {"mirrors", mirrors, n / 4}} {
		if c.got < c.want-160 || c.got > c.want+160 {
			t.Errorf("%s: %d, want about %d", c.name, c.got, c.want)
		}
	}
}

func TestCORS(t *testing.T) {
	age, yes := time.Minute, true
	c := &CORS{Origins: []StringMatch{match(t, Exact, "https://a.example", false)}, Methods: "GET,POST", Headers: "x-a", Expose: "x-b", MaxAge: &age, Credentials: &yes}
	preflight := func(origin string) *Request {
		return &Request{Method: "OPTIONS", Headers: header.Fields{{Name: "origin", Value: origin}, {Name: "access-control-request-method", Value: "GET"}}}
	}
	fields, ok := c.Preflight(preflight("https://a.example"))
	if !ok || fields.Get("access-control-allow-origin") != "https://a.example" || fields.Get("access-control-max-age") != "60" ||
		fields.Get("access-control-allow-credentials") != "true" || fields.Get("access-control-allow-methods") != "GET,POST" {
		t.Errorf("%v %v", ok, fields)
	}
	if fields, ok := c.Preflight(preflight("https://b.example")); !ok || len(fields) > 0 {
		t.Errorf("unknown origin: %v %v, want an answer without permission", ok, fields)
	}
	if _, ok := c.Preflight(&Request{Method: "OPTIONS", Headers: header.Fields{{Name: "origin", Value: "https://a.example"}}}); ok {
		t.Error("not every OPTIONS is a preflight")
	}
	var response header.Fields
	c.Respond("https://a.example", &response)
	if response.Get("access-control-expose-headers") != "x-b" {
		t.Errorf("%v", response)
	}
}
