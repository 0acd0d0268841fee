// Package demo runs Bookinfo in one process on this machine's loopback addresses: the services with the handlers of
// their binaries, and what the mesh adds around them.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/bookinfo/internal/breakage"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/internal/telemetry"
	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/sidecar/trace"
)

// Config is what a demo is started with.
type Config struct {
	// Forward is the list of headers that the services pass on, as FORWARD_HEADERS holds it; empty means all.
	Forward string
	// Sidecars puts the mesh's stand-in around the services; without it they call each other directly, in turn.
	Sidecars bool
	// Envoy is the path of a real Envoy's executable, which runs beside each workload in the stand-in's place; none if
	// empty. Profile is then what it behaves like.
	Envoy string
	// Format, Profile and Sampling (percent) are those of every sidecar.
	Format   trace.Format
	Profile  trace.Profile
	Sampling float64
	// Collector takes the sidecars' spans in place of the demo's own console.
	Collector Collector
	// TraceURL is the address of a trace in the collector's pages, with {traceId} in it; the console's if empty.
	TraceURL string
	// Watch is a folder of Istio files that the mesh is kept like; none if empty.
	Watch string
	// Lookup finds the OTEL_* variables that the services follow; their other settings are the demo's.
	Lookup settings.Lookup
	// Log gets what the proxies and the console have to say, ServiceLog what the services do.
	Log, ServiceLog *slog.Logger
	// Progress gets a line for people about each thing that took an unexpected turn.
	Progress io.Writer
}

// Info says where a running demo listens. Its JSON is the line that the command prints, and what other commands read;
// what does not run is left out.
type Info struct {
	Gateway     string            `json:"gateway,omitempty"`
	Productpage string            `json:"productpage,omitempty"`
	Console     string            `json:"console,omitempty"`
	Control     string            `json:"control,omitempty"`
	Services    map[string]string `json:"services"` // workload name to URL
}

// Entry returns the address that users enter by: the gateway's, or productpage's own without one.
func (i Info) Entry() string {
	if i.Gateway != "" {
		return i.Gateway
	}
	return i.Productpage
}

// Demo is a running demo.
type Demo struct {
	cfg   Config
	info  Info
	rows  []Row
	mesh  *mesh.Mesh
	names *names
	// breakers make the services that call others forward wrongly, by service.
	breakers map[string]*breakage.Breaker
	drive    driver
	// envoys are the real Envoys that run in place of the stand-in.
	envoys []*envoyBeside
	// traces are those of the demo's own console; nil without one.
	traces backend.Backend
	// life ends with the demo; what runs in the background ends with it.
	life context.Context
	end  context.CancelFunc

	closers, lastClosers []func() error
	once                 sync.Once
	failed               chan error
}

// Row is one line of the table of what listens where.
type Row struct {
	Name, Address, Pod, PodIP string
}

