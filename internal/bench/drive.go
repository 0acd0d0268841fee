package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// turn is what one turn of a case cost.
type turn struct {
	requests int
	cpu      time.Duration // of all processes together
	p50, p99 time.Duration
}

// drive sends requests over a fixed number of connections, each the next as soon as the last is answered, with the
// headers that a sidecar adds.
func drive(ctx context.Context, l *load, requests, connections int) (turn, error) {
	before, err := spent(l.processes)
	if err != nil {
		return turn{}, err
	}
	client := &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true},
	}
	defer client.CloseIdleConnections()

	took := make([]time.Duration, requests)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < requests && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := ask(ctx, client, l.front.url(l.path)); err != nil {
					failed.Store(&err)
				}
				took[i] = time.Since(start)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return turn{}, fmt.Errorf("%s: %w", l.name, *err)
	}
	after, err := spent(l.processes)
	if err != nil {
		return turn{}, err
	}
	slices.Sort(took)
	return turn{requests, after - before, took[requests/2], took[requests*99/100]}, nil
}

func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Request-Id", "4c7b1c7e-52f5-9d06-8d7c-5f5f1f7a6c11")
	req.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", url, resp.StatusCode)
	}
	return nil
}

func spent(processes []*process) (time.Duration, error) {
	var sum time.Duration
	for _, p := range processes {
		cpu, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
}
