// Command soak runs applications that call each other as Bookinfo's do, behind a gateway and a sidecar each, under load
// for a long time, while the collector is killed and started and each application restarted in turn, again and again.
// It ends with an error if a request got anything but the whole answer or an application's refusal, or if goroutines or
// memory grew. A refusal is that nobody listens, while an application is down just then, or a connection cut by one that
// stops: never accepted, or closed with a request read and not answered (net/http's Shutdown does that to a request which
// it has read but not begun). The applications count what they cut, and more requests than that may not have been.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bookinfo/propagation"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/report"
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

// workloads are Bookinfo's, each after those that it calls.
func workloads() []workload {
	return []workload{
		{service: "ratings", version: "v1"},
		{service: "details", version: "v1"},
		{service: "reviews", version: "v1"},
		{service: "reviews", version: "v2", calls: []string{"ratings"}},
		{service: "reviews", version: "v3", calls: []string{"ratings"}},
		{service: "productpage", version: "v1", calls: []string{"details", "reviews"}},
	}
}

type workload struct {
	service, version string
	calls            []string
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("soak", flag.ContinueOnError)
	duration := fs.Duration("duration", 10*time.Minute, "how long")
	rate := fs.Int("rate", 60, "requests a second at the gateway; each crosses seven sidecars or five")
	every := fs.Duration("restart", 2*time.Second, "time between two restarts")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *rate < 1 || *duration <= 0 || *every <= 0 {
		return errors.New("want -rate, -duration and -restart above 0")
	}
	var spans atomic.Int64
	collector := &restartable{name: "collector", kill: true, handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		spans.Add(int64(strings.Count(string(body), `"traceId"`)))
		w.WriteHeader(http.StatusAccepted)
	})}
	if err := collector.start(); err != nil {
		return err
	}
	defer collector.stop()
	m := &meshed{ctx: ctx, collector: collector.addr, destinations: &sidecar.Destinations{Retries: -1}}
	defer m.stop()
	for _, w := range workloads() {
		if err := m.add(w); err != nil {
			return err
		}
	}
	entry, err := m.gateway("productpage")
	if err != nil {
		return err
	}

	l := load{apps: m.apps}
	l.send(ctx, entry, *rate, 5*time.Second) // warms up
	before := look()
	ctx, cancel := context.WithTimeout(ctx, *duration)
	defer cancel()
	restarts := 0
	var restarting sync.WaitGroup
	restarting.Go(func() {
		tick := time.NewTicker(*every)
		defer tick.Stop()
		for targets := append(m.apps[:len(m.apps):len(m.apps)], collector); ; restarts++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			target := targets[restarts%len(targets)]
			target.stop()
			time.Sleep(200 * time.Millisecond)
			if err := target.start(); err != nil {
				l.fail(fmt.Sprintf("restart of %s: %v", target.name, err))
			}
		}
	})
	most := make(chan state)
	go func() { most <- highest(ctx, *duration/20) }()
	l.send(ctx, entry, *rate, *duration)
	cancel()
	restarting.Wait()
	peak := <-most
	after := m.settle(before)
	var cut int64 // by the applications
	for _, app := range m.apps {
		cut += app.dialed.Load() - app.accepted.Load() + app.hungUp.Load()
	}
	fmt.Fprintf(stdout, "%d requests in %v, %d restarts: %d answered, %d refused where an application was down, %d cut (by applications: %d), %d lost; %d spans collected\n",
		l.all.Load(), *duration, restarts, l.answered.Load(), l.refused.Load(), l.cut.Load(), cut, l.lost.Load(), spans.Load())
	fmt.Fprintf(stdout, "goroutines %d before, %d under load, %d after; heap %.1f MB, %.1f MB, %.1f MB\n",
		before.goroutines, peak.goroutines, after.goroutines, before.heap, peak.heap, after.heap)
	switch {
	case l.lost.Load() > 0:
		return fmt.Errorf("%d requests were lost, the first to %s", l.lost.Load(), *l.first.Load())
	case l.cut.Load() > cut:
		return fmt.Errorf("%d requests were cut, of which the applications cut %d", l.cut.Load(), cut)
	case l.answered.Load() == 0:
		return errors.New("no request was answered")
	case after.goroutines > before.goroutines+20:
		return errors.New("goroutines grew")
	case after.heap > before.heap+8:
		return errors.New("memory grew")
	}
	return nil
}

