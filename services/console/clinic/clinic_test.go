package clinic_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/clinic"
	"example.com/bookinfo/services/console/recorded"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/store"
)

// TestFindingsOfStoredTraces stores whole traces to learn from, then a broken one, and asks as the trace explorer does.
func TestFindingsOfStoredTraces(t *testing.T) {
	for _, test := range []struct {
		chain string
		want  map[string]int // finding to the number of traces with it
	}{
		{"all/b3/gateway-two-spans", map[string]int{}},
		{"none/b3/gateway-two-spans", map[string]int{"nothing-forwarded": 4}},
		{"none/otel/gateway-one-span", map[string]int{"nothing-forwarded": 4}},
		{"request-id-only/b3/gateway-two-spans", map[string]int{"context-lost": 4}},
		{"all-but-reviews/otel/gateway-two-spans", map[string]int{"nothing-forwarded": 2}},
		{"sampled-0/b3/gateway-two-spans", map[string]int{"trace-stops": 1}},
		{"no-request-id/b3/gateway-two-spans", map[string]int{"request-id-dropped": 1}},
		{"span-as-parent/b3/gateway-two-spans", map[string]int{"wrong-parent": 1}},
		{"client-b3-forwarded/b3/gateway-two-spans", map[string]int{}},
	} {
		t.Run(test.chain, func(t *testing.T) {
			start := time.Unix(1_700_000_000, 0)
			now := start
			clock := func() time.Time { return now }
			s := store.New(store.Options{Now: clock})
			c := clinic.New(s, clock, 0)
			ctx := context.Background()
			chain := recorded.Find(t, test.chain)
			whole := recorded.Find(t, "all/"+formatOf(chain.ID)+"/gateway-two-spans")
			for i := range 5 {
				s.Append(whole.Spans(recorded.Options{Start: now, Seed: uint64(i + 1)}))
				now = now.Add(time.Minute)
				if _, err := c.Backend().Search(ctx, backend.Query{}); err != nil {
					t.Fatal(err)
				}
			}
			from := now
			s.Append(chain.Spans(recorded.Options{Start: now, Seed: 99}))
			now = now.Add(time.Minute)

			result, err := c.Backend().Search(ctx, backend.Query{Window: backend.Window{From: from}})
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]int{}
			for _, trace := range result.Traces {
				for _, kind := range trace.Findings {
					got[kind]++
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings of %d traces (-want +got):\n%s", len(result.Traces), diff)
			}
			for kind, n := range test.want {
				filtered, err := c.Backend().Search(ctx, backend.Query{Finding: kind})
				if err != nil {
					t.Fatal(err)
				}
				if len(filtered.Traces) != n {
					t.Errorf("the filter %s gives %d traces, want %d", kind, len(filtered.Traces), n)
				}
			}
		})
	}
}

func formatOf(id string) string { return strings.Split(id, "/")[1] }

// TestVersionsHaveHabitsOfTheirOwn: that v3 calls ratings makes no fault of v1, which does not.
func TestVersionsHaveHabitsOfTheirOwn(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	clock := func() time.Time { return now }
	s := store.New(store.Options{Now: clock})
	c := clinic.New(s, clock, 0)
	chain := recorded.Find(t, "all/otel/gateway-two-spans")
	for i := range 20 {
		version := []string{"v1", "v3"}[i%2]
		spans := chain.Spans(recorded.Options{Start: now, Seed: uint64(i + 1), Reviews: version})
		if version == "v1" {
			spans = slices.DeleteFunc(spans, func(s span.Span) bool { return strings.HasPrefix(s.Name, "ratings.") })
		}
		s.Append(spans)
		now = now.Add(time.Minute)
		result, err := c.Backend().Search(context.Background(), backend.Query{})
		if err != nil {
			t.Fatal(err)
		}
		for _, trace := range result.Traces {
			if len(trace.Findings) > 0 {
				t.Fatalf("request %d (%s): %v on a whole trace", i, version, trace.Findings)
			}
		}
	}
}
