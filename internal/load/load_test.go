package load_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookinfo/internal/load"
)

// bookinfo answers pages in turn by reviews v1, v2 and v3, and remembers who asked.
type bookinfo struct {
	mu    sync.Mutex
	users []string
	fail  bool
}

func (b *bookinfo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/login" {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: r.FormValue("username"), Path: "/"})
		w.Header().Set("Location", "/productpage")
		w.WriteHeader(http.StatusFound)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	user := load.Anonymous
	if cookie, err := r.Cookie("session"); err == nil {
		user = cookie.Value
	}
	b.users = append(b.users, user)
	if b.fail && len(b.users)%2 == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "Reviews served by: reviews-v%d-abc-xyz", len(b.users)%3+1)
}

func run(t *testing.T, b *bookinfo, change func(*load.Config)) *load.Result {
	t.Helper()
	srv := httptest.NewServer(b)
	defer srv.Close()
	cfg := load.Config{URL: srv.URL, Rate: 600, Duration: 100 * time.Millisecond, Seed: 7, Personas: []string{load.Anonymous, "jason"}}
	if change != nil {
		change(&cfg)
	}
	result, err := load.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestLoad(t *testing.T) {
	b := &bookinfo{}
	var last, planned int
	result := run(t, b, func(c *load.Config) {
		c.Progress = func(done, all int) { last, planned = done, all }
	})
	if result.Planned != 60 || result.Sent != 60 || result.Status[200] != 60 || result.Failed() {
		t.Errorf("planned %d, sent %d, status %v", result.Planned, result.Sent, result.Status)
	}
	for _, version := range []string{"v1", "v2", "v3"} {
		if result.Versions[version] != 20 {
			t.Errorf("%s: %d pages, want 20", version, result.Versions[version])
		}
	}
	if last != 60 || planned != 60 {
		t.Errorf("progress ended at %d of %d", last, planned)
	}
	if p50, p99 := result.Percentile(50), result.Percentile(99); p50 <= 0 || p99 < p50 {
		t.Errorf("p50 %s, p99 %s", p50, p99)
	}
	var text bytes.Buffer
	if err := result.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"60 sent", "p50", "p99", "200: 60", "reviews v3: 20 (33.3 %)"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &text)
		}
	}
}

// TestSeed: the same seed asks by the same personas, another by others.
func TestSeed(t *testing.T) {
	count := func(seed uint64) int {
		b := &bookinfo{}
		run(t, b, func(c *load.Config) { c.Seed = seed })
		n := 0
		for _, user := range b.users {
			if user == "jason" {
				n++
			}
		}
		return n
	}
	first := count(7)
	if again := count(7); again != first {
		t.Errorf("jason asked %d times, then %d with the same seed", first, again)
	}
	if first == 0 || first == 60 {
		t.Errorf("jason asked %d times of 60", first)
	}
}

// TestOpenLoop: requests leave on time though no answer comes, and are counted when too many wait.
func TestOpenLoop(t *testing.T) {
	release := make(chan struct{})
	var mu sync.Mutex
	arrived := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		if arrived++; arrived == 20 {
			close(release) // the last one that fits: had it waited for an answer, it would never have come
		}
		mu.Unlock()
		<-release
	}))
	defer srv.Close()
	result, err := load.Run(t.Context(), load.Config{
		URL: srv.URL, Rate: 1000, Duration: 20 * time.Millisecond, Personas: []string{load.Anonymous}, InFlight: 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent != 20 || result.Versions[""] != 20 {
		t.Errorf("sent %d, versions %v", result.Sent, result.Versions)
	}

	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	result, err = load.Run(t.Context(), load.Config{
		URL: hang.URL, Rate: 1000, Duration: 20 * time.Millisecond, Personas: []string{load.Anonymous}, InFlight: 5, Timeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent != 5 || result.Skipped != 15 || result.Status[0] != 5 || !result.Failed() {
		t.Errorf("sent %d, skipped %d, status %v; want 5, 15 and no answers", result.Sent, result.Skipped, result.Status)
	}
}

func TestFailuresAreCounted(t *testing.T) {
	result := run(t, &bookinfo{fail: true}, nil)
	if result.Status[200] != 30 || result.Status[503] != 30 || !result.Failed() {
		t.Errorf("status %v, want half of them 503", result.Status)
	}
}

func TestInterruptedLoad(t *testing.T) {
	srv := httptest.NewServer(&bookinfo{})
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	result, err := load.Run(ctx, load.Config{
		URL: srv.URL, Rate: 100, Duration: time.Hour, Personas: []string{load.Anonymous},
		Progress: func(done, _ int) {
			if done == 3 {
				cancel()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent < 3 || result.Sent > 10 || result.Status[0] != 0 {
		t.Errorf("sent %d, status %v; want the few until the interruption, none of them failed", result.Sent, result.Status)
	}
}

func TestWrongLoads(t *testing.T) {
	good := load.Config{URL: "http://127.0.0.1:1", Rate: 1, Duration: time.Second, Personas: []string{load.Anonymous}}
	for field, change := range map[string]func(*load.Config){
		"url":      func(c *load.Config) { c.URL = "127.0.0.1" },
		"rate":     func(c *load.Config) { c.Rate = -1 },
		"duration": func(c *load.Config) { c.Duration = 0 },
		"personas": func(c *load.Config) { c.Personas = nil },
	} {
		cfg := good
		change(&cfg)
		_, err := load.Run(t.Context(), cfg)
		var wrong *load.ConfigError
		if !errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: error %v", field, err)
		}
	}
}
