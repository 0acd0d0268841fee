package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bookinfo/internal/vectors"
)

// TestReporterRecordings replays those runs of reporter.json that do not wait for the timer, which package report does
// with a false clock: five requests, and what each answer of the collector does to the counters of the admin port.
func TestReporterRecordings(t *testing.T) {
	var file struct {
		Runs []struct {
			ID, Format, Case string
			Envoy            []string
			Sent             []struct{ Requests int }
			Posts            []struct{ Spans int }
			Counters         map[string]int
		}
	}
	vectors.Load(t, "reporter.json", &file)
	replayed := 0
	for _, r := range file.Runs {
		status, refused := strings.CutPrefix(r.Case, "collector-")
		if r.Format != "zipkin" || r.Case != "five" && !refused {
			continue
		}
		replayed++
		for _, profile := range r.Envoy {
			t.Run(r.ID+"/"+profile, func(t *testing.T) {
				t.Parallel()
				code, _ := strconv.Atoi(status)
				if !refused {
					code = http.StatusAccepted
				}
				var posts atomic.Int32
				collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					posts.Add(1)
					w.WriteHeader(code)
				}))
				defer collector.Close()
				if status == "down" {
					collector.Close()
				}
				app := newRecorder(t)
				ready := running(t, "--service", "server", "--format", "b3", "--profile", profile, "--zipkin", collector.URL,
					"--outbound", "127.0.0.1:0", "--endpoint", "server="+app.addr, "--admin", "127.0.0.1:0", "--flush-interval", "1h")
				for range r.Sent[0].Requests {
					if status, _ := get(t, "http://"+ready["outbound"].(string)+"/", recordedHost); status != 200 {
						t.Fatalf("status %d", status)
					}
				}
				wrong := "not asked"
				for deadline := time.Now().Add(10 * time.Second); wrong != "" && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
					_, stats := get(t, "http://"+ready["admin"].(string)+"/stats", "admin")
					wrong = ""
					for name, want := range r.Counters {
						if name != "tracing.zipkin.timer_flushed" && !strings.Contains(stats, fmt.Sprintf("%s: %d\n", name, want)) {
							wrong = fmt.Sprintf("want %s: %d in\n%s", name, want, stats)
						}
					}
				}
				if wrong != "" {
					t.Error(wrong)
				}
				if got := int(posts.Load()); got != len(r.Posts) {
					t.Errorf("%d posts, want %d", got, len(r.Posts))
				}
			})
		}
	}
	if replayed < 9 {
		t.Errorf("%d runs were replayed", replayed)
	}
}