// meshed are applications with a sidecar each.
type meshed struct {
	ctx          context.Context
	collector    string
	destinations *sidecar.Destinations
	endpoints    map[string][]string // inbound listeners by service
	apps         []*restartable
	clients      []*http.Client // of the applications
	stops        []func()
}

// add starts an application and its sidecar.
func (m *meshed) add(w workload) error {
	app := &restartable{name: w.service + "-" + w.version}
	var outbound string
	if len(w.calls) > 0 {
		d := &sidecar.Destinations{Retries: -1}
		for _, service := range w.calls {
			if err := d.Add(service, "", m.endpoints[service]); err != nil {
				return err
			}
		}
		var err error
		if outbound, err = m.proxy(w, sidecar.Listener{Direction: trace.Outbound, Table: d.Outbound()}); err != nil {
			return err
		}
	}
	client := &http.Client{Transport: propagation.Transport{Base: &http.Transport{MaxIdleConnsPerHost: 64}}}
	m.clients = append(m.clients, client)
	app.handler = application(w, outbound, client)
	if err := app.start(); err != nil {
		return err
	}
	m.apps = append(m.apps, app)
	m.stops = append(m.stops, app.stop)
	table, err := m.destinations.Inbound(w.service, app.addr)
	if err != nil {
		return err
	}
	inbound, err := m.proxy(w, sidecar.Listener{Direction: trace.Inbound, Table: table})
	if err != nil {
		return err
	}
	if m.endpoints == nil {
		m.endpoints = map[string][]string{}
	}
	m.endpoints[w.service] = append(m.endpoints[w.service], inbound)
	return nil
}

func (m *meshed) gateway(service string) (string, error) {
	if err := m.destinations.Add(service, "", m.endpoints[service]); err != nil {
		return "", err
	}
	table, err := m.destinations.To(service)
	if err != nil {
		return "", err
	}
	return m.proxy(workload{service: "istio-ingressgateway"}, sidecar.Listener{Direction: trace.Gateway, Table: table})
}

// proxy starts a sidecar with one listener and returns its address.
func (m *meshed) proxy(w workload, l sidecar.Listener) (string, error) {
	reporter, err := report.New("zipkin", report.Options{
		Collector: "http://" + m.collector, Service: w.service + ".default", Address: "127.0.0.1", FlushInterval: 200 * time.Millisecond,
	})
	if err != nil {
		return "", err
	}
	l.Addr = "127.0.0.1:0"
	s, err := sidecar.Start(m.ctx, sidecar.Config{
		Identity: sidecar.Identity{Service: w.service, Version: w.version}, Tracing: trace.Defaults(l.Direction),
		Reporter: reporter, Listeners: []sidecar.Listener{l}, Dial: m.dial,
	})
	if err != nil {
		return "", err
	}
	m.stops = append(m.stops, func() {
		_ = s.Cut() // what is in flight at the end is
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = reporter.Close(ctx)
	})
	return s.Addrs(l.Direction)[0], nil
}

// dial counts the connections to each application.
func (m *meshed) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		for _, app := range m.apps {
			if app.addr == addr {
				app.dialed.Add(1)
			}
		}
	}
	return conn, err
}

// settle ends what nobody needs any more: connections that were kept for a moment of more load than before cost a
// goroutine or two each until they have been idle for a minute.
func (m *meshed) settle(before state) state {
	for _, client := range m.clients {
		client.CloseIdleConnections()
	}
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(3 * time.Second) {
		if now := look(); now.goroutines <= before.goroutines || time.Now().After(deadline) {
			return now
		}
	}
}

func (m *meshed) stop() {
	for _, stop := range m.stops {
		stop()
	}
}

// application answers with its name, the request's body, and the answers of the services that it calls with the same
// body. A call that fails is its answer.
func application(w workload, outbound string, client *http.Client) http.Handler {
	return propagation.Handler(propagation.All(), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(rw, "the request broke off: "+err.Error(), http.StatusBadGateway)
			return
		}
		answer := w.service + "("
		for _, service := range w.calls {
			status, text, err := call(r.Context(), client, r.Method, outbound, service, string(body))
			if err != nil {
				status, text = http.StatusBadGateway, fmt.Sprintf("%s asked %s: %v", w.service, service, err)
			}
			if status != http.StatusOK {
				http.Error(rw, text, status)
				return
			}
			answer += text
		}
		_, _ = io.WriteString(rw, answer+string(body)+")") // a caller that left notices itself
	}))
}

