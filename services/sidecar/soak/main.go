// Command soak puts a pair of sidecars under load for a long time while the collector is killed and started and the
// application restarted, again and again. It ends with an error if a request got anything but the application's answer,
// or the word that nobody listened there, or if goroutines or memory grew.
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

func run(ctx context.Context, args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("soak", flag.ContinueOnError)
	duration := fs.Duration("duration", 10*time.Minute, "how long")
	rate := fs.Int("rate", 200, "requests a second")
	every := fs.Duration("restart", 5*time.Second, "time between two restarts")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *rate < 1 || *duration <= 0 || *every <= 0 {
		return errors.New("want -rate, -duration and -restart above 0")
	}
	app := &restartable{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(append(body, "ok"...))
	})}
	var spans atomic.Int64
	collector := &restartable{handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		spans.Add(int64(strings.Count(string(body), `"traceId"`)))
		w.WriteHeader(http.StatusAccepted)
	})}
	for _, r := range []*restartable{app, collector} {
		if err := r.start(); err != nil {
			return err
		}
		defer r.stop()
	}
	entry, stop, err := pair(ctx, app.addr, collector.addr)
	if err != nil {
		return err
	}
	defer stop()

	var l load
	l.send(ctx, entry, *rate, 2*time.Second) // warms up
	before := look()
	ctx, cancel := context.WithTimeout(ctx, *duration)
	defer cancel()
	var restarts sync.WaitGroup
	restarts.Go(func() {
		tick := time.NewTicker(*every)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			target := []*restartable{app, collector}[n%2]
			target.stop()
			time.Sleep(200 * time.Millisecond)
			if err := target.start(); err != nil {
				l.fail(fmt.Sprintf("restart: %v", err))
			}
		}
	})
	l.send(ctx, entry, *rate, *duration)
	cancel()
	restarts.Wait()
	time.Sleep(3 * time.Second) // what is under way ends
	after := look()
	fmt.Fprintf(stdout, "%d requests in %v: %d answered, %d refused while the application was down, %d lost; %d spans collected\n",
		l.all.Load(), *duration, l.answered.Load(), l.refused.Load(), l.lost.Load(), spans.Load())
	fmt.Fprintf(stdout, "goroutines %d, then %d; heap %.1f MB, then %.1f MB\n", before.goroutines, after.goroutines, before.heap, after.heap)
	switch {
	case l.lost.Load() > 0:
		return fmt.Errorf("%d requests were lost, the first to %s", l.lost.Load(), *l.first.Load())
	case after.goroutines > before.goroutines+20:
		return errors.New("goroutines grew")
	case after.heap > before.heap+8:
		return errors.New("memory grew")
	}
	return nil
}

// pair starts an outbound and an inbound sidecar in front of the application and returns the first one's address.
func pair(ctx context.Context, app, collector string) (entry string, stop func(), err error) {
	d := &sidecar.Destinations{Retries: -1}
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	begin := func(l sidecar.Listener) (string, error) {
		reporter, err := report.New("zipkin", report.Options{Collector: "http://" + collector, Service: "reviews.default", Address: "127.0.0.1", FlushInterval: 200 * time.Millisecond})
		if err != nil {
			return "", err
		}
		s, err := sidecar.Start(ctx, sidecar.Config{
			Identity: sidecar.Identity{Service: "reviews", Version: "v1"}, Tracing: trace.Defaults(l.Direction),
			Reporter: reporter, Listeners: []sidecar.Listener{l},
		})
		if err != nil {
			return "", err
		}
		stops = append(stops, func() { s.Cut(); reporter.Close(context.Background()) })
		return s.Addrs(l.Direction)[0], nil
	}
	table, err := d.Inbound("reviews", app)
	if err != nil {
		return "", stop, err
	}
	inbound, err := begin(sidecar.Listener{Direction: trace.Inbound, Addr: "127.0.0.1:0", Table: table})
	if err != nil {
		return "", stop, err
	}
	if err := d.Add("reviews", "", []string{inbound}); err != nil {
		return "", stop, err
	}
	entry, err = begin(sidecar.Listener{Direction: trace.Outbound, Addr: "127.0.0.1:0", Table: d.Outbound()})
	return entry, stop, err
}

// restartable is a server that ends as an application does on SIGTERM and starts again on the same port.
type restartable struct {
	handler http.Handler
	addr    string
	srv     *http.Server
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
	go r.srv.Serve(ln)
	return nil
}

func (r *restartable) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r.srv.Shutdown(ctx)
}

type load struct {
	all, answered, refused, lost atomic.Int64
	first                        atomic.Pointer[string]
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
	r, err := http.NewRequest(method, "http://"+entry+"/", strings.NewReader(body))
	if err != nil {
		l.fail(err.Error())
		return
	}
	r.Host = "reviews:9080"
	l.all.Add(1)
	resp, err := client.Do(r)
	if err != nil {
		l.fail(err.Error())
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err == nil && resp.StatusCode == 200 && string(got) == body+"ok":
		l.answered.Add(1)
	case resp.StatusCode == 503 && strings.Contains(string(got), "remote connection failure"):
		l.refused.Add(1)
	default:
		l.fail(fmt.Sprintf("%s %d %.100q %v", method, resp.StatusCode, got, err))
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
