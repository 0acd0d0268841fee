package productpage_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The numbers of the tests are those of the checks that every drop-in for Bookinfo has to pass.

const (
	sorryDetails = "Sorry, product details are currently unavailable for this book."
	sorryReviews = "Sorry, product reviews are currently unavailable for this book."
	sorryRatings = "Sorry, product ratings are currently unavailable for this book."
	star         = "glyphicon glyphicon-star"
)

func TestContract01_Title(t *testing.T) {
	page := newFixture(t).get(t, "/productpage")
	page.wantStatus(t, 200)
	if got := regexp.MustCompile(`<title>.*</title>`).FindString(page.body); got != "<title>Simple Bookstore App</title>" {
		t.Errorf("title line: %q", got)
	}
}

func TestContract02_Health(t *testing.T) {
	health := newFixture(t).get(t, "/health")
	health.wantStatus(t, 200)
	health.wantBody(t, "Product page is healthy")
	health.wantHeader(t, "Content-Type", "text/html; charset=utf-8")
}

func TestContract25_PageWithReviewsV1(t *testing.T) {
	page := newFixture(t, reviews(answer(200, reviewsV1))).get(t, "/productpage")
	page.wantStatus(t, 200)
	page.lacks(t, star, "glyphicon", "Error fetching", "Sorry", "Ratings service is currently unavailable", "on cluster")
	page.contains(t, "First text.", "Second text.", "Book Details", "Book Reviews", "Reviews served by:", "reviews-v1-aaa",
		"William Shakespeare", "The Comedy of Errors", "BookInfo Sample", `id="sign-in-button"`, `id="close-dialog"`,
		`name="login_form"`, `name="username"`, `name="passwd"`, `action="login"`, "Learn more about Istio",
		"ISBN-10", "PublisherA", "paperback", "English", "1234567890")
	page.wantHeader(t, "Vary", "Cookie")
}

func TestContract26_PageWithStars(t *testing.T) {
	for _, color := range []string{"black", "red"} {
		body := strings.ReplaceAll(reviewsV2, "black", color)
		page := newFixture(t, reviews(answer(200, body))).get(t, "/productpage")
		if n := strings.Count(page.body, star); n != 9 {
			t.Errorf("%s: %d stars, want 9", color, n)
		}
		if n := strings.Count(page.body, "text-"+color+"-500"); n != 2 {
			t.Errorf("%s: its class occurs %d times, want 2", color, n)
		}
	}
}

func TestContract19_PageNamesTheCluster(t *testing.T) {
	page := newFixture(t, reviews(answer(200, strings.Replace(reviewsV2, `"null"`, `"c1"`, 1)))).get(t, "/productpage")
	page.contains(t, "on cluster", ">c1<")
}

func TestContract27_DetailsFail(t *testing.T) {
	page := newFixture(t, details(answer(503, `{"error":"down"}`))).get(t, "/productpage")
	page.wantStatus(t, 200)
	page.contains(t, "Error fetching product details", sorryDetails, "William Shakespeare", "Book Reviews")
	page.lacks(t, "down", "Book Details")
}

func TestContract28_ReviewsFail(t *testing.T) {
	f := newFixture(t, reviews(answer(500, "")))
	page := f.get(t, "/productpage")
	page.wantStatus(t, 200)
	page.contains(t, "Error fetching product reviews", sorryReviews, "Book Details")
	page.lacks(t, "Book Reviews")
	if n := len(f.reviews.seen()); n != 2 {
		t.Errorf("%d requests to reviews, want 2", n)
	}
	if n := len(f.details.seen()); n != 1 {
		t.Errorf("%d requests to details, want 1", n)
	}
}

func TestContract31_ReviewsFailOnce(t *testing.T) {
	calls := 0
	f := newFixture(t, reviews(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 1 {
			answer(503, "")(w, r)
			return
		}
		answer(200, reviewsV2)(w, r)
	}))
	f.get(t, "/productpage").contains(t, "Book Reviews", star)
}

