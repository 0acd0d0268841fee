package productpage_test

import (
	"net/http"
	"strings"
	"testing"

	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/productpage"
)

func TestUnknownPaths(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/nothing", "/productpage/", "/api/v1/products/", "/api/v1/products/0/", "/api/v1/products/a%2Fb",
		"/api/v1/products/0/other", "/static", "/static/", "/static/../productpage.go", "/static/img", "/health/", "/None"} {
		resp := f.get(t, path)
		resp.wantStatus(t, 404)
		resp.wantHeader(t, "Content-Type", "text/html; charset=utf-8")
		resp.lacks(t, "Simple Bookstore App") // so that nobody takes it for the page
	}
}

func TestMethods(t *testing.T) {
	f := newFixture(t)
	tests := []struct {
		path, allow string
		wrong       []string
	}{
		{"/", "OPTIONS, GET, HEAD", []string{"POST", "PUT", "FOO"}},
		{"/productpage", "OPTIONS, GET, HEAD", []string{"POST", "DELETE"}},
		{"/login", "OPTIONS, POST", []string{"GET", "HEAD", "PUT"}},
		{"/logout", "OPTIONS, GET, HEAD", []string{"POST"}},
		{"/api/v1/products/0", "OPTIONS, GET, HEAD", []string{"POST", "PATCH"}},
		{"/static/style.css", "OPTIONS, GET, HEAD", []string{"POST"}},
	}
	for _, test := range tests {
		options := f.do(t, "OPTIONS", test.path, "")
		options.wantStatus(t, 200)
		options.wantHeader(t, "Allow", test.allow)
		options.wantBody(t, "")
		for _, method := range test.wrong {
			resp := f.do(t, method, test.path, "")
			resp.wantStatus(t, 405)
			resp.wantHeader(t, "Allow", test.allow)
		}
	}
	f.do(t, "FOO", "/nothing", "").wantStatus(t, 404)
	f.do(t, "OPTIONS", "/nothing", "").wantStatus(t, 404)
}

func TestStaticFiles(t *testing.T) {
	f := newFixture(t)
	file := f.get(t, "/static/img/izzy.png")
	file.wantStatus(t, 200)
	file.wantHeader(t, "Content-Type", "image/png")
	file.wantHeader(t, "Cache-Control", "no-cache")
	file.wantHeader(t, "Content-Disposition", "inline; filename=izzy.png")
	etag, modified := file.Header.Get("ETag"), file.Header.Get("Last-Modified")
	if etag == "" || modified == "" {
		t.Fatalf("ETag %q, Last-Modified %q", etag, modified)
	}
	f.get(t, "/static/img/izzy.png", "If-None-Match", etag).wantStatus(t, 304)
	f.get(t, "/static/img/izzy.png", "If-None-Match", `"other"`).wantStatus(t, 200)
	f.get(t, "/static/img/izzy.png", "If-Modified-Since", modified).wantStatus(t, 304)
	part := f.get(t, "/static/img/izzy.png", "Range", "bytes=0-3")
	part.wantStatus(t, 206)
	part.wantBody(t, "\x89PNG")
	f.get(t, "/static/img/izzy.png", "Range", "bytes=9999999-").wantStatus(t, 416)
}

// TestProductID: any segment is passed on, encoded, and never more than a segment.
func TestProductID(t *testing.T) {
	f := newFixture(t)
	tests := map[string]string{
		"a%20b":   "/details/a%20b",
		"%41":     "/details/A",
		"0%3Fx=1": "/details/0%3Fx=1",
		"a%23b":   "/details/a%23b",
		"%25":     "/details/%25",
		"%FF":     "/details/%EF%BF%BD",
		"é":       "/details/%C3%A9",
		"..":      "/",
		"%2E%2E":  "/",
		".":       "/details/",
		"...":     "/details/...",
		"-1":      "/details/-1",
	}
	for id, want := range tests {
		n := len(f.details.seen())
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = "/api/v1/products/" + id // as it is, not cleaned
		roundTrip(t, f.client, req).wantStatus(t, 200)
		if got := f.details.seen()[n].RequestURI; got != want {
			t.Errorf("%s: details was asked for %s, want %s", id, got, want)
		}
	}
}

func TestRatingsOnThePage(t *testing.T) {
	tests := []struct {
		rating  string
		status  int
		stars   int
		text    string
		outline bool // an empty star is drawn
	}{
		{`{"stars": 5, "color": "black"}`, 200, 5, "", false},
		{`{"stars": 3, "color": "black"}`, 200, 3, "", true},
		{`{"stars": 0, "color": "black"}`, 200, 0, "", false},
		{`{"stars": 6, "color": "black"}`, 200, 6, "", false},
		{`{"stars": -1, "color": "black"}`, 200, 0, "", true},
		{`{"stars": null}`, 200, 0, "", false},
		{`{"stars": ""}`, 200, 0, "", false},
		{`{}`, 200, 0, "", false},
		{`null`, 200, 0, "", false},
		{`{"error": "Ratings service is currently unavailable"}`, 200, 0, "Ratings service is currently unavailable", false},
		{`{"stars": "5"}`, 500, 0, "", false},
		{`{"stars": 4.9}`, 500, 0, "", false},
		{`{"stars": [1]}`, 500, 0, "", false},
		{`{"stars": 1000000000}`, 500, 0, "", false},
		{`{"stars": 123456789012345678901234567890}`, 500, 0, "", false},
	}
	for _, test := range tests {
		body := `{"podname": "p", "reviews": [{"reviewer": "R", "text": "T", "rating": ` + test.rating + `}]}`
		page := newFixture(t, reviews(answer(200, body))).get(t, "/productpage")
		page.wantStatus(t, test.status)
		page.contains(t, test.text)
		if got := strings.Count(page.body, star); got != test.stars {
			t.Errorf("%s: %d stars, want %d", test.rating, got, test.stars)
		}
		if got := strings.Contains(page.body, "stroke=\"currentColor\""); got != test.outline {
			t.Errorf("%s: an empty star is drawn: %t, want %t", test.rating, got, test.outline)
		}
	}
}

