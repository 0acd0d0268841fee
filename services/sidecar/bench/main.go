// Command bench measures what a proxy costs: no proxy, this project's sidecar with tracing at 100 %,
// httputil.ReverseProxy without tracing (with its defaults, and with 64 idle connections), and a real Envoy with the
// same tracing where one is installed. Each runs in a process of its own; the load goes to them in turn, in one run,
// so that a slow minute of the machine hits all alike. It prints a table in Markdown.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type settings struct {
	connections, requests, rounds int
	envoy                         string
	role, app, collector          string
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	var s settings
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.IntVar(&s.connections, "connections", 16, "connections at once")
	fs.IntVar(&s.requests, "requests", 10000, "requests a round")
	fs.IntVar(&s.rounds, "rounds", 5, "rounds; the first is not counted")
	fs.StringVar(&s.envoy, "envoy", "envoy", "Envoy's executable; left out if it is not there")
	fs.StringVar(&s.role, "role", "", "(for the program's own use) the proxy to be")
	fs.StringVar(&s.app, "app", "", "(for the program's own use) the application's address")
	fs.StringVar(&s.collector, "collector", "", "(for the program's own use) the collector's address")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if s.role != "" {
		return s.proxy(ctx, stdout)
	}
	return s.measure(ctx, stdout)
}

// candidate is one way from the client to the application.
type candidate struct {
	name string
	addr string
	proc *os.Process // nil without a proxy
	stop func()

	cpu       time.Duration
	rounds    int
	latencies []time.Duration
	memory    int64
}

func (s *settings) measure(ctx context.Context, stdout io.Writer) error {
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer app.Close()
	go serveApp(app)
	collector, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var spans atomic.Int64
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		spans.Add(int64(bytes.Count(body, []byte(`"traceId"`))))
		w.WriteHeader(http.StatusAccepted)
	})}
	defer srv.Close()
	go srv.Serve(collector)
	s.app, s.collector = app.Addr().String(), collector.Addr().String()

	candidates := []*candidate{{name: "no proxy", addr: s.app, stop: func() {}}}
	for _, role := range []string{"sidecar", "reverseproxy", "reverseproxy-64", "envoy"} {
		c, err := s.start(ctx, role)
		if err != nil {
			fmt.Fprintf(stdout, "(%s is left out: %v)\n", role, err)
			continue
		}
		defer c.stop()
		candidates = append(candidates, c)
	}
	for round := range s.rounds {
		for _, c := range candidates {
			before := cpuOf(c.proc)
			latencies, err := s.load(ctx, c.addr)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round == 0 { // the first one warms up
				continue
			}
			c.cpu += cpuOf(c.proc) - before
			c.rounds++
			c.latencies = append(c.latencies, latencies...)
			c.memory = max(c.memory, memoryOf(c.proc))
		}
	}
	time.Sleep(time.Second) // the last reports are under way
	s.print(stdout, candidates, spans.Load())
	return nil
}

func (s *settings) print(w io.Writer, candidates []*candidate, spans int64) {
	fmt.Fprintf(w, "%d connections, %d rounds of %d requests each, interleaved; %d spans collected\n\n", s.connections, s.rounds-1, s.requests, spans)
	fmt.Fprintln(w, "| | CPU-s per 1,000 requests | p50 | p99 | memory (RSS) |\n|---|---|---|---|---|")
	for _, c := range candidates {
		slices.Sort(c.latencies)
		n := len(c.latencies)
		fmt.Fprintf(w, "| %s | %.4f | %v | %v | %.1f MB |\n", c.name, c.cpu.Seconds()*1000/float64(c.rounds*s.requests),
			c.latencies[n/2].Round(time.Microsecond), c.latencies[n*99/100].Round(time.Microsecond), float64(c.memory)/1e6)
	}
}

// start runs a proxy in a process of its own and waits for it to listen.
func (s *settings) start(ctx context.Context, role string) (*candidate, error) {
	var cmd *exec.Cmd
	addr := ""
	switch role {
	case "envoy":
		path, err := exec.LookPath(s.envoy)
		if err != nil {
			return nil, err
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		addr = ln.Addr().String()
		ln.Close()
		cmd = exec.CommandContext(ctx, path, "--concurrency", "2", "--log-level", "error", "--base-id", fmt.Sprint(os.Getpid()%30000), "--config-yaml", envoyConfig(addr, s.app, s.collector))
	default:
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd = exec.CommandContext(ctx, self, "-role", role, "-app", s.app, "-collector", s.collector)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &candidate{name: role, proc: cmd.Process, addr: addr, stop: func() { cmd.Process.Kill(); cmd.Wait() }}
	if addr == "" {
		line := make([]byte, 64)
		n, err := out.Read(line)
		if err != nil {
			c.stop()
			return nil, err
		}
		c.addr = strings.TrimSpace(string(line[:n]))
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		nc, err := net.Dial("tcp", c.addr)
		if err == nil {
			nc.Close()
			return c, nil
		}
		if time.Now().After(deadline) {
			c.stop()
			return nil, err
		}
	}
}

// load sends the requests of one round and returns how long each took.
func (s *settings) load(ctx context.Context, addr string) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var clients sync.WaitGroup
	for range s.connections {
		clients.Go(func() {
			took, err := client(ctx, addr, s.requests/s.connections)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil {
				failed = err
			}
		})
	}
	clients.Wait()
	return all, failed
}

const request = "GET /reviews/0 HTTP/1.1\r\nhost: reviews:9080\r\nuser-agent: bench\r\naccept: */*\r\n\r\n"

func client(ctx context.Context, addr string, n int) ([]time.Duration, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(2 * time.Minute))
	r := wire.NewReader(nc)
	took := make([]time.Duration, 0, n)
	var resp wire.Response
	for range n {
		if ctx.Err() != nil {
			return took, ctx.Err()
		}
		start := time.Now()
		if _, err := io.WriteString(nc, request); err != nil {
			return took, err
		}
		if err := r.ReadResponse(&resp, "GET"); err != nil {
			return took, err
		}
		body := r.Body(resp.Length)
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{&body}); err != nil {
			return took, err
		}
		took = append(took, time.Since(start))
		if resp.Status != 200 {
			return took, fmt.Errorf("status %d", resp.Status)
		}
	}
	return took, nil
}

// serveApp answers every request with a body of the size of a review.
func serveApp(ln net.Listener) {
	body := []byte(strings.Repeat("x", 375))
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			r, w := wire.NewReader(nc), wire.NewWriter(nc)
			var q wire.Request
			fields := header.Fields{{Name: "content-type", Value: "application/json"}, {Name: "content-length", Value: "375"}}
			for r.ReadRequest(&q) == nil {
				w.Response(200, fields, false)
				w.Data(body)
				if w.End(nil) != nil {
					return
				}
			}
		}()
	}
}
