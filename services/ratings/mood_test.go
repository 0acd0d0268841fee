package ratings

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func ask(t *testing.T, s *Service, method, path string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	return rec.Code, rec.Body.String()
}

const (
	good   = `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`
	notNow = `{"error":"Service unavailable"}`
)

// seeded is chance that is the same in every run.
func seeded() func() float64 { return rand.New(rand.NewPCG(1, 2)).Float64 }

func TestContract12_FaultyFailsHalfOfTheTime(t *testing.T) {
	s := New(Config{Version: "v-faulty", Random: seeded()})
	failed := 0
	for range 1000 {
		switch status, body := ask(t, s, "GET", "/ratings/0"); {
		case status == 503 && body == notNow:
			failed++
		case status != 200 || body != good:
			t.Fatalf("got %d %s", status, body)
		}
		if status, _ := ask(t, s, "GET", "/health"); status != 200 {
			t.Fatalf("health answers %d", status)
		}
	}
	if failed < 450 || failed > 550 {
		t.Errorf("%d of 1000 failed", failed)
	}
	if status, _ := ask(t, s, "GET", "/ratings/abc"); status != 400 {
		t.Errorf("a wrong id is refused before chance decides, got %d", status)
	}
}

func TestContract13_DelayedTakesSevenSecondsHalfOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Version: "v-delayed", Random: seeded()})
		slow := 0
		for range 1000 {
			start := time.Now()
			status, body := ask(t, s, "GET", "/ratings/0")
			if status != 200 || body != good {
				t.Fatalf("got %d %s", status, body)
			}
			switch took := time.Since(start); took {
			case 7 * time.Second:
				slow++
			case 0:
			default:
				t.Fatalf("took %v", took)
			}
		}
		if slow < 450 || slow > 550 {
			t.Errorf("%d of 1000 were slow", slow)
		}
	})
}

func TestDelayEndsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Version: "v-delayed", Random: func() float64 { return 0 }})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/ratings/0", http.NoBody))
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("held on for %v after the caller gave up at 3s", took)
		}
	})
}

func TestContract14_UnavailableEveryOtherMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Version: "v-unavailable"})
		for second := range 300 {
			want := 200
			if second/60%2 == 1 {
				want = 503
			}
			if status, body := ask(t, s, "GET", "/ratings/0"); status != want || want == 503 && body != notNow {
				t.Fatalf("after %d s: got %d %s, want %d", second, status, body, want)
			}
			if status, _ := ask(t, s, "GET", "/health"); status != 200 {
				t.Fatalf("after %d s: health answers %d", second, status)
			}
			time.Sleep(time.Second)
		}
	})
}

func TestContract15_UnhealthyEveryOtherQuarterOfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Version: "v-unhealthy"})
		for minute := range 60 {
			ratings, health, healthBody := 200, 200, `{"status":"Ratings is healthy"}`
			if minute/15%2 == 1 {
				ratings, health, healthBody = 503, 500, `{"status":"Ratings is not healthy"}`
			}
			if status, body := ask(t, s, "GET", "/health"); status != health || body != healthBody {
				t.Fatalf("after %d min: health answers %d %s", minute, status, body)
			}
			if status, _ := ask(t, s, "GET", "/ratings/0"); status != ratings {
				t.Fatalf("after %d min: got %d, want %d", minute, status, ratings)
			}
			time.Sleep(time.Minute)
		}
	})
}