func TestContract34_PageNeverAsksRatings(t *testing.T) {
	f := newFixture(t)
	f.get(t, "/productpage")
	if n := len(f.ratings.seen()); n != 0 {
		t.Errorf("%d requests to ratings, want none", n)
	}
}

func TestContract35_LoginWithoutReferer(t *testing.T) {
	login := newFixture(t).login(t, "jason")
	login.wantStatus(t, 302)
	login.wantHeader(t, "Location", "/productpage")
	login.wantHeader(t, "Vary", "Cookie")
	cookie := login.Header.Get("Set-Cookie")
	if !regexp.MustCompile(`^session=[\w-]+\.[\w-]+\.[\w-]+; HttpOnly; Path=/; SameSite=Lax$`).MatchString(cookie) {
		t.Errorf("Set-Cookie: %s", cookie)
	}
}

func TestContract36_LoginReferer(t *testing.T) {
	f := newFixture(t)
	tests := []struct{ referer, want string }{
		{f.url + "/productpage?u=test", f.url + "/productpage?u=test"},
		{strings.Replace(f.url, "http:", "https:", 1) + "/productpage", strings.Replace(f.url, "http:", "https:", 1) + "/productpage"},
		{"http://elsewhere.example/productpage", "/productpage"},
		{f.url + ".elsewhere.example/", "/productpage"},
		{strings.Replace(f.url, "http://", "http://a@", 1), "/productpage"},
		{"javascript:alert(1)", "/productpage"},
		{"//" + strings.TrimPrefix(f.url, "http://"), "/productpage"},
		{"%zz", "/productpage"},
		{"", "/productpage"},
	}
	for _, test := range tests {
		for _, request := range []struct{ method, path string }{{"POST", "/login?username=x"}, {"GET", "/logout"}} {
			resp := f.do(t, request.method, request.path, "", "Referer", test.referer)
			resp.wantStatus(t, 302)
			resp.wantHeader(t, "Location", test.want)
		}
	}
}

func TestContract37_PageOfAUser(t *testing.T) {
	f := newFixture(t)
	f.login(t, "jason")
	page := f.get(t, "/productpage")
	page.contains(t, "jason", "Sign out", `href="logout"`, "izzy.png")
	page.lacks(t, "sign-in-button")
	for name, s := range map[string]*stub{"details": f.details, "reviews": f.reviews} {
		if got := s.seen()[0].Header.Get("End-User"); got != "jason" {
			t.Errorf("%s received end-user %q", name, got)
		}
	}
}

func TestContract38_EndUserOfAStranger(t *testing.T) {
	f := newFixture(t)
	f.get(t, "/productpage", "end-user", "mallory")
	f.get(t, "/api/v1/products/0/ratings", "end-user", "mallory", "Cookie", "session=forged.AAAA.AAAA")
	for name, s := range map[string]*stub{"details": f.details, "reviews": f.reviews, "ratings": f.ratings} {
		if got := s.seen()[0].Header.Values("End-User"); got != nil {
			t.Errorf("%s received end-user %q", name, got)
		}
	}
	if got := f.ratings.seen()[0].Header.Get("Cookie"); got != "session=forged.AAAA.AAAA" {
		t.Errorf("an invalid cookie arrives as %q, want it as it was", got)
	}
}

func TestContract40_Logout(t *testing.T) {
	f := newFixture(t)
	f.get(t, "/logout").wantHeader(t, "Set-Cookie", "") // nobody is signed in
	f.login(t, "jason")
	logout := f.get(t, "/logout")
	logout.wantStatus(t, 302)
	logout.wantHeader(t, "Vary", "Cookie")
	logout.wantHeader(t, "Set-Cookie", "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Path=/; SameSite=Lax")
	page := f.get(t, "/productpage")
	page.contains(t, "sign-in-button")
	page.lacks(t, "jason</span>", "Sign out")
}

