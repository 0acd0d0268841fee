package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Istio's tutorials with Bookinfo, run as a reader runs them: the demo, the files of deploy/istio, the page.

const (
	star      = "glyphicon glyphicon-star"
	noReviews = "Sorry, product reviews are currently unavailable for this book."
	noRatings = "Ratings service is currently unavailable"
)

// tutorial is a demo with the commands that steer it.
type tutorial struct {
	*runningDemo
	t *testing.T
}

func startTutorial(t *testing.T) *tutorial {
	t.Helper()
	return &tutorial{startDemo(t), t}
}

// apply applies files of deploy/istio.
func (u *tutorial) apply(names ...string) {
	u.t.Helper()
	for _, name := range names {
		var stdout, stderr strings.Builder
		if err := run(u.t.Context(), []string{"apply", "-f", filepath.Join("../../deploy/istio", name)}, u.lookup, &stdout, &stderr); err != nil {
			u.t.Fatalf("%s: %v\n%s", name, err, stderr.String())
		}
	}
}

// applyText applies a file that the tutorial has the reader write.
func (u *tutorial) applyText(text string) {
	u.t.Helper()
	name := filepath.Join(u.t.TempDir(), "file.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		u.t.Fatal(err)
	}
	u.apply(relative(u.t, name))
}

func relative(t *testing.T, name string) string {
	t.Helper()
	folder, err := filepath.Abs("../../deploy/istio")
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Rel(folder, name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// page signs in as user, if one is named, and returns the page with its status and the time that it took.
func (u *tutorial) page(user string) (status int, body string, took time.Duration) {
	u.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		u.t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	if user != "" {
		resp, err := client.PostForm(u.Gateway+"/login", url.Values{"username": {user}, "passwd": {"x"}})
		if err != nil {
			u.t.Fatal(err)
		}
		resp.Body.Close()
	}
	begin := time.Now()
	return u.get(client, begin)
}

func (u *tutorial) get(client *http.Client, begin time.Time) (int, string, time.Duration) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.Gateway+"/productpage", nil)
	if err != nil {
		u.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	return resp.StatusCode, string(data), time.Since(begin)
}

// shows wants the page of a user to contain something, or with a leading "!" not to.
func (u *tutorial) shows(user string, wants ...string) {
	u.t.Helper()
	_, body, _ := u.page(user)
	for _, want := range wants {
		text, not := strings.CutPrefix(want, "!")
		if strings.Contains(body, text) == not {
			u.t.Errorf("as %q: the page should show %q (! is not):\n%s", user, want, body)
		}
	}
}

func TestRequestRoutingTutorial(t *testing.T) {
	u := startTutorial(t)
	u.apply("destination-rule-all.yaml", "virtual-service-all-v1.yaml")
	u.shows("", "!"+star, "!"+noReviews)
	u.shows("jason", "!"+star)
	u.apply("virtual-service-reviews-test-v2.yaml")
	u.shows("", "!"+star)
	u.shows("jason", star)
	u.apply("virtual-service-reviews-v3.yaml")
	u.shows("", star)
}

func TestFaultInjectionTutorial(t *testing.T) {
	u := startTutorial(t)
	u.apply("destination-rule-all.yaml", "virtual-service-all-v1.yaml", "virtual-service-reviews-test-v2.yaml", "virtual-service-ratings-test-abort.yaml")
	u.shows("jason", noRatings, "!"+noReviews)
	u.shows("", "!"+noRatings)
	if testing.Short() {
		t.Skip("the delay takes six seconds")
	}
	u.apply("virtual-service-ratings-test-delay.yaml")
	// productpage waits for reviews 3 seconds, twice, while ratings is held back for 7: the bug that the fault shows.
	if _, body, took := u.page("jason"); !strings.Contains(body, noReviews) || took < 6*time.Second || took > 9*time.Second {
		t.Errorf("after %v:\n%s", took, body)
	}
	if _, body, took := u.page(""); strings.Contains(body, noReviews) || took > 3*time.Second {
		t.Errorf("others, after %v:\n%s", took, body)
	}
}

func TestRequestTimeoutsTutorial(t *testing.T) {
	u := startTutorial(t)
	const header = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: %s\nspec:\n  hosts: [%[1]s]\n  http:\n  - route: [{destination: {host: %[1]s, subset: %s}}]\n"
	u.apply("destination-rule-all.yaml", "virtual-service-all-v1.yaml")
	u.applyText(fmt.Sprintf(header, "reviews", "v2"))
	u.applyText(fmt.Sprintf(header, "ratings", "v1") + "    fault: {delay: {percentage: {value: 100}, fixedDelay: 2s}}\n")
	if _, body, took := u.page(""); !strings.Contains(body, star) || took < 2*time.Second {
		t.Errorf("with the delay, after %v:\n%s", took, body)
	}
	u.applyText(fmt.Sprintf(header, "reviews", "v2") + "    timeout: 0.5s\n")
	// Half a second for each of productpage's two tries.
	if _, body, took := u.page(""); !strings.Contains(body, noReviews) || took < time.Second || took > 2*time.Second {
		t.Errorf("with the timeout, after %v:\n%s", took, body)
	}
}

func TestTrafficShiftingTutorial(t *testing.T) {
	u := startTutorial(t)
	u.apply("destination-rule-all.yaml", "virtual-service-all-v1.yaml", "virtual-service-reviews-90-10.yaml")
	const n = 2000
	counts := u.versions(n)
	// Five standard deviations of 2,000 draws at 10 %.
	bound := 5 * math.Sqrt(n*0.1*0.9)
	if got := float64(counts["reviews-v2"]); math.Abs(got-n/10) > bound || counts["reviews-v1"]+counts["reviews-v2"] != n {
		t.Errorf("%v, want %d±%.0f of v2 and the rest of v1", counts, n/10, bound)
	}
	u.apply("virtual-service-reviews-v3.yaml")
	if counts := u.versions(50); counts["reviews-v3"] != 50 {
		t.Errorf("%v, want v3 alone", counts)
	}
}

// versions asks for reviews by the API so many times and counts the deployments that answered.
func (u *tutorial) versions(n int) map[string]int {
	u.t.Helper()
	const workers = 8
	var mu sync.Mutex
	counts := make(map[string]int)
	var group sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < n; i += workers {
				resp, err := client.Get(u.Gateway + "/api/v1/products/0/reviews")
				if err != nil {
					u.t.Error(err)
					return
				}
				var answer struct {
					Podname string `json:"podname"`
				}
				err = json.NewDecoder(resp.Body).Decode(&answer)
				resp.Body.Close()
				if err != nil {
					u.t.Error(err)
					return
				}
				parts := strings.Split(answer.Podname, "-")
				mu.Lock()
				counts[strings.Join(parts[:min(2, len(parts))], "-")]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	client.CloseIdleConnections()
	return counts
}

func TestHTTPAuthorizationTutorial(t *testing.T) {
	u := startTutorial(t)
	u.apply("destination-rule-all.yaml", "virtual-service-all-v1.yaml", "virtual-service-reviews-v3.yaml", "authorization-allow-nothing.yaml")
	if status, body, _ := u.page(""); status != http.StatusForbidden || body != "RBAC: access denied" {
		t.Errorf("%d %s", status, body)
	}
	u.apply("authorization-productpage.yaml")
	u.shows("", "William Shakespeare", "Error fetching product details", "Error fetching product reviews")
	u.apply("authorization-details.yaml", "authorization-reviews.yaml")
	u.shows("", "!Error fetching product", noRatings)
	u.apply("authorization-ratings.yaml")
	u.shows("", "Book Details", "Book Reviews", star, "!"+noRatings, "!Error fetching")
}

// A mirror gets a copy of each request, and its answer is not seen.
func TestMirroring(t *testing.T) {
	u := startTutorial(t)
	u.apply("destination-rule-all.yaml", "virtual-service-all-v1.yaml")
	u.applyText(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews, subset: v1}}]
    mirror: {host: reviews, subset: v3}
    mirrorPercentage: {value: 100}
`)
	for range 5 {
		u.shows("", "!"+star) // v3's answer would have stars
	}
	// v1 asks no ratings: a span of reviews' call to ratings can only be the mirror's.
	u.eventually(func() bool {
		resp, err := http.Get(u.Console + "/api/v2/traces?serviceName=ratings.default")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(data), `"istio.canonical_revision":"v3"`)
	}, "a trace in which reviews v3 calls ratings")
}

// eventually polls for what spans say, which are reported a moment after the answer.
func (u *tutorial) eventually(holds func() bool, what string) {
	u.t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			u.t.Fatalf("not seen in ten seconds: %s", what)
		case <-tick.C:
		}
	}
}

// With one request at a time allowed, those that come meanwhile are refused by the caller's own sidecar.
func TestCircuitBreaking(t *testing.T) {
	u := startTutorial(t)
	u.apply("destination-rule-all.yaml", "virtual-service-all-v1.yaml")
	u.applyText(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    connectionPool: {http: {http2MaxRequests: 1, http1MaxPendingRequests: 1}, tcp: {maxConnections: 1}}
  subsets:
  - {name: v2, labels: {version: v2}}
`)
	u.applyText(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews, subset: v2}}]
    retries: {attempts: 0}
