// Command bench measures a console from outside, as docs/performance.md reports it: CPU time and memory of its
// process for each span taken in, until the last trace is found by a query, and how long queries take.
package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// senders post at the same time, as the proxies of a mesh do.
const senders = 8

// clockTicks is USER_HZ, which Linux fixes at 100 for /proc (proc_pid_stat(5)).
const clockTicks = 100

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	spans := f.Int("spans", 200_000, "spans of each run")
	large := f.Int("large", 0, "spans of a further run that looks whether costs stay flat, such as 5000000")
	prebuilt := f.String("binary", "", "console to measure instead of the one built from here")
	only := f.String("only", "", "only runs whose name holds this text")
	peers := f.Bool("peers", false, "compare with Zipkin and Jaeger, where they are installed, and nothing else")
	soak := f.Duration("soak", 0, "hold full ingest for so long, kill the console, fill its disk, and nothing else")
	send := f.String("send", "", "be the senders of -soak, which post to this address, and nothing else")
	memory := f.String("max-memory", "2GiB", "--max-memory of the console")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *send != "" {
		return sendFor(ctx, *send, *soak, out)
	}
	dir, err := os.MkdirTemp("", "bench-console")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := *prebuilt
	if binary == "" {
		binary = filepath.Join(dir, "console")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", binary, "./cmd/console")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build the console: %w", err)
		}
	}
	b := &bench{binary: binary, dir: dir, memory: *memory, out: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	defer func() { _ = b.out.Flush() }()
	switch {
	case *peers:
		return b.peers(ctx, *spans)
	case *soak > 0:
		return b.soak(ctx, *soak)
	}
	b.row("run", "spans", "spans/CPU s", "spans/s", "bytes/span", "RSS MB", "found after")
	cases := []scenario{
		{name: "otlp grpc, 1000 a post", post: 1000, send: (*console).otlpGRPC},
		{name: "otlp http, 1000 a post", post: 1000, send: (*console).otlpHTTP},
		{name: "zipkin json, 1000 a post", post: 1000, send: (*console).zipkin},
		{name: "zipkin json, 5 a post", post: 5, send: (*console).zipkin},
		{name: "otlp grpc, 5 a post", post: 5, send: (*console).otlpGRPC},
		{name: "zipkin json, unique URLs and agents", post: 1000, unique: true, send: (*console).zipkin},
	}
	for _, c := range cases {
		if !strings.Contains(c.name, *only) {
			continue
		}
		c.spans = *spans
		if err := b.measure(ctx, c, false); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for _, n := range []int{10_000, *spans, *large} {
		if n == 0 || !strings.Contains("queries", *only) {
			continue
		}
		c := scenario{name: "queries", spans: n, post: 1000, send: (*console).otlpHTTP}
		if err := b.measure(ctx, c, true); err != nil {
			return fmt.Errorf("queries at %d: %w", n, err)
		}
	}
	return nil
}

type scenario struct {
	name   string
	spans  int
	post   int
	unique bool
	send   func(*console, context.Context, []one) error
}

type bench struct {
	binary, dir, memory string
	out                 *tabwriter.Writer
	stderr              io.Writer // of the console, default our own
}

func (b *bench) row(cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = fmt.Sprint(c)
	}
	fmt.Fprintln(b.out, strings.Join(text, "\t"))
	_ = b.out.Flush()
}

// console is the process under test.
type console struct {
	cmd        *exec.Cmd
	base, http string
	client     *http.Client
	conn       *grpc.ClientConn
	export     ptraceotlp.GRPCClient
	ready      time.Duration
	idle       int64 // resident bytes when it was ready
}

func (b *bench) start(ctx context.Context) (*console, error) {
	data, err := os.MkdirTemp(b.dir, "data")
	if err != nil {
		return nil, err
	}
	return b.startIn(ctx, data)
}

// startIn starts the console on a data folder.
func (b *bench) startIn(ctx context.Context, data string, flags ...string) (*console, error) {
	c := &console{client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: senders}}}
	c.cmd = exec.CommandContext(ctx, b.binary, append([]string{"--addr", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0",
		"--max-memory", b.memory, "--data-dir", data}, flags...)...)
	c.cmd.Stderr = os.Stderr
	if b.stderr != nil {
		c.cmd.Stderr = b.stderr
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	var line struct {
		GRPC    string `json:"otlp-grpc"`
		HTTP    string `json:"otlp-http"`
		Console string `json:"console"`
	}
	if err := json.NewDecoder(stdout).Decode(&line); err != nil {
		return nil, fmt.Errorf("no ready line: %w", err)
	}
	c.ready = time.Since(began)
	c.idle = c.rss()
	c.base, c.http = strings.TrimSuffix(line.Console, "/"), "http://"+line.HTTP
	c.conn, err = grpc.NewClient(line.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	c.export = ptraceotlp.NewGRPCClient(c.conn)
	return c, nil
}

func (c *console) stop() {
	_ = c.cmd.Process.Signal(os.Interrupt)
	c.gone()
}

// gone cleans up after a process that has ended or is about to.
func (c *console) gone() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	_ = c.cmd.Wait()
}

// cpu is the CPU time of the process so far, rss its resident memory in bytes.
func (c *console) cpu() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, i := range [...]int{11, 12} { // utime, stime, counted from the state
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks, nil
}

func (c *console) rss() int64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	for _, line := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