func TestOddReviews(t *testing.T) {
	tests := []struct{ body, contains, lacks string }{
		{`{"podname": "p"}`, "Book Reviews", "on cluster"},
		{`[]`, "Book Reviews", "on cluster"},
		{`{"reviews": {"a": 1}}`, "Book Reviews", "Sorry"},
		{`{"reviews": [1, null, "x"]}`, "Book Reviews", "Sorry"},
		{`{"podname": "<script>x</script>", "clustername": "a\"b", "reviews": [{"reviewer": "<b>", "text": "<img src=x>"}]}`,
			"&lt;img src=x&gt;", "<script"},
		{`{"reviews": [{"rating": {"stars": 1, "color": "\" onclick=\"x"}}]}`, star, `" onclick="x`},
	}
	for _, test := range tests {
		page := newFixture(t, reviews(answer(200, test.body))).get(t, "/productpage")
		page.wantStatus(t, 200)
		page.contains(t, test.contains)
		page.lacks(t, test.lacks)
	}
}

func TestAPISpelling(t *testing.T) {
	f := newFixture(t, ratings(answer(200, `{"b":[1,2.50,"é\u2028"],"a":{"x":null,"y":true}}`)))
	f.get(t, "/api/v1/products/0/ratings").wantBody(t, `{"b": [1, 2.5, "\u00e9\u2028"], "a": {"x": null, "y": true}}`)
}

func TestPagesAreLockedDown(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/", "/productpage", "/nothing", "/login"} {
		page := f.get(t, path)
		policy := page.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %s", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: policy %q allows scripts", path, policy)
		}
		page.wantHeader(t, "X-Content-Type-Options", "nosniff")
	}
}

func TestLimits(t *testing.T) {
	f := newFixture(t)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	f.do(t, "POST", "/login", "username="+strings.Repeat("x", 2<<20), form...).wantStatus(t, 413)
	f.get(t, "/productpage", "x-large", strings.Repeat("x", 80<<10)).wantStatus(t, 431)
}

// TestContract54_Addresses: the backends' hosts and ports come from the variables that Kubernetes and Istio's samples set.
func TestContract54_Addresses(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		want string // of details
	}{
		{"defaults", nil, "details:9080"},
		{"domain", map[string]string{"SERVICES_DOMAIN": "shop.svc"}, "details.shop.svc:9080"},
		{"host and port", map[string]string{"DETAILS_HOSTNAME": "d", "DETAILS_SERVICE_PORT": "80"}, "d:80"},
		{"host in a domain", map[string]string{"DETAILS_HOSTNAME": "d", "SERVICES_DOMAIN": "x"}, "d.x:9080"},
		{"port of Kubernetes' other kind", map[string]string{"DETAILS_PORT": "tcp://10.0.0.1:9080"}, "details:9080"},
		{"address of IPv6", map[string]string{"DETAILS_HOSTNAME": "::1"}, "[::1]:9080"},
		{"set to nothing", map[string]string{"DETAILS_HOSTNAME": "", "DETAILS_SERVICE_PORT": ""}, ":"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			env := settings.From(settings.Map(test.env))
			cfg := productpage.FromEnv(env)
			if err := env.Err(); err != nil {
				t.Fatal(err)
			}
			if cfg.Details != test.want {
				t.Errorf("details is at %s, want %s", cfg.Details, test.want)
			}
		})
	}
}

func TestWrongSettings(t *testing.T) {
	for name, value := range map[string]string{
		"FLOOD_FACTOR":         "many",
		"POOL_CONNECTIONS":     "perhaps",
		"SESSION_KEY":          "too short",
		"TRACE_URL":            "http://viewer.example/",
		"DETAILS_SERVICE_PORT": "tcp://10.0.0.1:9080",
		"DETAILS_HOSTNAME":     "details:9080",
		"REVIEWS_HOSTNAME":     "a/b",
		"REVIEWS_SERVICE_PORT": "65536",
		"SERVICES_DOMAIN":      "a b",
		"HTTP_PROXY":           "::::",
		"https_proxy":          "http://a b",
		"RATINGS_SERVICE_PORT": "-1",
	} {
		env := settings.From(settings.Map(map[string]string{name: value}))
		productpage.FromEnv(env)
		err := env.Err()
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%s: error %v, want one line that names the variable", name, value, err)
		}
		if err != nil && name == "SESSION_KEY" && strings.Contains(err.Error(), value) {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
}

func TestProxyOfTheBackends(t *testing.T) {
	proxy := &stub{handle: answer(200, detailsJSON)}
	srv := newStubServer(t, proxy)
	page := newFixture(t, with("HTTP_PROXY", srv), with("DETAILS_HOSTNAME", "details.example"), with("NO_PROXY", "127.0.0.1"))
	page.get(t, "/productpage").contains(t, "Book Details")
	if n := len(proxy.seen()); n != 1 {
		t.Fatalf("%d requests at the proxy, want 1", n)
	}
	if got := proxy.seen()[0].Host; !strings.HasPrefix(got, "details.example:") {
		t.Errorf("the proxy was asked for host %s", got)
	}
}
