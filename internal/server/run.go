// Package server is the life of a service: it reads its settings, listens before it says that it is ready, serves
// with limits, logs and counts requests, and on SIGTERM drains and stops.
package server

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/internal/telemetry"
)

// DefaultPort is Bookinfo's port, the same for all of its services.
const DefaultPort = 9080

// Program is one binary that serves one service.
type Program struct {
	Name  string   // details, for example
	About string   // what it does, in one line for -h
	Args  []string // without the program's own name
	Env   *settings.Env
	// Stdout gets the log and what -h and --version print.
	Stdout io.Writer
}

// Parts is what a service is built from beside its own settings.
type Parts struct {
	Log *slog.Logger
	// Registry is for the service's own metrics; those of every service are in it already.
	Registry *prometheus.Registry
	// Transport makes outgoing requests carry what the incoming one's trace needs, on top of base. A service that makes
	// none does not call it, and is spared the capturing.
	Transport func(base http.RoundTripper) http.RoundTripper
}

// Config is how a service listens, logs and stops.
type Config struct {
	Host            string        // address to listen on; "" is every one of both families
	Port            int           // 0 picks a free one
	DrainDelay      time.Duration // how long to serve on after SIGTERM
	ShutdownTimeout time.Duration // how long requests in flight may take after that
	Log             LogConfig
	// Teaching adds a control by which anybody who reaches the service breaks its forwarding of headers.
	Teaching bool
}

// FromEnv reads the settings that all services share.
func FromEnv(env *settings.Env) Config {
	return Config{
		Port:            env.Int("PORT", DefaultPort, 0, 65535, "port to listen on, unless the first argument names one; 0 picks a free one"),
		Host:            env.String("LISTEN_HOST", "", "address to listen on; without it all of IPv4 and IPv6"),
		DrainDelay:      env.Duration("DRAIN_DELAY", 0, "how long to serve on after SIGTERM, while /readyz says 503"),
		ShutdownTimeout: env.Duration("SHUTDOWN_TIMEOUT", 20*time.Second, "how long requests in flight may take after that"),
		Log:             LogFromEnv(env),
		Teaching:        env.Bool("TEACHING", false, "true: /teaching breaks the forwarding of headers while the service runs, for lessons"),
	}
}

// UsageError is a wrong argument or setting: exit code 2.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Exit prints err, if there is one, after the program's name and returns the exit code it stands for.
func Exit(stderr io.Writer, name string, err error) int {
	if err == nil {
		return 0
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "%s: %s\n", name, line)
	}
	var usage *UsageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// Run reads the arguments and the settings, has build make the service, and serves it until ctx is done or the
// process is asked to stop. The service's own settings must have been read from p.Env before. A handler that is an
// io.Closer is closed in the end.
func Run(ctx context.Context, p Program, build func(Parts) (http.Handler, error)) error {
	cfg := FromEnv(p.Env)
	declareTelemetry(p.Env)

	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	showVersion := flags.Bool("version", false, "print the version")
	if err := flags.Parse(p.Args); errors.Is(err, flag.ErrHelp) {
		return p.help()
	} else if err != nil {
		return &UsageError{fmt.Errorf("%w; -h shows what is understood", err)}
	}
	if *showVersion {
		_, err := fmt.Fprintln(p.Stdout, p.Name, Version())
		return err
	}
	if err := p.Env.Err(); err != nil {
		return &UsageError{err}
	}
	args := flags.Args()
	onlyHealth := len(args) > 0 && args[0] == "health"
	if onlyHealth {
		args = args[1:]
	}
	if len(args) > 0 {
		port, err := strconv.Atoi(args[0])
		if err != nil || port < 0 || port > 65535 {
			return &UsageError{&settings.Error{Name: "port", Value: args[0], Want: "a number from 0 to 65535"}}
		}
		cfg.Port = port
	}
	if len(args) > 1 {
		return &UsageError{fmt.Errorf("argument %q: want nothing after the port", args[1])}
	}
	if onlyHealth {
		return CheckHealth(ctx, cfg.Host, cfg.Port)
	}
	return p.serve(ctx, cfg, build)
}

func (p Program) serve(ctx context.Context, cfg Config, build func(Parts) (http.Handler, error)) (err error) {
	// After the first signal the default takes over again: a second one ends the process at once.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	log := NewLog(p.Stdout, cfg.Log)
	tel, err := telemetry.Start(ctx, p.Env.Getenv, p.Name)
	if err != nil {
		return &UsageError{err}
	}
	defer func() {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		err = errors.Join(err, tel.Shutdown(flush))
	}()

	registry := NewRegistry()
	calls := false
	lesson := newTeaching(cfg.Teaching)
	transport := func(base http.RoundTripper) http.RoundTripper {
		calls = true
		return tel.Transport(lesson.transport(base))
	}
	handler, err := build(Parts{Log: log, Registry: registry, Transport: transport})
	if err != nil {
		return err
	}
	if closer, ok := handler.(io.Closer); ok {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	var draining atomic.Bool
	observer := Observer{Log: log, Registry: registry, Draining: &draining}
	if calls || telemetry.UsesSDK(p.Env.Getenv) { // else there is neither a request to put headers on nor a span to make
		observer.Trace = tel.Handler
	}
	srv := HTTP(observer.Handler(lesson.handler(p.Name, handler)), log)

	listener, err := Listen(ctx, cfg.Host, cfg.Port)
	if cfg.Host != "" && isAddressError(err) {
		return &UsageError{&settings.Error{Name: "LISTEN_HOST", Value: cfg.Host, Want: "an address of this machine"}}
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if cfg.Teaching {
		log.Warn("TEACHING is on: whoever reaches "+teachingPath+" breaks what this service forwards", "service", p.Name, "calls_others", calls)
	}
	log.Info("listening", "service", p.Name, "address", listener.Addr().String(), "version", Version())
	return Serve(ctx, srv, listener, Drain{Delay: cfg.DrainDelay, Timeout: cfg.ShutdownTimeout, Draining: &draining}, log)
}

// flushTimeout bounds how long the last spans may take to reach the collector at the end.
const flushTimeout = 5 * time.Second

func (p Program) help() error {
	_, err := fmt.Fprintf(p.Stdout, `%[1]s: %[2]s

Usage:
  %[1]s [PORT]           serve until SIGTERM
  %[1]s health [PORT]    ask the running service; exit 0 when it is healthy, 1 when it is not
  %[1]s --version
  %[1]s -h

Settings (environment variables, with their defaults):
`, p.Name, p.About)
	if err != nil {
		return err
	}
	return p.Env.WriteHelp(p.Stdout)
}

// version and revision are set by the linker (-X); without that they are empty.
var version, revision string

// Version names what the program was built from: the release and its commit, as far as they are known, and the version
// of Go.
func Version() string {
	v := version
	if revision != "" {
		v = cmp.Or(v, "dev") + " (" + revision + ")"
	}
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v = s.Value
			}
		}
	}
	return cmp.Or(v, "dev") + " " + runtime.Version()
}
