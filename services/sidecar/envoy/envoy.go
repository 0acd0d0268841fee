// Package envoy runs a real Envoy in the place of a sidecar: one process beside a workload, configured from the same
// tables, which follows a change of them by Envoy's own discovery from files.
package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	admin "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"example.com/bookinfo/services/sidecar/bootstrap"
	"example.com/bookinfo/services/sidecar/compile"
)

// Config is what an Envoy is started with.
type Config struct {
	Binary string // path of Envoy's executable
	// Bootstrap says what it is to do. Port 0 of a listener picks a free one; its admin address is this package's.
	Bootstrap bootstrap.Config
	// FlushInterval is how long a span waits for others; Envoy's 5 s if 0.
	FlushInterval time.Duration
	// Log gets what Envoy says of its errors.
	Log *slog.Logger
}

// Proxy is a running Envoy.
type Proxy struct {
	cfg     Config
	folder  string
	admin   string // host:port
	client  *http.Client
	process *exec.Cmd
	said    *lines
	addrs   map[string]string

	setting  sync.Mutex // one change at a time
	version  int
	clusters clusterSet

	ended chan struct{} // closed when the process has ended
	err   error         // why, to be read after ended
}

// Limits on waiting for Envoy.
const (
	startTimeout  = 30 * time.Second
	followTimeout = 10 * time.Second
	pollInterval  = 3 * time.Millisecond
	stopGrace     = 300 * time.Millisecond
)

// Version asks the executable for its version, such as 1.36.4.
func Version(ctx context.Context, binary string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", binary, err)
	}
	// "PATH  version: COMMIT/1.36.4/Clean/RELEASE/BoringSSL"
	_, text, _ := strings.Cut(string(out), "version: ")
	if parts := strings.Split(text, "/"); len(parts) == 5 {
		return parts[1], nil
	}
	return "", fmt.Errorf("%s --version: does not say a version as Envoy does", binary)
}

// Start starts an Envoy and returns once its listeners take connections. It ends with Close, not with ctx.
func Start(ctx context.Context, cfg Config) (*Proxy, error) {
	folder, err := os.MkdirTemp("", "bookinfo-envoy-")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		cfg: cfg, folder: folder, said: &lines{log: cfg.Log}, ended: make(chan struct{}),
		client: &http.Client{Timeout: followTimeout, Transport: &http.Transport{}},
	}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Proxy) start(ctx context.Context) error {
	written, found, err := p.compile(p.cfg.Bootstrap.Tables)
	if err != nil {
		close(p.ended)
		return err
	}
	data, err := bootstrap.JSON(written)
	if err == nil {
		err = p.write("bootstrap.json", data)
	}
	if err == nil {
		err = p.writeAll(found)
	}
	if err != nil {
		close(p.ended)
		return err
	}
	adminFile := filepath.Join(p.folder, "admin")
	p.process = exec.Command(p.cfg.Binary, "-c", filepath.Join(p.folder, "bootstrap.json"), "--admin-address-path", adminFile, //nolint:gosec,noctx // outlives the call that starts it; the user's own Envoy
		"--use-dynamic-base-id", "--concurrency", "1", "-l", "error", "--drain-time-s", "10", "--drain-strategy", "immediate")
	p.process.Stderr = p.said
	childOf(p.process)
	if err := p.process.Start(); err != nil {
		close(p.ended)
		return err
	}
	go func() {
		p.err = p.process.Wait()
		close(p.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = p.until(ctx, func() (bool, error) {
		address, err := os.ReadFile(adminFile)
		if err != nil || len(address) == 0 {
			return false, nil //nolint:nilerr // not yet written
		}
		p.admin = strings.TrimSpace(string(address))
		if _, err := p.ask(ctx, "/ready"); err != nil {
			return false, nil //nolint:nilerr // 503 while it initialises
		}
		p.addrs, err = p.listening(ctx)
		return len(p.addrs) == len(found.Routes), err
	})
	if err != nil {
		return fmt.Errorf("envoy: does not listen: %w", err)
	}
	return nil
}

// compile writes the configuration for the tables, with the files that it refers to.
func (p *Proxy) compile(tables compile.Tables) (*admin.Bootstrap, *bootstrap.Discovered, error) {
	config := p.cfg.Bootstrap
	config.Tables, config.Admin = tables, "127.0.0.1:0"
	written, err := bootstrap.New(config)
	if err != nil {
		return nil, nil, err
	}
	if err := flushEvery(written, p.cfg.FlushInterval); err != nil {
		return nil, nil, err
	}
	found, err := bootstrap.Discover(written, p.folder)
	return written, found, err
}

// flushEvery sets the runtime keys that Envoy's tracers read.
func flushEvery(b *admin.Bootstrap, interval time.Duration) error {
	if interval == 0 {
		return nil
	}
	layer, err := structpb.NewStruct(map[string]any{
		"tracing.zipkin.flush_interval_ms":        float64(interval.Milliseconds()),
		"tracing.opentelemetry.flush_interval_ms": float64(interval.Milliseconds()),
	})
	b.LayeredRuntime = &admin.LayeredRuntime{Layers: []*admin.RuntimeLayer{{
		Name: "flush", LayerSpecifier: &admin.RuntimeLayer_StaticLayer{StaticLayer: layer},
	}}}
	return err
}

// Addr returns where the listener listens: inbound, outbound or gateway.
func (p *Proxy) Addr(listener string) string { return p.addrs[listener] }

// Ended is closed when the process has ended by itself or by Close.
func (p *Proxy) Ended() <-chan struct{} { return p.ended }

// Err says why the process ended; it may be called once Ended is closed.
func (p *Proxy) Err() error {
	if text := p.said.last(); text != "" {
		return fmt.Errorf("envoy ended: %s", text)
	}
	return fmt.Errorf("envoy ended: %w", p.err)
}

// until polls until done says so.
func (p *Proxy) until(ctx context.Context, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(pollInterval):
		case <-p.ended:
			return p.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the process. What is in flight is cut.
func (p *Proxy) Close() error {
	if p.process != nil && p.process.Process != nil {
		_ = p.process.Process.Signal(os.Interrupt)
		select {
		case <-p.ended:
		case <-time.After(stopGrace):
			_ = p.process.Process.Kill()
			<-p.ended
		}
	}
	p.client.CloseIdleConnections()
	return os.RemoveAll(p.folder)
}

// lines passes what Envoy says to the log, and keeps the last line.
type lines struct {
	log *slog.Logger

	mu   sync.Mutex
	part []byte
	line string
}

// maxLine bounds what is kept of a line without an end.
const maxLine = 16 << 10

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, b...)
	for {
		line, rest, found := bytes.Cut(l.part, []byte("\n"))
		if !found {
			break
		}
		l.line, l.part = string(line), rest
		l.log.Error("envoy", "said", l.line)
	}
	if len(l.part) > maxLine {
		l.part = nil
	}
	return len(b), nil
}

func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}

// ask gets a page of Envoy's admin server.
func (p *Proxy) ask(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New("envoy: admin page " + path + ": " + strconv.Itoa(resp.StatusCode))
	}
	return io.ReadAll(io.LimitReader(resp.Body, 4<<20))
}
