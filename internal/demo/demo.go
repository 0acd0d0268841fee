// Package demo runs Bookinfo in one process on this machine's loopback addresses: the services with the handlers of
// their binaries, and what the mesh adds around them.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/internal/telemetry"
)

// Config is what a demo is started with.
type Config struct {
	// Forward is the list of headers that the services pass on, as FORWARD_HEADERS holds it; empty means all.
	Forward string
	// Lookup finds the OTEL_* variables that the services follow; their other settings are the demo's.
	Lookup settings.Lookup
	// Log gets what the services have to say.
	Log *slog.Logger
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
	names *names

	closers []func() error
	once    sync.Once
	failed  chan error
}

// Row is one line of the table of what listens where.
type Row struct {
	Name, Address, Pod, PodIP, About string
}

// Start starts everything and returns once all of it answers. Close stops it.
func Start(ctx context.Context, cfg Config) (*Demo, error) {
	d := &Demo{cfg: cfg, names: newNames(), failed: make(chan error, 1), info: Info{Services: map[string]string{}}}
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Demo) start(ctx context.Context) error {
	for i, w := range workloads() {
		if err := d.startWorkload(ctx, i, w); err != nil {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
	}
	d.info.Productpage = d.info.Services["productpage-v1"]
	return d.startControl(ctx)
}

// Info says where the demo listens.
func (d *Demo) Info() Info { return d.info }

// Rows lists what listens where.
func (d *Demo) Rows() []Row { return d.rows }

// Failed yields the error of a part that stopped by itself.
func (d *Demo) Failed() <-chan error { return d.failed }

// Close stops everything. What is in flight is cut.
func (d *Demo) Close() error {
	var err error
	d.once.Do(func() {
		for i := len(d.closers) - 1; i >= 0; i-- {
			err = errors.Join(err, d.closers[i]())
		}
	})
	return err
}

// startWorkload serves one version of one service, as its binary would.
func (d *Demo) startWorkload(ctx context.Context, i int, w workload) error {
	env := settings.From(d.environment(w))
	tel, err := telemetry.Start(ctx, env.Getenv, w.service+"."+namespace)
	if err != nil {
		return err
	}
	d.closers = append(d.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		return tel.Shutdown(ctx)
	})
	log := d.cfg.Log.With("workload", w.name())
	registry := server.NewRegistry()
	handler, err := w.build(env, parts{
		Parts: server.Parts{Log: log, Registry: registry, Transport: tel.Transport},
		dial:  d.names.dial,
	})
	if err = errors.Join(env.Err(), err); err != nil {
		return err
	}
	observer := server.Observer{Log: log, Registry: registry, Trace: tel.Handler}
	address, err := d.serve(ctx, w.name(), w.port, observer.Handler(handler))
	if err != nil {
		return err
	}
	d.names.add(fmt.Sprintf("%s:%d", w.service, firstPort), address)
	d.info.Services[w.name()] = "http://" + address
	d.rows = append(d.rows, Row{Name: w.name(), Address: "http://" + address, Pod: w.pod(), PodIP: podIP(i)})
	return nil
}

// namespace is the Kubernetes namespace that the workloads say they are in.
const namespace = "default"

// flushTimeout bounds how long the last spans of one service may take; the demo stops within a second.
const flushTimeout = 300 * time.Millisecond

// environment is what the process of a workload would find: its Deployment's variables, and OpenTelemetry's from
// outside.
func (d *Demo) environment(w workload) settings.Lookup {
	fixed := map[string]string{"HOSTNAME": w.pod(), "FORWARD_HEADERS": d.cfg.Forward}
	for name, value := range w.env {
		fixed[name] = value
	}
	return func(name string) (string, bool) {
		if value, set := fixed[name]; set {
			return value, true
		}
		if len(name) > 5 && name[:5] == "OTEL_" && d.cfg.Lookup != nil {
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
	srv := server.HTTP(handler, d.cfg.Log.With("workload", name))
	d.closers = append(d.closers, srv.Close)
	go func() {
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			select {
			case d.failed <- fmt.Errorf("%s: %w", name, err):
			default: // one failure is enough to end the demo
			}
		}
	}()
	return listener.Addr().String(), nil
}

func (d *Demo) listen(ctx context.Context, name string, port int) (net.Listener, error) {
	listener, err := server.Listen(ctx, loopback, port)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return listener, err
	}
	listener, err = server.Listen(ctx, loopback, 0)
	if err == nil {
		fmt.Fprintf(d.cfg.Progress, "Port %d is taken, so %s listens on %s.\n", port, name, listener.Addr())
	}
	return listener, err
}

const loopback = "127.0.0.1"
