package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	soakMemory = 256 << 20
	soakQuery  = 50 * time.Millisecond
	kills      = 20
	// killSync is the console's --sync-interval: what was acknowledged longer ago must survive a kill.
	killSync = 100 * time.Millisecond
)

// soak holds a console under full ingest at its memory limit, kills it, and fills its disk.
func (b *bench) soak(ctx context.Context, length time.Duration) error {
	fmt.Printf("%s, %d processors; senders and queries run on the same ones\n", describeMachine(), runtime.NumCPU())
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"full ingest", func(ctx context.Context) error { return b.soakIngest(ctx, length) }},
		{"kill -9", b.soakKill},
		{"disk full", b.soakDisk},
	} {
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// soakIngest posts as fast as the console takes it while queries are asked. The senders are a process of their own
// that runs on one processor at most: eight of them on the console's processors would measure the kernel's scheduler.
func (b *bench) soakIngest(ctx context.Context, length time.Duration) error {
	b.memory = fmt.Sprint(soakMemory)
	c, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer c.stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	run, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	cpu0, err := c.cpu()
	if err != nil {
		return err
	}
	send := exec.CommandContext(ctx, self, "-send", c.http+"/v1/traces", "-soak", length.String())
	send.Env = append(os.Environ(), "GOMAXPROCS=1")
	var said bytes.Buffer
	send.Stdout, send.Stderr = &said, os.Stderr
	if err := send.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- send.Wait(); cancel() }()
	queries := []string{"/api/bookinfo/v1/traces", "/api/bookinfo/v1/topology", "/api/bookinfo/v1/applications",
		"/api/bookinfo/v1/traces?application=ratings.default&status=error", "/api/bookinfo/v1/traces?minDuration=20ms"}
	took := map[string][]time.Duration{}
	var peak int64
	for tick := time.NewTicker(200 * time.Millisecond); run.Err() == nil; <-tick.C {
		for _, q := range queries {
			began := time.Now()
			if _, err := c.get(run, q); err != nil {
				if run.Err() != nil {
					break
				}
				return err
			}
			took[q] = append(took[q], time.Since(began))
		}
		peak = max(peak, c.rss())
	}
	cpu1, err := c.cpu()
	if err != nil {
		return err
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("senders: %w", err)
	}
	sent, err := strconv.Atoi(strings.TrimSpace(said.String()))
	if err != nil {
		return fmt.Errorf("senders: %w", err)
	}
	stored, err := c.metric(ctx, "bookinfo_console_spans_evicted_total")
	if err != nil {
		return err
	}
	allowed := int64(soakMemory)*5/4 + 40<<20
	fmt.Printf("full ingest for %v: %d spans, %d a second, %d evicted; %.2f processors; RSS at most %d MB, allowed %d MB: %s\n", length, sent,
		int(float64(sent)/length.Seconds()), int64(stored), (cpu1-cpu0).Seconds()/length.Seconds(), peak>>20, allowed>>20, verdict(peak <= allowed))
	for _, q := range queries {
		slices.Sort(took[q])
		n := len(took[q])
		if n == 0 {
			continue
		}
		longest := took[q][n-1]
		fmt.Printf("  %s: %d times, median %v, p99 %v, longest %v; none over %v: %s\n", q, n, round(took[q][n/2]), round(took[q][n*99/100]), round(longest), soakQuery, verdict(longest <= soakQuery))
	}
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func verdict(ok bool) string {
	if ok {
		return "kept"
	}
	return "MISSED"
}

// sendFor posts from all senders at once until the time is over, and prints how many spans were taken.
func sendFor(ctx context.Context, url string, length time.Duration, out io.Writer) error {
	run, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var sent atomic.Int64
	group, run := errgroup.WithContext(run)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	c := &console{client: client}
	for i := range senders {
		st, err := newStencil(newTraffic(rand.Uint64()+uint64(i), false, time.Now(), time.Millisecond), 1000)
		if err != nil {
			return err
		}
		group.Go(func() error {
			for run.Err() == nil {
				err := c.post(run, url, "application/x-protobuf", st.next(time.Now()), http.StatusOK)
				if err != nil && run.Err() == nil {
					return err
				}
				if err == nil {
					sent.Add(int64(st.spans))
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, sent.Load())
	return err
}

// soakKill kills the console under ingest again and again on one data folder, and then looks for each trace that was
// acknowledged longer before a kill than the sync interval.
func (b *bench) soakKill(ctx context.Context) error {
	data := filepath.Join(b.dir, "killed")
	type ack struct {
		trace string
		at    time.Time
	}
	var must []string
	late := 0
	t := newTraffic(rand.Uint64(), false, time.Now().Add(-time.Hour), time.Millisecond)
	for range kills {
		c, err := b.startIn(ctx, data, "--sync-interval", killSync.String())
		if err != nil {
			return err
		}
		var killed time.Time
		done := make(chan struct{})
		time.AfterFunc(300*time.Millisecond+rand.N(400*time.Millisecond), func() {
			killed = time.Now()
			_ = c.cmd.Process.Kill()
			close(done)
		})
		var acks []ack
		for {
			spans := t.spans(40)
			if err := c.zipkin(ctx, spans); err != nil {
				break
			}
			acks = append(acks, ack{hex.EncodeToString(t.last[:]), time.Now()})
		}
		<-done
		c.gone()
		for _, a := range acks {
			// Writing a block to the disk takes its time too.
			if killed.Sub(a.at) > 2*killSync {
				must = append(must, a.trace)
			} else {
				late++
			}
		}
	}
	c, err := b.startIn(ctx, data)
	if err != nil {
		return err
	}
	defer c.stop()
	missing := 0
	for _, trace := range must {
		if _, err := c.get(ctx, "/api/v2/trace/"+trace); err != nil {
			missing++
		}
	}
	fmt.Printf("kill -9 under ingest, %d times: of %d posts acknowledged more than %v before a kill %d are missing (%d came later): %s\n",
		kills, len(must), 2*killSync, missing, late, verdict(missing == 0))
	return nil
}

// soakDisk gives the console a disk of 16 MiB and posts until it is full, and on.
func (b *bench) soakDisk(ctx context.Context) error {
	data := filepath.Join(b.dir, "small")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", data).CombinedOutput(); err != nil {
		fmt.Printf("disk full: left out, no small file system can be mounted: %s\n", bytes.TrimSpace(out))
		return nil
	}
	defer func() { _ = exec.Command("umount", data).Run() }()
	var log lockedBuffer
	b.stderr = &log
	defer func() { b.stderr = nil }()
	c, err := b.startIn(ctx, data)
	if err != nil {
		return err
	}
	defer c.stop()
	t := newTraffic(rand.Uint64(), true, time.Now().Add(-time.Hour), time.Millisecond)
	full, posts := false, 0
	for ; posts < 2000 && !full; posts++ {
		if err := c.zipkin(ctx, t.spans(1000)); err != nil {
			return fmt.Errorf("post %d: %w", posts, err)
		}
		full = strings.Contains(log.String(), "cannot be written")
	}
	if !full {
		return errors.New("the disk did not fill up")
	}
	for range 50 {
		if err := c.zipkin(ctx, t.spans(1000)); err != nil {
			return fmt.Errorf("after the disk was full: %w", err)
		}
	}
	metrics, err := c.get(ctx, "/metrics")
	if err != nil {
		return err
	}
	_, missing := c.get(ctx, "/api/v2/trace/"+hex.EncodeToString(t.last[:]))
	fmt.Printf("disk of 16 MiB: full after %d posts of 1,000 spans; 50 more were taken and found: %s; log and metric say so: %s\n",
		posts, verdict(missing == nil), verdict(strings.Contains(string(metrics), "bookinfo_console_journal_broken 1")))
	return nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
