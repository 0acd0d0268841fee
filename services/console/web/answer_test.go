package web_test

import (
	"io"
	"net/http"
	"strconv"
	"testing"

	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/ingest"
)

// BenchmarkTraceAnswer measures what the server alone takes for the page of a trace and for the tree that its script
// asks for, without a browser.
func BenchmarkTraceAnswer(b *testing.B) {
	for _, n := range []int{1000, 10_000, 50_000} {
		s := open(b, func(c *console.Config) { c.Limits = ingest.DefaultLimits() })
		spans := large(b, n)
		s.send(spans)
		trace := s.URL + "/traces/" + spans[0].TraceID.String()
		for name, url := range map[string]string{"page": trace + "?fold=0", "tree": trace + "/nodes.json?fold=0"} {
			b.Run(name+"/"+strconv.Itoa(n), func(b *testing.B) {
				size := int64(0)
				for b.Loop() {
					answer, err := http.Get(url)
					if err != nil {
						b.Fatal(err)
					}
					size, err = io.Copy(io.Discard, answer.Body)
					_ = answer.Body.Close()
					if err != nil || answer.StatusCode != http.StatusOK {
						b.Fatal(answer.Status, err)
					}
				}
				b.ReportMetric(float64(size)/1024, "KiB")
			})
		}
	}
}
