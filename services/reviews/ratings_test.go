package reviews

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// after is a ratings service that takes its time, without a network: time can be virtual.
type after time.Duration

func (d after) RoundTrip(req *http.Request) (*http.Response, error) {
	select {
	case <-time.After(time.Duration(d)):
	case <-req.Context().Done():
		return nil, context.Cause(req.Context())
	}
	return &http.Response{
		StatusCode: 200, Header: http.Header{}, Request: req,
		Body: io.NopCloser(strings.NewReader(`{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)),
	}, nil
}

func slow(t *testing.T, color string, delay, wantTook time.Duration, wantStars bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Ratings: true, StarColor: color, RatingsURL: "http://ratings:9080", Transport: after(delay)})
		start := time.Now()
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/reviews/0", http.NoBody))
		if took := time.Since(start); rec.Code != 200 || took != wantTook {
			t.Errorf("%s, delay %v: %d after %v, want 200 after %v", color, delay, rec.Code, took, wantTook)
		}
		if got := strings.Contains(rec.Body.String(), `"stars": 5`); got != wantStars {
			t.Errorf("%s, delay %v: stars %v, want %v", color, delay, got, wantStars)
		}
	})
}

func TestContract21_V2WaitsTenSeconds(t *testing.T) {
	slow(t, "black", 9*time.Second, 9*time.Second, true)
	slow(t, "black", 11*time.Second, 10*time.Second, false)
}

func TestContract22_V3WaitsTwoAndAHalf(t *testing.T) {
	slow(t, "red", 2*time.Second, 2*time.Second, true)
	slow(t, "red", 3*time.Second, 2500*time.Millisecond, false)
	slow(t, "", 3*time.Second, 2500*time.Millisecond, false)
}

func TestRatingsAreNotAwaitedForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newRatingsClient(Config{StarColor: "black", RatingsURL: "http://ratings:9080", Transport: after(7 * time.Second),
			Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errors.New("productpage gave up"))
		defer cancel()
		start := time.Now()
		if _, err := c.stars(ctx, 0); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("waited %v", took)
		}
	})
}

func FuzzParseStars(f *testing.F) {
	for _, body := range []string{"", "x", "null", `{"ratings":{"Reviewer1":5,"Reviewer2":4}}`, `{"ratings":{"Reviewer1":4.9}}`,
		`{"ratings":{"Reviewer1":1e999}}`, `{"ratings":{"Reviewer1":-1}}`, `{"ratings":[]}`} {
		f.Add([]byte(body))
	}
	s := New(Config{Ratings: true, StarColor: "red", PodName: "p", ClusterName: "null"})
	f.Fuzz(func(t *testing.T, body []byte) {
		stars, err := parseStars(body)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q was accepted and is no JSON", body)
		}
		if page := s.body(0, stars); !json.Valid(page) {
			t.Fatalf("%q makes %s", body, page)
		}
	})
}
