package doctor_test

import (
	"fmt"
	"testing"
	"time"

	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
)

// large makes a trace of n spans in one of the shapes that cost most.
func large(shape string, n int) []span.Span {
	epoch := time.Unix(1_700_000_000, 0)
	spans := make([]span.Span, n)
	for i := range spans {
		s := &spans[i]
		*s = span.Span{
			TraceID: span.TraceID{Lo: 1}, ID: span.ID(i + 1), ParentID: span.ID(i), Kind: span.KindServer + span.Kind(i%2),
			Service: "a.shop", Name: "a", Start: epoch.Add(time.Duration(i) * time.Microsecond), Duration: time.Hour,
			Tags: span.Tags{{Key: "component", Value: "proxy"}, {Key: "http.status_code", Value: "200"}},
		}
		switch shape {
		case "flat":
			s.ParentID = span.ID(min(i, 1))
		case "cycle":
			if i == 0 {
				s.ParentID = span.ID(n)
			}
		case "one id":
			s.ID, s.ParentID = 7, 7
		case "orphans":
			s.ParentID = span.ID(n + 1)
		case "roots":
			s.ParentID = 0
			s.TraceID.Lo = uint64(i + 1)
			s.Tags = append(s.Tags, span.Tag{Key: "guid:x-request-id", Value: fmt.Sprint(i / 2)})
		}
	}
	return spans
}

// BenchmarkExamineLarge shows that the cost of a span does not grow with the trace.
func BenchmarkExamineLarge(b *testing.B) {
	for _, shape := range []string{"chain", "flat", "cycle", "one id", "orphans", "roots"} {
		for _, n := range []int{1_000, 50_000} {
			b.Run(fmt.Sprintf("%s/%d", shape, n), func(b *testing.B) {
				spans := large(shape, n)
				for b.Loop() {
					doctor.Examine(spans, doctor.Knowledge{}, time.Time{})
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/span")
			})
		}
	}
}

func TestLargeTracesInEveryShape(t *testing.T) {
	for shape, want := range map[string]doctor.Kind{"chain": "", "flat": "", "cycle": doctor.Cycle, "one id": doctor.Cycle} {
		findings := doctor.Examine(large(shape, 50_000), doctor.Knowledge{}, time.Time{})
		if want == "" {
			continue // odd, but nothing that forwarding does
		}
		found := false
		for _, f := range findings {
			found = found || f.Kind == want
			if len(f.Evidence) > 100 {
				t.Errorf("%s: %d pieces of evidence", shape, len(f.Evidence))
			}
		}
		if !found {
			t.Errorf("%s: %s not among %d findings", shape, want, len(findings))
		}
	}
}
