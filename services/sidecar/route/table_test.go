package route

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"example.com/bookinfo/services/sidecar/header"
)

func match(t testing.TB, kind MatchKind, value string, ignoreCase bool) StringMatch {
	t.Helper()
	m, err := NewStringMatch(kind, value, ignoreCase)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStringMatch(t *testing.T) {
	for _, c := range []struct {
		kind       MatchKind
		value      string
		ignoreCase bool
		yes, no    []string
	}{
		{Exact, "/a", false, []string{"/a"}, []string{"/A", "/a/", "/ab", ""}},
		{Exact, "/a", true, []string{"/a", "/A"}, []string{"/a/"}},
		{Prefix, "/static", false, []string{"/static", "/static/x", "/staticx"}, []string{"/stati", "/Static"}},
		{Prefix, "/static", true, []string{"/STATIC/x"}, []string{"/stati"}},
		{Separated, "/a", false, []string{"/a", "/a/b", "/a/"}, []string{"/ab", "/"}},
		{Regex, "/a.*", false, []string{"/a", "/abc"}, []string{"x/a", "/b"}},
		{Regex, "a|b", false, []string{"a", "b"}, []string{"ab", "ax"}},
		{Suffix, ".css", false, []string{"x.css"}, []string{"x.cssx"}},
		{Present, "", false, []string{"", "x"}, nil},
	} {
		m := match(t, c.kind, c.value, c.ignoreCase)
		for _, s := range c.yes {
			if !m.Matches(s) {
				t.Errorf("%s does not match %q", m.String(), s)
			}
		}
		for _, s := range c.no {
			if m.Matches(s) {
				t.Errorf("%s matches %q", m.String(), s)
			}
		}
	}
	if _, err := NewStringMatch(Regex, "a)(b", false); err == nil {
		t.Error("a)(b is a regular expression only inside a group")
	}
}

func TestHost(t *testing.T) {
	host := func(name string, port int, domains ...string) *VirtualHost {
		return &VirtualHost{Name: name, Port: port, Domains: domains, Routes: []*Route{{Name: name}}}
	}
	table := NewTable("t", 1, []*VirtualHost{
		host("reviews", 9080, "reviews", "reviews.default.svc.cluster.local", "10.96.0.12"),
		host("other port", 8080, "reviews"),
		host("wild", 9080, "*.example.com"), host("wilder", 9080, "*.com"), host("six", 9080, "[fd00::1]"),
		host("any", 0, "open"),
	}, nil)
	for authority, want := range map[string]string{
		"reviews:9080": "reviews", "REVIEWS:9080": "reviews", "reviews:8080": "other port", "reviews": "reviews", "reviews:1": "",
		"reviews.default.svc.cluster.local:9080": "reviews", "10.96.0.12:9080": "reviews", "[fd00::1]:9080": "six",
		"a.example.com:9080": "wild", "a.b.example.com:9080": "wild", "example.com:9080": "wilder", "x.com": "wilder", "com:9080": "",
		"open:1": "any", "open": "any", "": "", ":": "", "reviews:": "", "reviews:x": "", "a:b:c": "",
	} {
		got := ""
		if h := table.Host(&Request{Authority: authority}); h != nil {
			got = h.Name
		}
		if got != want {
			t.Errorf("%q: %q, want %q", authority, got, want)
		}
	}
	if h := table.Host(&Request{Authority: "reviews", Port: 8080}); h == nil || h.Name != "other port" {
		t.Errorf("the listener's port does not count: %+v", h)
	}
}

func TestHeadersAndQuery(t *testing.T) {
	r := &Request{Method: "GET", Scheme: "http", Authority: "reviews:9080", Path: "/r?a=1&b=&c#f=1", Headers: header.Fields{{Name: "x", Value: "1"}, {Name: "x", Value: "2"}, {Name: "e", Value: ""}}}
	for _, c := range []struct {
		m    Match
		want bool
	}{
		{Match{Headers: []FieldMatch{{Name: "x", Value: match(t, Exact, "1,2", false)}}}, true},
		{Match{Headers: []FieldMatch{{Name: "x", Value: match(t, Exact, "1", false)}}}, false},
		{Match{Headers: []FieldMatch{{Name: "e"}}}, true},
		{Match{Headers: []FieldMatch{{Name: "y"}}}, false},
		{Match{Headers: []FieldMatch{{Name: "y", Invert: true}}}, true},
		{Match{Headers: []FieldMatch{{Name: "x", Value: match(t, Exact, "9", false), Invert: true}}}, true},
		{Match{Headers: []FieldMatch{{Name: ":method", Value: match(t, Regex, "GET|HEAD", false)}}}, true},
		{Match{Headers: []FieldMatch{{Name: ":authority", Value: match(t, Prefix, "reviews", false)}}}, true},
		{Match{Headers: []FieldMatch{{Name: ":scheme", Value: match(t, Exact, "https", false)}}}, false},
		{Match{Query: []FieldMatch{{Name: "a", Value: match(t, Exact, "1", false)}, {Name: "b", Value: match(t, Exact, "", false)}, {Name: "c"}}}, true},
		{Match{Query: []FieldMatch{{Name: "f"}}}, false},
		{Match{Query: []FieldMatch{{Name: "d"}}}, false},
	} {
		if got := c.m.Matches(r); got != c.want {
			t.Errorf("%s: %v", c.m.String(), got)
		}
	}
}

// tableOf makes a table of one virtual host of every name from n random routes.
func tableOf(dice *rand.Rand, n int) *Table {
	words := []string{"/", "/a", "/a/", "/a/b", "/A", "/ab", "/a.c", "/é"}
	pick := func() string { return words[dice.IntN(len(words))] }
	var routes []*Route
	for i := range n {
		r := &Route{Name: fmt.Sprint(i), Clusters: []WeightedCluster{{Cluster: "c", Weight: 1}}}
		if dice.IntN(5) > 0 {
			kinds := []MatchKind{Exact, Prefix, Separated, Regex, Suffix}
			value, kind := pick(), kinds[dice.IntN(len(kinds))]
			if kind == Regex {
				value += []string{"", ".*", "?", "+", "{0}", "|/b", "[bc]"}[dice.IntN(7)]
			}
			if m, err := NewStringMatch(kind, value, dice.IntN(4) == 0); err == nil {
				r.Match.Path = &m
			}
		}
		if dice.IntN(2) == 0 {
			m, _ := NewStringMatch(Exact, []string{"1", "2"}[dice.IntN(2)], false)
			r.Match.Headers = append(r.Match.Headers, FieldMatch{Name: []string{"x", "y"}[dice.IntN(2)], Value: m, Invert: dice.IntN(4) == 0})
		}
		routes = append(routes, r)
	}
	return NewTable("t", 1, []*VirtualHost{{Name: "h", Domains: []string{"*"}, Routes: routes}}, nil)
}

// FuzzChoose compares the index with a walk over all routes.
func FuzzChoose(f *testing.F) {
	f.Add(uint64(1), uint8(30), "/a/b?c=d", "1", "2")
	f.Add(uint64(2), uint8(200), "/A", "", "1")
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, path, x, y string) {
		table := tableOf(rand.New(rand.NewPCG(seed, 0)), int(n))
		r := &Request{Method: "GET", Authority: "h", Path: path, Headers: header.Fields{{Name: "x", Value: x}, {Name: "y", Value: y}}}
		e := table.Explain(r)
		got := table.Choose(r, rand.NewPCG(seed, 1)).Route
		if want := e.Taken(); got != want {
			t.Errorf("%q: the index takes %+v, a walk %+v", path, got, want)
		}
	})
}