// Start starts everything and returns once all of it answers. Close stops it.
func Start(ctx context.Context, cfg Config) (*Demo, error) {
	d := &Demo{
		cfg: cfg, names: newNames(), failed: make(chan error, 1), info: Info{Services: map[string]string{}},
		breakers: map[string]*breakage.Breaker{},
	}
	d.life, d.end = context.WithCancel(context.WithoutCancel(ctx))
	for _, service := range callers() {
		d.breakers[service] = breakage.NewBreaker(func(b []byte) { _, _ = rand.Read(b) }) // never fails
	}
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Demo) start(ctx context.Context) error {
	if err := d.startMesh(); err != nil {
		return err
	}
	if err := d.startWatch(); err != nil {
		return err
	}
	// The console's pages lead to the control page, so its address is needed first.
	listener, err := d.listen(ctx, "control", controlPort)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	d.onClose(func() error { _ = listener.Close(); return nil })
	d.info.Control = "http://" + listener.Addr().String()
	if d.cfg.Collector.URL == "" {
		if err := d.startConsole(ctx); err != nil {
			return fmt.Errorf("console: %w", err)
		}
	}
	for _, w := range workloads() {
		if err := d.startWorkload(ctx, w); err != nil {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
	}
	d.info.Productpage = d.info.Services["productpage-v1"]
	if err := d.startEdge(ctx); err != nil {
		return err
	}
	return d.startControl(listener)
}

// Info says where the demo listens.
func (d *Demo) Info() Info { return d.info }

// Rows lists what listens where.
func (d *Demo) Rows() []Row { return d.rows }

// Failed yields the error of a part that stopped by itself.
func (d *Demo) Failed() <-chan error { return d.failed }

// stopTimeout bounds Close: nobody waits longer than a second for Ctrl-C.
const stopTimeout = 800 * time.Millisecond

// Close stops everything at once. What is in flight is cut. The console stops after the others, which send it their last
// spans.
func (d *Demo) Close() error {
	var err error
	d.once.Do(func() {
		d.end()
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		err = errors.Join(stopAll(ctx, d.closers...), stopAll(ctx, d.lastClosers...))
	})
	return err
}

// stopAll stops all at the same time and waits for them until ctx is done.
func stopAll(ctx context.Context, closers ...func() error) (err error) {
	stopped := make(chan error, len(closers))
	for _, stop := range closers {
		go func() { stopped <- stop() }()
	}
	for range closers {
		select {
		case e := <-stopped:
			err = errors.Join(err, e)
		case <-ctx.Done():
			return err
		}
	}
	return err
}

// fail ends the demo because a part of it ended by itself.
func (d *Demo) fail(err error) {
	select {
	case d.failed <- err:
	default: // one failure is enough
	}
}

func (d *Demo) onClose(stop func() error) { d.closers = append(d.closers, stop) }

func (d *Demo) progress(format string, args ...any) {
	fmt.Fprintf(d.cfg.Progress, format+"\n", args...)
}

// startWorkload serves one version of one service, as its binary would, with a sidecar beside it.
func (d *Demo) startWorkload(ctx context.Context, w workload) error {
	pod, err := d.pod(w.name())
	if err != nil {
		return err
	}
	way := &outbound{}
	dial := way.dial
	if !d.cfg.Sidecars {
		dial = d.names.dial
	}
	address, err := d.startApplication(ctx, w, pod, dial)
	if err != nil {
		return err
	}
	d.info.Services[w.name()] = "http://" + address
	d.rows = append(d.rows, Row{Name: w.name(), Address: "http://" + address, Pod: pod.Pod, PodIP: pod.IP})
	d.names.add(fmt.Sprintf("%s:%d", w.service, firstPort), address)
	switch {
	case d.cfg.Envoy != "":
		return d.planEnvoy(pod, address, way)
	case d.cfg.Sidecars:
		return d.startSidecar(ctx, pod, address, way)
	}
	return nil
}

// startEdge starts the gateway, and with real Envoys the sidecars too.
func (d *Demo) startEdge(ctx context.Context) error {
	switch {
	case d.cfg.Envoy != "":
		return d.startEnvoys(ctx)
	case d.cfg.Sidecars:
		if err := d.startGateway(ctx); err != nil {
			return fmt.Errorf("gateway: %w", err)
		}
	}
	return nil
}

// startApplication serves the workload's own part and returns where it listens.
func (d *Demo) startApplication(ctx context.Context, w workload, pod *mesh.Workload, dial dialFunc) (string, error) {
	env := settings.From(d.environment(w, pod))
	tel, err := telemetry.Start(ctx, env.Getenv, w.service+"."+namespace)
	if err != nil {
		return "", err
	}
	d.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		return tel.Shutdown(ctx)
	})
	carry := tel.Transport
	if breaker := d.breakers[w.service]; breaker != nil {
		carry = func(base http.RoundTripper) http.RoundTripper { return tel.Transport(breaker.Transport(base)) }
	}
	log := d.cfg.ServiceLog.With("workload", w.name())
	registry := server.NewRegistry()
	handler, err := w.build(env, parts{
		Parts: server.Parts{Log: log, Registry: registry, Transport: carry},
		dial:  dial,
	})
	if err = errors.Join(env.Err(), err); err != nil {
		return "", err
	}
	observer := server.Observer{Log: log, Registry: registry, Trace: tel.Handler}
	return d.serve(ctx, w.name(), w.port, observer.Handler(handler))
}

// namespace is the Kubernetes namespace that the workloads say they are in.
const namespace = "default"

// flushTimeout bounds how long the last spans of one service may take; the demo stops within a second.
const flushTimeout = 300 * time.Millisecond

// environment is what the process of a workload would find: its Deployment's variables, and OpenTelemetry's from
// outside.
func (d *Demo) environment(w workload, pod *mesh.Workload) settings.Lookup {
	fixed := map[string]string{"HOSTNAME": pod.Pod, "FORWARD_HEADERS": d.cfg.Forward}
	if d.cfg.TraceURL != "" {
		fixed["TRACE_URL"] = d.cfg.TraceURL
	}
	for name, value := range w.env {
		fixed[name] = value
	}
	return func(name string) (string, bool) {
		if value, set := fixed[name]; set {
			return value, true
		}
		if strings.HasPrefix(name, "OTEL_") && d.cfg.Lookup != nil {
			return d.cfg.Lookup(name)
		}
		return "", false
	}
}

// serve listens on the port, or on a free one if it is taken, and answers with handler until Close. It returns the
// address with its real port.
func (d *Demo) serve(ctx context.Context, name string, port int, handler http.Handler) (string, error) {
	listener, err := d.listen(ctx, name, port)
	if err != nil {
		return "", err
	}
	d.serveOn(listener, name, handler)
	return listener.Addr().String(), nil
}

func (d *Demo) serveOn(listener net.Listener, name string, handler http.Handler) {
	srv := server.HTTP(handler, d.cfg.Log.With("workload", name))
	d.onClose(func() error {
		// The listener may have been closed by whoever opened it.
		if err := srv.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	go func() {
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			d.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
}

func (d *Demo) listen(ctx context.Context, name string, port int) (net.Listener, error) {
	listener, err := server.Listen(ctx, loopback, port)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return listener, err
	}
	listener, err = server.Listen(ctx, loopback, 0)
	if err == nil {
		d.progress("Port %d is taken, so %s listens on %s.", port, name, listener.Addr())
	}
	return listener, err
}

const loopback = "127.0.0.1"
