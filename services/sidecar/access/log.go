package access

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of the log's buffer.
const (
	flushBytes = 64 << 10 // as Envoy's
	maxBytes   = 1 << 20
)

// Log writes entries in the background, every second as Istio's proxies do, or sooner when there is much to write. A
// writer that stands still costs lines, never the time of a request.
type Log struct {
	out    io.Writer
	encode func(*Entry, []byte) []byte

	mu      sync.Mutex
	buffer  []byte
	closed  bool
	dropped atomic.Uint64

	wake chan struct{}
	done chan struct{}
}

// New returns a log in the format "text" or "json". Close ends it.
func New(out io.Writer, format string) (*Log, error) {
	l := &Log{out: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	switch format {
	case "text":
		l.encode = (*Entry).appendText
	case "json":
		l.encode = (*Entry).appendJSON
	default:
		return nil, fmt.Errorf("access log format %q: want text or json", format)
	}
	go l.work()
	return l, nil
}

// Write adds an entry.
func (l *Log) Write(e *Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.buffer) > maxBytes {
		l.dropped.Add(1)
		return
	}
	l.buffer = l.encode(e, l.buffer)
	if len(l.buffer) > flushBytes {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Dropped returns the number of entries that were lost because the writer was slow or the log closed.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Close writes what is left. It returns an error when ctx is done before.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.wake)
	}
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the access log may lack its end: %w", ctx.Err())
	}
}

func (l *Log) work() {
	defer close(l.done)
	timer := time.NewTicker(time.Second)
	defer timer.Stop()
	var spare []byte
	for open := true; open; {
		select {
		case <-timer.C:
		case _, open = <-l.wake:
		}
		l.mu.Lock()
		lines := l.buffer
		l.buffer = spare[:0]
		l.mu.Unlock()
		if len(lines) > 0 {
			// There is nobody to tell that the log cannot be written.
			_, _ = l.out.Write(lines)
		}
		spare = lines
	}
}
