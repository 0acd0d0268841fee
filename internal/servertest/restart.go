package servertest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// drainDelay is what a replica under load gets to be taken out of the balancer: enough for a machine that is busy with
// other tests too.
const drainDelay = 1500 * time.Millisecond

// HoldLoad runs two replicas of a service, asks them for path without a pause, over kept and over new connections, and
// replaces each of them once by a new one. A request that fails, or is answered by anything but 200, is an error of the
// test. Replicas are chosen among as Kubernetes does it: those whose /readyz says so.
func HoldLoad(t *testing.T, run Entry, env map[string]string, path string) {
	t.Helper()
	environment := maps.Clone(env)
	if environment == nil {
		environment = map[string]string{}
	}
	environment["DRAIN_DELAY"] = drainDelay.String()
	environment["LOG_LEVEL"] = "info" // the address is in an info line

	b := &balancer{}
	for range 2 {
		b.add(Start(t, run, environment))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var watching, loading sync.WaitGroup
	watching.Go(func() { b.watch(ctx) })

	var done atomic.Int64
	var halt atomic.Bool
	failures := make(chan error, 100)
	for n := range 4 {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: n%2 == 0}}
		loading.Go(func() {
			defer client.CloseIdleConnections()
			for !halt.Load() {
				if err := once(ctx, client, b.next()+path); err != nil {
					select {
					case failures <- err:
					default:
					}
				}
				done.Add(1)
			}
		})
	}

	// Between the steps some requests must have been answered, so that each step meets load.
	progress := func() {
		for from := done.Load(); done.Load() < from+100; {
			time.Sleep(time.Millisecond)
		}
	}
	progress()
	for _, old := range b.all() {
		b.add(Start(t, run, environment))
		progress()
		if err := old.Stop(); err != nil {
			t.Errorf("replica stopped with an error: %v", err)
		}
		progress()
	}
	halt.Store(true)
	loading.Wait()
	stop()
	watching.Wait()

	close(failures)
	for err := range failures {
		t.Errorf("failed request: %v", err)
	}
	t.Logf("%d requests while both replicas were replaced", done.Load())
}

func once(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// balancer spreads requests over the replicas that are ready.
type balancer struct {
	mu       sync.Mutex
	replicas []*Instance
	ready    []string
	turn     int
}

func (b *balancer) add(i *Instance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replicas = append(b.replicas, i)
	b.ready = append(b.ready, i.URL)
}

func (b *balancer) all() []*Instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*Instance(nil), b.replicas...)
}

func (b *balancer) next() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	return b.ready[b.turn%len(b.ready)]
}

// watch asks every replica for /readyz again and again, until ctx is done.
func (b *balancer) watch(ctx context.Context) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for ctx.Err() == nil {
		replicas := b.all()
		var ready []string
		for _, r := range replicas {
			if once(ctx, client, r.URL+"/readyz") == nil {
				ready = append(ready, r.URL)
			}
		}
		b.mu.Lock()
		if len(ready) > 0 && len(replicas) == len(b.replicas) {
			b.ready = ready
		}
		b.mu.Unlock()
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
