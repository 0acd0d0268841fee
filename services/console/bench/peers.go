package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// peer is an engine that does the same job, as it is installed on this machine.
type peer struct {
	name string
	// start runs it on free ports.
	start func(ctx context.Context, b *bench) (*console, error)
	send  func(*console, context.Context, []one) error
	// queries are paths of its own API.
	queries func(now time.Time) [][2]string
	trace   string // path before a trace id
}

// peers compares the console with the others that are installed, in one run: the same spans, 1,000 a post, until the
// last trace is found by a query.
func (b *bench) peers(ctx context.Context, spans int) error {
	zipkinAPI := func(now time.Time) [][2]string {
		window := fmt.Sprintf("&endTs=%d&lookback=%d", now.UnixMilli(), (2 * time.Hour).Milliseconds())
		return [][2]string{
			{"100 traces", "/api/v2/traces?limit=100" + window},
			{"dependencies", "/api/v2/dependencies?x=1" + window},
			{"a tag that matches nothing", "/api/v2/traces?limit=100&annotationQuery=" + url.QueryEscape("http.url=http://nowhere/") + window},
		}
	}
	jaegerAPI := func(now time.Time) [][2]string {
		search := "/api/traces?limit=100&service=productpage.default&start=" + fmt.Sprint(now.Add(-2*time.Hour).UnixMicro()) + "&end=" + fmt.Sprint(now.UnixMicro())
		return [][2]string{
			{"100 traces", search},
			{"dependencies", fmt.Sprintf("/api/dependencies?endTs=%d&lookback=%d", now.UnixMilli(), (2 * time.Hour).Milliseconds())},
			{"a tag that matches nothing", search + "&tags=" + url.QueryEscape(`{"http.url":"http://nowhere/"}`)},
		}
	}
	own := func(ctx context.Context, b *bench) (*console, error) { return b.start(ctx) }
	all := []peer{
		{"console, zipkin json", own, (*console).zipkin, zipkinAPI, "/api/v2/trace/"},
		{"console, otlp http", own, (*console).otlpHTTP, jaegerAPI, "/api/traces/"},
	}
	if start, err := findZipkin(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "Zipkin is left out:", err)
	} else {
		all = append(all, peer{"Zipkin, zipkin json", start, (*console).zipkin, zipkinAPI, "/api/v2/trace/"})
	}
	if start, err := findJaeger(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "Jaeger is left out:", err)
	} else {
		all = append(all, peer{"Jaeger, otlp http", start, (*console).otlpHTTP, jaegerAPI, "/api/traces/"})
	}
	b.row("engine", "spans/CPU s", "spans/s", "idle MB", "bytes/span (RSS)", "query", "median", "max")
	for _, p := range all {
		if err := b.measurePeer(ctx, p, spans); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func (b *bench) measurePeer(ctx context.Context, p peer, spans int) error {
	c, err := p.start(ctx, b)
	if err != nil {
		return err
	}
	defer c.stop()
	t := newTraffic(rand.Uint64(), false, time.Now().Add(-30*time.Minute), 20*time.Minute/time.Duration(spans/8+1))
	// A tenth beforehand, so that connections are open and a virtual machine has compiled what is hot.
	if err := c.sendAll(ctx, t, spans/10, p.send); err != nil {
		return err
	}
	if err := c.await(ctx, p.trace+hex.EncodeToString(t.last[:])); err != nil {
		return err
	}
	idle := c.rss()
	cpu0, err := c.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c.sendAll(ctx, t, spans, p.send); err != nil {
		return err
	}
	if err := c.await(ctx, p.trace+hex.EncodeToString(t.last[:])); err != nil {
		return err
	}
	wall := time.Since(began)
	cpu1, err := c.cpu()
	if err != nil {
		return err
	}
	head := []any{p.name, int(float64(spans) / (cpu1 - cpu0).Seconds()), int(float64(spans) / wall.Seconds()), c.idle >> 20, (c.rss() - idle) / int64(spans)}
	for _, q := range p.queries(time.Now()) {
		var took []time.Duration
		for range 15 {
			began := time.Now()
			if _, err := c.get(ctx, q[1]); err != nil {
				return err
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		b.row(append(head, q[0], took[len(took)/2].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond))...)
		head = []any{"", "", "", "", ""}
	}
	return nil
}

// sendAll sends whole traces, 1,000 spans a post, from all senders at once.
func (c *console) sendAll(ctx context.Context, t *traffic, spans int, send func(*console, context.Context, []one) error) error {
	for sent := 0; sent < spans; {
		batch := t.spans(1000 * senders)
		sent += len(batch)
		group, ctx := errgroup.WithContext(ctx)
		for len(batch) > 0 {
			post := batch[:min(1000, len(batch))]
			batch = batch[len(post):]
			group.Go(func() error {
				// Zipkin's server cuts connections that rest; net/http does not repeat a POST by itself.
				err := send(c, ctx, post)
				for try := 1; err != nil && try < 3 && ctx.Err() == nil; try++ {
					err = send(c, ctx, post)
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// await asks until the answer is there; others answer before they have stored.
func (c *console) await(ctx context.Context, path string) error {
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(5 * time.Millisecond) {
		if _, err := c.get(ctx, path); err == nil {
			return nil
		}
	}
	return errors.New("the last trace is not found within a minute")
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// launch runs an engine that is no console, and waits until it answers at ready.
func launch(ctx context.Context, cmd *exec.Cmd, base, otlpHTTP, ready string) (*console, error) {
	c := &console{cmd: cmd, base: base, http: otlpHTTP, client: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: senders}}}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	began := time.Now()
	for ; time.Since(began) < 5*time.Minute; time.Sleep(50 * time.Millisecond) {
		if _, err := c.get(ctx, ready); err == nil {
			c.ready = time.Since(began)
			c.idle = c.rss()
			return c, nil
		}
	}
	c.stop()
	return nil, errors.New("it does not start")
}

// findZipkin looks for Java and Zipkin's server in the local Maven repository.
func findZipkin() (func(context.Context, *bench) (*console, error), error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	jars, _ := filepath.Glob(filepath.Join(home, ".m2/repository/io/zipkin/zipkin-server/*/zipkin-server-*-exec.jar"))
	if len(jars) == 0 {
		return nil, errors.New("no server; mvn dependency:get -Dartifact=io.zipkin:zipkin-server:3.5.1:jar:exec -Dtransitive=false brings it")
	}
	return func(ctx context.Context, _ *bench) (*console, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, java, "-jar", jars[len(jars)-1])
		cmd.Env = append(os.Environ(), "QUERY_PORT="+port, "STORAGE_TYPE=mem", "MEM_MAX_SPANS=10000000")
		return launch(ctx, cmd, "http://127.0.0.1:"+port, "", "/health")
	}, nil
}

// findJaeger looks for Jaeger's all-in-one of the 1.x line.
func findJaeger() (func(context.Context, *bench) (*console, error), error) {
	binary, err := exec.LookPath("jaeger-all-in-one")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ *bench) (*console, error) {
		var ports [6]string
		for i := range ports {
			var err error
			if ports[i], err = freePort(); err != nil {
				return nil, err
			}
			ports[i] = "127.0.0.1:" + ports[i]
		}
		cmd := exec.CommandContext(ctx, binary, "--query.http-server.host-port="+ports[0], "--query.grpc-server.host-port="+ports[1],
			"--collector.otlp.http.host-port="+ports[2], "--collector.otlp.grpc.host-port="+ports[3],
			"--collector.grpc-server.host-port="+ports[4], "--admin.http.host-port="+ports[5], "--collector.http-server.host-port=127.0.0.1:0", "--log-level=error")
		cmd.Env = append(os.Environ(), "SPAN_STORAGE_TYPE=memory")
		return launch(ctx, cmd, "http://"+ports[0], "http://"+ports[2], "/api/services")
	}, nil
}

// describeMachine says on what a run was made.
func describeMachine() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t: "))
		}
	}
	return "unknown processor"
}