func (c *console) post(ctx context.Context, url, contentType string, body []byte, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != want {
		return fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return nil
}

func (c *console) zipkin(ctx context.Context, spans []one) error {
	return c.post(ctx, c.base+"/api/v2/spans", "application/json", zipkinJSON(spans), http.StatusAccepted)
}

func (c *console) otlpHTTP(ctx context.Context, spans []one) error {
	body, err := otlp(spans).MarshalProto()
	if err != nil {
		return err
	}
	return c.post(ctx, c.http+"/v1/traces", "application/x-protobuf", body, http.StatusOK)
}

func (c *console) otlpGRPC(ctx context.Context, spans []one) error {
	_, err := c.export.Export(ctx, otlp(spans))
	return err
}

func (c *console) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d: %.200s", path, resp.StatusCode, body)
	}
	return body, err
}

func (b *bench) measure(ctx context.Context, sc scenario, queries bool) error {
	c, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer c.stop()
	time.Sleep(100 * time.Millisecond)
	idle := c.rss()
	t := newTraffic(rand.Uint64(), sc.unique, time.Now().Add(-30*time.Minute), time.Minute*20/time.Duration(sc.spans/8+1))
	// The first posts warm connections up and are not counted.
	if err := sc.send(c, ctx, t.spans(40)); err != nil {
		return err
	}
	cpu0, err := c.cpu()
	if err != nil {
		return err
	}
	rss0, wall0 := c.rss(), time.Now()
	for sent := 0; sent < sc.spans; {
		spans := t.spans(max(sc.post*senders, 1000))
		sent += len(spans)
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(senders)
		for len(spans) > 0 {
			post := spans[:min(sc.post, len(spans))]
			spans = spans[len(post):]
			group.Go(func() error { return sc.send(c, ctx, post) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	acknowledged := time.Now()
	if err := c.find(ctx, hex.EncodeToString(t.last[:])); err != nil {
		return err
	}
	found := time.Since(acknowledged)
	wall := time.Since(wall0)
	cpu1, err := c.cpu()
	if err != nil {
		return err
	}
	cpu := cpu1 - cpu0
	held, err := c.held(ctx)
	if err != nil {
		return err
	}
	b.row(sc.name, sc.spans, int(float64(sc.spans)/cpu.Seconds()), int(float64(sc.spans)/wall.Seconds()),
		held/int64(sc.spans), fmt.Sprintf("%d (+%d)", c.rss()>>20, (c.rss()-rss0)>>20), found.Round(time.Microsecond))
	if queries {
		b.row("  idle", "", "", "", "", idle>>20, "ready after "+c.ready.Round(time.Millisecond).String())
		return b.queries(ctx, c, t)
	}
	return nil
}

// find waits until the trace is there.
func (c *console) find(ctx context.Context, id string) error {
	for range 1000 {
		if _, err := c.get(ctx, "/api/v2/trace/"+id); err == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the last trace is not found")
}

func (c *console) held(ctx context.Context) (int64, error) {
	v, err := c.metric(ctx, "bookinfo_console_store_bytes")
	return int64(v), err
}

func (c *console) metric(ctx context.Context, name string) (float64, error) {
	body, err := c.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(v), 64)
		}
	}
	return 0, fmt.Errorf("no %s in /metrics", name)
}

func (b *bench) queries(ctx context.Context, c *console, t *traffic) error {
	now := time.Now()
	search := func(values ...string) string {
		v := url.Values{}
		for i := 0; i+1 < len(values); i += 2 {
			v.Set(values[i], values[i+1])
		}
		return "/api/bookinfo/v1/traces?" + v.Encode()
	}
	for _, q := range []struct{ name, path string }{
		{"100 slowest", search()},
		{"100 newest", search("order", "time")},
		{"application", search("application", "ratings.default")},
		{"span name", search("name", "ratings.default.svc.cluster.local:9080/*")},
		{"tag equals", search("tags", `http.status_code = "503"`)},
		{"tag exists", search("tags", "error")},
		{"tag equals, newest", search("tags", `http.status_code = "503"`, "order", "time")},
		{"tag is at least, or other", search("tags", `http.status_code >= 500 or response_size = 499`)},
		{"application and at most 8 ms", search("application", "ratings.default", "maxDuration", "8ms")},
		{"tag matches nothing", search("tags", `http.url = "http://nowhere/"`)},
		{"errors", search("status", "error")},
		{"at least 20 ms", search("minDuration", "20ms")},
		{"from 10 to 11 ms", search("minDuration", "10ms", "maxDuration", "11ms")},
		{"one minute", search("from", now.Add(-20*time.Minute).UTC().Format(time.RFC3339), "to", now.Add(-19*time.Minute).UTC().Format(time.RFC3339))},
		{"topology", "/api/bookinfo/v1/topology"},
		{"applications", "/api/bookinfo/v1/applications"},
		{"a trace", "/api/v2/trace/" + hex.EncodeToString(t.last[:])},
	} {
		var took []time.Duration
		size := 0
		for range 30 {
			began := time.Now()
			body, err := c.get(ctx, q.path)
			if err != nil {
				return err
			}
			took = append(took, time.Since(began))
			size = len(body)
		}
		slices.Sort(took)
		b.row("  "+q.name, "", "", "", "", fmt.Sprintf("%d KB", size>>10),
			"median "+took[len(took)/2].Round(10*time.Microsecond).String()+", max "+took[len(took)-1].Round(10*time.Microsecond).String())
	}
	return nil
}
