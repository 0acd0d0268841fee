package tracetest_test

import (
	"net/http"
	"strings"
	"testing"

	"example.com/bookinfo/tracetest"
)

func TestWholeTraceInEachFormat(t *testing.T) {
	for _, format := range []string{"b3", "b3+w3c", "w3c"} {
		t.Run(format, func(t *testing.T) {
			suite := tracetest.Start(t, tracetest.Options{Format: format, Reviews: "v3"})
			response := suite.Get("/productpage")
			if response.Status != http.StatusOK || strings.Count(response.Body, "glyphicon glyphicon-star") != 9 {
				t.Fatalf("page: %d without nine stars", response.Status)
			}
			trace := response.Trace()
			trace.Spans(9)
			trace.NoOrphans()
			trace.HasEdge("istio-ingressgateway", "productpage")
			trace.HasEdge("productpage", "details")
			trace.HasEdge("productpage", "reviews")
			trace.HasEdge("reviews", "ratings")
			trace.NoEdge("productpage", "ratings")
		})
	}
}

func TestReviewsV1CallsNobody(t *testing.T) {
	suite := tracetest.Start(t, tracetest.Options{Reviews: "v1"})
	trace := suite.Get("/productpage").Trace()
	trace.Spans(7)
	trace.NoEdge("reviews", "ratings")
}

func TestNothingForwarded(t *testing.T) {
	suite := tracetest.Start(t, tracetest.Options{Forward: "none", Reviews: "v3"})
	trace := suite.Get("/productpage").Trace()
	trace.Spans(3)
	trace.HasEdge("istio-ingressgateway", "productpage")
	trace.NoEdge("productpage", "reviews")
}

func TestBreakAndMend(t *testing.T) {
	suite := tracetest.Start(t, tracetest.Options{Reviews: "v3", Break: map[string][]string{"reviews": {"drop=w3c"}}})
	broken := suite.Get("/productpage").Trace()
	broken.Spans(7)
	broken.NoEdge("reviews", "ratings")
	suite.Mend()
	suite.Get("/productpage").Trace().HasEdge("reviews", "ratings")
}

func TestAClientsContextIsContinued(t *testing.T) {
	const id = "463ac35c9f6413ad48485a3953bb6124"
	suite := tracetest.Start(t, tracetest.Options{Reviews: "v2"})
	response := suite.Get("/productpage", "traceparent", "00-"+id+"-a2fb4a1d1a96d312-01")
	if response.TraceID() != id {
		t.Fatalf("trace %s, want the client's %s", response.TraceID(), id)
	}
	suite.Trace(id).Spans(9)
}