func TestIndexAgreesWithWalk(t *testing.T) {
	paths := []string{"/", "/a", "/a/", "/a/b", "/a/b/c", "/A", "/ab", "/abc", "/a.c", "/axc", "/é", "/\xc3", "", "*", "/b", "/a?x#y"}
	for seed := range uint64(300) {
		dice := rand.New(rand.NewPCG(seed, 7))
		table := tableOf(dice, dice.IntN(80))
		for _, path := range paths {
			r := &Request{Method: "GET", Authority: "h", Path: path, Headers: header.Fields{{Name: "x", Value: []string{"1", "2", "3"}[dice.IntN(3)]}}}
			e := table.Explain(r)
			if got, want := table.Choose(r, dice).Route, e.Taken(); got != want {
				t.Fatalf("seed %d, %q: the index takes %+v, a walk %+v", seed, path, got, want)
			}
		}
	}
}

func TestChooseAllocatesNothing(t *testing.T) {
	table := large(t, 10_000)
	r := &Request{Method: "GET", Authority: "reviews:9080", Path: "/prefix/9999/x"}
	dice := rand.NewPCG(1, 2)
	if n := testing.AllocsPerRun(100, func() { table.Choose(r, dice) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWeights(t *testing.T) {
	r := Route{Clusters: []WeightedCluster{{Cluster: "a", Weight: 1}, {Cluster: "b", Weight: 0}, {Cluster: "c", Weight: 3}}}
	dice := rand.NewPCG(3, 4)
	counts := map[string]int{}
	for range 4000 {
		counts[r.pick(dice).Cluster]++
	}
	if counts["b"] != 0 || counts["a"] < 860 || counts["a"] > 1140 {
		t.Errorf("%v, want 1000 a and 3000 c", counts)
	}
	if (&Route{}).pick(dice) != nil {
		t.Error("a route without clusters leads somewhere")
	}
	hits := 0
	for range 10_000 {
		if PercentOf(0.5).Hit(dice) {
			hits++
		}
	}
	if hits < 20 || hits > 90 {
		t.Errorf("%d of 10000 hits at 0.5%%", hits)
	}
}

// large has a third each of exact paths, prefixes, and one prefix with a header.
func large(t testing.TB, n int) *Table {
	t.Helper()
	var routes []*Route
	for i := range n {
		r := &Route{Clusters: []WeightedCluster{{Cluster: "c", Weight: 1}}}
		var m StringMatch
		switch i % 3 {
		case 0:
			m = match(t, Exact, fmt.Sprintf("/exact/%d", i), false)
		case 1:
			m = match(t, Exact, fmt.Sprintf("user-%d", i), false)
			r.Match.Headers = []FieldMatch{{Name: "end-user", Value: m}}
			m = match(t, Prefix, "/reviews", false)
		case 2:
			m = match(t, Prefix, fmt.Sprintf("/prefix/%d", i), false)
		}
		r.Match.Path = &m
		routes = append(routes, r)
	}
	routes = append(routes, &Route{Clusters: []WeightedCluster{{Cluster: "c", Weight: 1}}})
	return NewTable("9080", 1, []*VirtualHost{{Name: "reviews", Port: 9080, Domains: []string{"reviews"}, Routes: routes}}, map[string]*Cluster{"c": {}})
}

func BenchmarkChoose(b *testing.B) {
	table := large(b, 10_000)
	for name, r := range map[string]*Request{
		"exact":  {Path: "/exact/9999"},
		"prefix": {Path: "/prefix/9998/x"},
		"header": {Path: "/reviews/0", Headers: header.Fields{{Name: "accept", Value: "*/*"}, {Name: "end-user", Value: "user-9997"}}},
		"last":   {Path: "/"},
	} {
		r.Method, r.Authority = "GET", "reviews:9080"
		dice := rand.NewPCG(1, 2)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if table.Choose(r, dice).Route == nil {
					b.Fatal("no route")
				}
			}
		})
	}
}
