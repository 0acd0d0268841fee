// Command soak runs the demo under load for a long time while one of Istio's routing files after the other is applied
// to its mesh. It ends with an error if a request got anything but a whole page, or if goroutines or memory grew.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"example.com/bookinfo/cmd/bookinfo/demo"
	"example.com/bookinfo/deploy/istio"
	"example.com/bookinfo/internal/load"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/meshapi"
	"example.com/bookinfo/services/sidecar/trace"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// changes are the files applied in turn; each moves requests to other versions of reviews.
func changes() []string {
	return []string{
		"virtual-service-reviews-v3.yaml", "virtual-service-reviews-90-10.yaml", "virtual-service-reviews-jason-v2-v3.yaml",
		"virtual-service-reviews-50-v3.yaml", "virtual-service-reviews-test-v2.yaml", "virtual-service-reviews-v2-v3.yaml",
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("soak", flag.ContinueOnError)
	duration := fs.Duration("duration", 10*time.Minute, "how long")
	rate := fs.Float64("rate", 50, "pages a second")
	every := fs.Duration("apply", 100*time.Millisecond, "time between two changes")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *rate <= 0 || *duration <= 0 || *every <= 0 {
		return errors.New("want -rate, -duration and -apply above 0")
	}
	// Not the demo's console: its memory grows with the spans that it keeps.
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer collector.Close()
	running, err := demo.Start(ctx, demo.Config{
		Sidecars: true, Format: trace.W3C, Profile: trace.Envoy136, Sampling: 100,
		Collector: demo.Collector{Protocol: "zipkin", URL: collector.URL},
		Lookup:    func(string) (string, bool) { return "", false },
		Log:       slog.New(slog.DiscardHandler), ServiceLog: slog.New(slog.DiscardHandler), Progress: io.Discard,
	})
	if err != nil {
		return err
	}
	defer running.Close()
	info := running.Info()
	if err := apply(ctx, info.Control, "destination-rule-all.yaml"); err != nil {
		return err
	}

	pages := func(d time.Duration) (*load.Result, error) {
		return load.Run(ctx, load.Config{URL: info.Gateway, Rate: *rate, Duration: d, Personas: []string{load.Anonymous, "jason"}})
	}
	if _, err := pages(5 * time.Second); err != nil { // warms up
		return err
	}
	before := look()
	changing, end := context.WithCancel(ctx)
	defer end()
	type changed struct {
		applied int
		err     error
	}
	applying := make(chan changed, 1)
	go func() {
		var c changed
		tick := time.NewTicker(*every)
		defer tick.Stop()
		for files := changes(); ; c.applied++ {
			select {
			case <-changing.Done():
				applying <- c
				return
			case <-tick.C:
			}
			// Not changing: a change that has begun ends.
			if err := apply(ctx, info.Control, files[c.applied%len(files)]); err != nil {
				c.err = err
				applying <- c
				return
			}
		}
	}()
	result, err := pages(*duration)
	end()
	c := <-applying
	if err := errors.Join(err, c.err); err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // connections under way end
	after := look()
	fmt.Fprintf(stdout, "%d changes in %v\n", c.applied, *duration)
	if err := result.Write(stdout); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "goroutines %d, then %d; heap %.1f MB, then %.1f MB\n", before.goroutines, after.goroutines, before.heap, after.heap)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case result.Failed() || result.Sent == 0:
		return errors.New("requests were lost")
	case result.Versions[""] > 0:
		return fmt.Errorf("%d pages came without reviews", result.Versions[""])
	case c.applied == 0:
		return errors.New("nothing was applied")
	case after.goroutines > before.goroutines+20:
		return errors.New("goroutines grew")
	case after.heap > before.heap+8:
		return errors.New("memory grew")
	}
	return nil
}

// apply has the demo's mesh take one of Istio's files, which must change it.
func apply(ctx context.Context, control, name string) error {
	data, err := istio.Files().ReadFile(name)
	if err != nil {
		return err
	}
	body, err := json.Marshal(meshapi.ApplyRequest{Files: []mesh.File{{Name: name, Data: data}}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, control+"/api/mesh/apply", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || strings.Contains(string(answer), `"unchanged"`)) {
		err = fmt.Errorf("apply %s: %s %s", name, resp.Status, answer)
	}
	return err
}

type state struct {
	goroutines int
	heap       float64 // MB
}

func look() state {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return state{runtime.NumGoroutine(), float64(m.HeapInuse) / 1e6}
}