func TestContract41_GetLogin(t *testing.T) {
	resp := newFixture(t).get(t, "/login")
	resp.wantStatus(t, 405)
	resp.wantHeader(t, "Allow", "OPTIONS, POST")
}

func TestContract45_Products(t *testing.T) {
	resp := newFixture(t).get(t, "/api/v1/products")
	resp.wantStatus(t, 200)
	resp.wantHeader(t, "Content-Type", "application/json")
	if !regexp.MustCompile(`^\[\{"id": 0, "title": "The Comedy of Errors", "descriptionHtml": ".+"\}\]$`).MatchString(resp.body) {
		t.Errorf("body: %s", resp.body)
	}
}

func TestContract46_ProductDetails(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"0", "1", "99"} {
		resp := f.get(t, "/api/v1/products/"+id)
		resp.wantStatus(t, 200)
		resp.wantHeader(t, "Content-Type", "application/json")
		resp.wantBody(t, `{"id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200, "publisher": "PublisherA", "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890"}`)
	}
	for i, want := range []string{"/details/0", "/details/1", "/details/99"} {
		if got := f.details.seen()[i].RequestURI; got != want {
			t.Errorf("details was asked for %s, want %s", got, want)
		}
	}
}

func TestContract47_ProductDetailsRefused(t *testing.T) {
	resp := newFixture(t, details(answer(400, `{"error":"please provide numeric product id"}`))).get(t, "/api/v1/products/abc")
	resp.wantStatus(t, 400)
	resp.wantBody(t, `{"error": "`+sorryDetails+`"}`)
}

func TestContract48_BackendsFail(t *testing.T) {
	paths := map[string]string{"": sorryDetails, "/reviews": sorryReviews, "/ratings": sorryRatings}
	redirect := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(301) }
	reset := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	tests := []struct {
		name   string
		handle http.HandlerFunc
		status int
	}{
		{"404", answer(404, "x"), 404},
		{"503", answer(503, ""), 503},
		{"555", answer(555, ""), 555},
		{"201 is not 200", answer(201, ratingsJSON), 201},
		{"301 without Location", redirect, 301},
		{"connection reset", reset, 500},
		{"endless body", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "%q", strings.Repeat("x", 2<<20)) }, 500},
		{"endless header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 100_000)) }, 500},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, details(test.handle), reviews(test.handle), ratings(test.handle))
			for path, sorry := range paths {
				resp := f.get(t, "/api/v1/products/0"+path)
				resp.wantStatus(t, test.status)
				resp.wantBody(t, `{"error": "`+sorry+`"}`)
			}
			f.get(t, "/productpage").wantStatus(t, 200)
		})
	}
}

func TestContract48_NoContent(t *testing.T) {
	resp := newFixture(t, ratings(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })).get(t, "/api/v1/products/0/ratings")
	resp.wantStatus(t, 204)
	resp.wantBody(t, "")
}

func TestContract48_NoJSON(t *testing.T) {
	f := newFixture(t, details(answer(200, "<html>")))
	for _, path := range []string{"/api/v1/products/0", "/productpage"} {
		resp := f.get(t, path)
		resp.wantStatus(t, 500)
		resp.wantHeader(t, "Content-Type", "text/html; charset=utf-8")
	}
}

func TestContract49_ProductRatings(t *testing.T) {
	resp := newFixture(t).get(t, "/api/v1/products/0/ratings")
	resp.wantStatus(t, 200)
	resp.wantBody(t, `{"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}`)
}