func call(ctx context.Context, client *http.Client, method, addr, host, body string) (status int, text string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+addr+"/", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Host = host + ":9080"
	resp, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(got), err
}

// restartable is a server that ends as an application does on SIGTERM, or with kill at once, and starts again on the
// same port.
type restartable struct {
	name    string
	kill    bool
	handler http.Handler
	addr    string
	srv     *http.Server

	dialed, accepted atomic.Int64 // connections
	hungUp           atomic.Int64 // connections that were closed with a request unanswered

	mu       sync.Mutex
	down, up time.Time // when it was last down; up is before down while it still is
}

func (r *restartable) start() error {
	addr := r.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	r.addr = ln.Addr().String()
	r.srv = &http.Server{Handler: r.handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = r.srv.Serve(&counted{ln, r}) }() // ends when it is stopped
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up = time.Now()
	return nil
}

func (r *restartable) stop() {
	r.mu.Lock()
	r.down = time.Now()
	r.mu.Unlock()
	if r.kill {
		_ = r.srv.Close() // the connections that it cuts are meant
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = r.srv.Shutdown(ctx)
}

// wasDown tells whether there was a moment since then in which nobody listened.
func (r *restartable) wasDown(since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.down.IsZero() && (r.up.Before(r.down) || r.up.After(since))
}

// counted is the listener of a restartable.
type counted struct {
	net.Listener
	of *restartable
}

func (l *counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.of.accepted.Add(1)
	return &connection{Conn: conn, of: l.of}, nil
}

// connection knows whether a request came that nothing was written for.
type connection struct {
	net.Conn
	of      *restartable
	pending atomic.Bool
	closed  atomic.Bool
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.pending.Store(true)
	}
	return n, err
}

func (c *connection) Write(p []byte) (int, error) {
	c.pending.Store(false)
	return c.Conn.Write(p)
}

func (c *connection) Close() error {
	if !c.closed.Swap(true) && c.pending.Load() {
		c.of.hungUp.Add(1)
	}
	return c.Conn.Close()
}

type load struct {
	apps                              []*restartable
	all, answered, refused, cut, lost atomic.Int64
	first                             atomic.Pointer[string]
}

func (l *load) fail(what string) {
	l.lost.Add(1)
	l.first.CompareAndSwap(nil, &what)
}

// send sends requests at a steady rate, every other one with a body.
func (l *load) send(ctx context.Context, entry string, rate int, d time.Duration) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	end := time.After(d)
	var flying sync.WaitGroup
	defer flying.Wait()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-end:
			return
		case <-tick.C:
		}
		flying.Go(func() { l.one(client, entry, n) })
	}
}

func (l *load) one(client *http.Client, entry string, n int) {
	method, body := http.MethodGet, ""
	if n%2 == 1 {
		method, body = http.MethodPost, strings.Repeat("x", n%5000)
	}
	l.all.Add(1)
	began := time.Now()
	// The load ends by asking no more; what it has asked is waited for.
	status, got, err := call(context.Background(), client, method, entry, "productpage", body)
	inner := "details(" + body + ")reviews("
	switch {
	case err == nil && status == http.StatusOK &&
		(got == "productpage("+inner+body+")"+body+")" || got == "productpage("+inner+"ratings("+body+")"+body+")"+body+")"):
		l.answered.Add(1)
	case status == http.StatusServiceUnavailable && strings.Contains(got, "remote connection failure") && l.wasDown(began):
		l.refused.Add(1)
	case status == http.StatusServiceUnavailable && strings.Contains(got, "connection termination") && l.wasDown(began):
		l.cut.Add(1)
	default:
		l.fail(fmt.Sprintf("%s %d %.100q %v", method, status, got, err))
	}
}

func (l *load) wasDown(since time.Time) bool {
	for _, app := range l.apps {
		if app.wasDown(since) {
			return true
		}
	}
	return false
}

// highest looks again and again until ctx ends.
func highest(ctx context.Context, every time.Duration) state {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var most state
	for {
		select {
		case <-ctx.Done():
			return most
		case <-tick.C:
		}
		now := look()
		most = state{max(most.goroutines, now.goroutines), max(most.heap, now.heap)}
	}
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
