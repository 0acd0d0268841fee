package lessons_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/docs/lessons"
	"example.com/bookinfo/services/console/clinic"
	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/recorded"
	"example.com/bookinfo/services/console/store"
)

func TestEveryLessonSaysWhatToDoSeeAndAsk(t *testing.T) {
	s := store.New(store.Options{})
	all, err := lessons.All(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 8 {
		t.Fatalf("%d lessons, want 8", len(all))
	}
	index, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	slugs := map[string]bool{}
	for _, l := range all {
		slugs[l.Slug] = true
		for _, part := range []string{"<h2>Do</h2>", "<h2>See</h2>", "<h2>Why</h2>", "<h2>A question</h2>"} {
			if !strings.Contains(string(l.Body), part) {
				t.Errorf("%s lacks %s", l.Slug, part)
			}
		}
		if !strings.Contains(string(index), "["+l.Title+"]") {
			t.Errorf("README.md does not list %q", l.Title)
		}
	}
	for _, f := range doctor.Examine(recorded.Find(t, "none/b3/gateway-two-spans").Spans(recorded.Options{Start: time.Unix(1_700_000_000, 0)}), doctor.Knowledge{}, time.Time{}) {
		if !slugs[f.Lesson] {
			t.Errorf("finding %s names the lesson %q, which is not there", f.Kind, f.Lesson)
		}
	}
}

// TestDoneAppearsWhenItHappened plays what a lesson asks for into a store.
func TestDoneAppearsWhenItHappened(t *testing.T) {
	for slug, chain := range map[string]string{
		"one-request":                 "all/b3/gateway-two-spans",
		"nothing-forwarded":           "none/b3/gateway-two-spans",
		"half-a-context":              "traceid-only/b3/gateway-two-spans",
		"request-id-and-sampling":     "no-request-id/otel/gateway-two-spans",
		"b3-and-w3c":                  "w3c-only/b3/gateway-two-spans",
		"gateway-and-client-contexts": "client-context/otel/gateway-two-spans",
	} {
		t.Run(slug, func(t *testing.T) {
			now := time.Unix(1_700_000_000, 0)
			clock := func() time.Time { return now }
			s := store.New(store.Options{Now: clock})
			all, err := lessons.All(clinic.New(s, clock, 0).Backend(), nil)
			if err != nil {
				t.Fatal(err)
			}
			done := func() bool {
				for _, l := range all {
					if l.Slug == slug {
						ok, err := l.Done(context.Background())
						if err != nil {
							t.Fatal(err)
						}
						return ok
					}
				}
				t.Fatalf("no lesson %s", slug)
				return false
			}
			if done() {
				t.Error("done before anything happened")
			}
			s.Append(recorded.Find(t, chain).Spans(recorded.Options{Start: now, Seed: 1}))
			now = now.Add(time.Minute)
			if !done() {
				t.Error("not done although it happened")
			}
		})
	}
}