`)
	u.applyText("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: ratings}\nspec:\n  hosts: [ratings]\n  http:\n  - fault: {delay: {percentage: {value: 100}, fixedDelay: 1s}}\n    route: [{destination: {host: ratings, subset: v1}}]\n")
	const visitors = 6
	var mu sync.Mutex
	statuses := make(map[int]int)
	var group sync.WaitGroup
	for range visitors {
		group.Go(func() {
			resp, err := http.Get(u.Gateway + "/api/v1/products/0/reviews")
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			mu.Lock()
			statuses[resp.StatusCode]++
			mu.Unlock()
		})
	}
	group.Wait()
	if statuses[http.StatusOK] == 0 || statuses[http.StatusServiceUnavailable] == 0 {
		t.Errorf("%v, want some answered and some refused with 503", statuses)
	}
}

// While a file is applied again and again no request fails, and each sees the old routes or the new.
func TestChangesUnderLoad(t *testing.T) {
	u := startTutorial(t)
	u.apply("destination-rule-all.yaml", "virtual-service-all-v1.yaml")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 40 {
			name := []string{"virtual-service-reviews-v3.yaml", "virtual-service-reviews-v2-v3.yaml"}[i%2]
			if err := run(t.Context(), []string{"apply", "-f", "../../deploy/istio/" + name}, u.lookup, io.Discard, io.Discard); err != nil {
				t.Error(err)
			}
		}
	}()
	total := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for version, n := range u.versions(40) {
			total += n
			if version != "reviews-v1" && version != "reviews-v2" && version != "reviews-v3" {
				t.Fatalf("%d answers of %q", n, version)
			}
		}
	}
	t.Logf("%d requests during 40 changes", total)
}