func TestContract50_Metrics(t *testing.T) {
	f := newFixture(t, reviews(answer(500, "")), ratings(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	if before := f.get(t, "/metrics"); strings.Contains(before.body, "request_result_total{") {
		t.Error("there is a series before the first request")
	}
	f.get(t, "/productpage")
	f.get(t, "/productpage")
	f.get(t, "/api/v1/products/0/ratings")
	metrics := f.get(t, "/metrics")
	metrics.contains(t,
		`request_result_total{destination_app="details",response_code="200"} 2`,
		`request_result_total{destination_app="reviews",response_code="500"} 2`, // two tries count once
		`request_result_total{destination_app="ratings",response_code="500"} 1`)
	if got := metrics.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("Content-Type: %s", got)
	}
}

func TestContract51_Assets(t *testing.T) {
	f := newFixture(t)
	f.get(t, "/static/img/izzy.png").wantStatus(t, 200)
	linked := regexp.MustCompile(`(?:src|href|action)="([^"]*)"`)
	for _, path := range []string{"/", "/productpage", "/nothing"} {
		page := f.get(t, path)
		for _, match := range linked.FindAllStringSubmatch(page.body, -1) {
			if strings.HasPrefix(match[1], "/static/") {
				f.get(t, match[1]).wantStatus(t, 200)
			}
		}
		// Links may lead elsewhere; what a browser loads by itself may not.
		for _, loads := range regexp.MustCompile(`<(?:img|script|link|iframe|source|form)[^>]*>`).FindAllString(page.body, -1) {
			if strings.Contains(loads, "//") {
				t.Errorf("%s loads from elsewhere: %s", path, loads)
			}
		}
		page.lacks(t, "<script", "style=")
	}
}

func TestContract52_Index(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/", "/index.html"} {
		index := f.get(t, path)
		index.wantStatus(t, 200)
		index.wantHeader(t, "Content-Type", "text/html; charset=utf-8")
		index.contains(t, "<title>Simple Bookstore App</title>", `href="/productpage?u=normal"`, `href="/productpage?u=test"`,
			`class="table table-condensed table-bordered table-hover"`, ">productpage<", ">details<", ">reviews<", ">ratings<")
	}
}

func TestContract53_Flood(t *testing.T) {
	f := newFixture(t, with("FLOOD_FACTOR", "3"))
	f.get(t, "/productpage")
	if n := len(f.reviews.seen()); n != 4 {
		t.Errorf("%d requests to reviews, want 4", n)
	}
	f.get(t, "/api/v1/products/0/reviews")
	if n := len(f.reviews.seen()); n != 5 {
		t.Errorf("the API floods reviews too: %d requests, want 5", n)
	}
}

func TestContract55_FreshConnections(t *testing.T) {
	for _, test := range []struct {
		pool string
		want int
	}{{"false", 10}, {"true", 1}} {
		f := newFixture(t, with("POOL_CONNECTIONS", test.pool))
		for range 10 {
			f.get(t, "/productpage")
		}
		f.reviews.mu.Lock()
		if f.reviews.conns != test.want {
			t.Errorf("POOL_CONNECTIONS=%s: %d connections for 10 pages, want %d", test.pool, f.reviews.conns, test.want)
		}
		f.reviews.mu.Unlock()
	}
}

func TestContract67_Authorization(t *testing.T) {
	f := newFixture(t)
	f.get(t, "/productpage", "Authorization", "Basic YWRtaW46YWRtaW4=", "jwt", "a.b.c", "User-Agent", "tester/1").wantStatus(t, 200)
	for name, s := range map[string]*stub{"details": f.details, "reviews": f.reviews} {
		got := s.seen()[0].Header
		if got.Get("Authorization") != "Basic YWRtaW46YWRtaW4=" || got.Get("Jwt") != "a.b.c" || got.Get("User-Agent") != "tester/1" {
			t.Errorf("%s received %v", name, got)
		}
	}
}

func TestContract68_Head(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/productpage", "/", "/health", "/api/v1/products/0", "/static/style.css"} {
		full, head := f.get(t, path), f.do(t, "HEAD", path, "")
		head.wantStatus(t, 200)
		head.wantBody(t, "")
		head.wantHeader(t, "Content-Type", full.Header.Get("Content-Type"))
		head.wantHeader(t, "Content-Length", full.Header.Get("Content-Length"))
	}
}
