package doctor_test

import (
	"testing"
	"time"

	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
)

// A call whose parent nobody reported is a span that was not exported; in another trace than the request that caused
// it, told by the x-request-id, it is a trace of the application's own.
func TestTraceOfTheApplicationsOwn(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tags := span.Tags{{Key: "component", Value: "proxy"}, {Key: "guid:x-request-id", Value: "6f2d8d5c-0a1b-9c3d-8e4f-5a6b7c8d9e0f"}}
	for trace, want := range map[uint64]doctor.Kind{1: doctor.HiddenSpans, 2: doctor.NewTrace} {
		spans := []span.Span{
			{TraceID: span.TraceID{Hi: 5, Lo: 1}, ID: 9, Kind: span.KindServer, Service: "istio-ingressgateway.istio-system", Start: start, Duration: 50 * time.Millisecond, Tags: tags},
			{TraceID: span.TraceID{Hi: 5, Lo: 1}, ID: 10, ParentID: 9, Kind: span.KindServer, Service: "reviews.default", Start: start.Add(time.Millisecond), Duration: 40 * time.Millisecond, Tags: tags},
			{TraceID: span.TraceID{Hi: 5, Lo: trace}, ID: 11, ParentID: 77, Kind: span.KindClient, Service: "reviews.default", Start: start.Add(2 * time.Millisecond), Duration: 10 * time.Millisecond, Tags: tags},
		}
		found := doctor.Examine(spans, doctor.Knowledge{}, time.Time{})
		if len(found) != 1 || found[0].Kind != want || found[0].Application != "reviews.default" || found[0].Evidence[0].SpanID != 11 {
			t.Errorf("call in trace %d: %+v, want %s", trace, found, want)
		}
	}
}
