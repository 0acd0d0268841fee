package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/access"
	"example.com/bookinfo/services/sidecar/report"
	"example.com/bookinfo/services/sidecar/stats"
	"example.com/bookinfo/services/sidecar/trace"
)

// run starts the sidecar that args describe and ends with ctx.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) (err error) {
	switch {
	case len(args) > 0 && args[0] == "health":
		return health(ctx, args[1:])
	case len(args) == 1 && args[0] == "--version":
		return printVersion(stdout)
	}
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	config, err := o.config()
	if err != nil {
		return usage(err)
	}
	config.Getenv, config.Stats = getenv, stats.New()
	reporter, err := o.reporter(stderr)
	if err != nil {
		return usage(err)
	}
	if reporter != nil {
		config.Reporter = reporter
		defer func() { err = errors.Join(err, closeWithin(reporter.Close)) }()
	}
	if o.accessLog != "" {
		log, openErr := o.openLog(stderr)
		if openErr != nil {
			return usage(openErr)
		}
		config.AccessLog = log
		defer func() { err = errors.Join(err, closeWithin(log.Close)) }()
	}
	if getenv("GOGC") == "" {
		debug.SetGCPercent(50) // there is one beside every application: memory counts more than the last percent of speed
	}
	s, err := sidecar.Start(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // only the first call acts
	ready := map[string]any{}
	for _, d := range []trace.Direction{trace.Inbound, trace.Outbound, trace.Gateway} {
		switch addrs := s.Addrs(d); len(addrs) {
		case 0:
		case 1:
			ready[string(d)] = addrs[0]
		default:
			ready[string(d)] = addrs
		}
	}
	if o.admin != "" {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.admin)
		if err != nil {
			return fmt.Errorf("admin %s: cannot listen: %w", o.admin, err)
		}
		ready["admin"] = ln.Addr().String()
		admin := &http.Server{Handler: s.AdminHandler(reporter), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
		go func() { _ = admin.Serve(ln) }() // it ends with Close
		defer func() { _ = admin.Close() }()
	}
	if err := json.NewEncoder(stdout).Encode(ready); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}

// closeTimeout bounds what is still sent or written at the end.
const closeTimeout = 3 * time.Second

func closeWithin(end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return end(ctx)
}

func (o *options) check() error {
	switch {
	case o.identity.Service == "":
		return errors.New("--service: want the name of the workload's service, for example reviews")
	case len(o.inbound)+len(o.outbound)+len(o.gateway) == 0:
		return errors.New("no listener: want at least one of --inbound, --outbound, --gateway")
	case o.zipkin != "" && o.otlp != "":
		return errors.New("--zipkin and --otlp: want one of them")
	case o.gatewaySpans != 1 && o.gatewaySpans != 2:
		return fmt.Errorf("--gateway-spans %d: want 1 or 2", o.gatewaySpans)
	case o.servicePort < 1 || o.servicePort > 65535:
		return fmt.Errorf("--service-port %d: want a port from 1 to 65535", o.servicePort)
	case o.flush <= 0:
		return fmt.Errorf("--flush-interval %v: want a time above 0", o.flush)
	}
	if _, err := netip.ParseAddr(o.identity.PodIP); err != nil {
		return fmt.Errorf("--pod-ip %q: want an IP address", o.identity.PodIP)
	}
	if o.asmVersion != "" {
		format, err := trace.FormatOfASM(o.asmVersion)
		if err != nil {
			return fmt.Errorf("--asm-version %w", err)
		}
		o.format = string(format)
	}
	for name, addrs := range map[string]list{"inbound": o.inbound, "outbound": o.outbound, "gateway": o.gateway, "admin": {o.admin}} {
		for _, text := range addrs {
			if addr, _, _ := strings.Cut(text, "="); (text != "" || name != "admin") && !listenable(addr) {
				return fmt.Errorf("--%s %q: %q is no address to listen at, want HOST:PORT; port 0 picks one", name, text, addr)
			}
		}
	}
	o.tracing.Format, o.tracing.Profile = trace.Format(o.format), trace.Profile(o.profile)
	return o.tracing.Validate()
}

// listenable tells whether addr is HOST:PORT, where the host may be empty: every address.
func listenable(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// config makes the sidecar's of the flags.
func (o *options) config() (sidecar.Config, error) {
	o.identity = o.identity.WithDefaults()
	if id := &o.identity; id.NodeID == "" { // of the same form for every listener, as one process may have all kinds
		id.NodeID = "sidecar~" + id.PodIP + "~" + id.Pod + "." + id.Namespace + "~" + id.Namespace + ".svc.cluster.local"
	}
	c := sidecar.Config{
		Identity: o.identity, Tracing: o.tracing, GatewaySpans: o.gatewaySpans,
		NoDecoratorPropagation: !o.decoratorPropagate,
	}
	d := &sidecar.Destinations{
		Namespace: o.identity.Namespace, Port: o.servicePort, Operation: o.decoratorOperation, Retries: o.retries,
	}
	for _, e := range o.endpoints {
		name, addrs, ok := strings.Cut(e, "=")
		if !ok || name == "" || addrs == "" {
			return c, fmt.Errorf("--endpoint %q: want NAME[:SUBSET]=HOST:PORT[,...]", e)
		}
		name, subset, _ := strings.Cut(name, ":")
		if err := d.Add(name, subset, strings.Split(addrs, ",")); err != nil {
			return c, fmt.Errorf("--endpoint %q: %w", e, err)
		}
	}
	for _, l := range o.inbound {
		addr, app, ok := strings.Cut(l, "=")
		if !ok {
			return c, fmt.Errorf("--inbound %q: want ADDR=APP, for example 0.0.0.0:15006=127.0.0.1:9080", l)
		}
		table, err := d.Inbound(o.identity.Service, app)
		if err != nil {
			return c, fmt.Errorf("--inbound %q: %w", l, err)
		}
		c.Listeners = append(c.Listeners, sidecar.Listener{Direction: trace.Inbound, Addr: addr, Table: table})
	}
	for _, l := range o.outbound {
		addr, destination, fixed := strings.Cut(l, "=")
		table := d.Outbound()
		if fixed {
			var err error
			if table, err = d.To(destination); err != nil {
				return c, fmt.Errorf("--outbound %q: %w", l, err)
			}
		}
		c.Listeners = append(c.Listeners, sidecar.Listener{Direction: trace.Outbound, Addr: addr, Table: table})
	}
	for _, l := range o.gateway {
		addr, destination, ok := strings.Cut(l, "=")
		if !ok {
			return c, fmt.Errorf("--gateway %q: want ADDR=DESTINATION, for example 0.0.0.0:8080=productpage", l)
		}
		table, err := d.To(destination)
		if err != nil {
			return c, fmt.Errorf("--gateway %q: %w", l, err)
		}
		c.Listeners = append(c.Listeners, sidecar.Listener{Direction: trace.Gateway, Addr: addr, Table: table})
	}
	return c, nil
}

// reporter is where spans go; nil without a collector.
func (o *options) reporter(stderr io.Writer) (*report.Reporter, error) {
	protocol, collector := "zipkin", o.zipkin
	if o.otlp != "" {
		protocol, collector = "otlp", o.otlp
	}
	headers, err := o.collectorHeaders()
	if err != nil || collector == "" {
		return nil, err
	}
	return report.New(protocol, report.Options{
		Collector: collector, Service: o.identity.Service + "." + o.identity.Namespace, Address: o.identity.PodIP,
		Version: server.Version(), FlushInterval: o.flush, Profile: o.tracing.Profile,
		Headers: headers, Log: slog.New(slog.NewTextHandler(stderr, nil)),
	})
}

// collectorHeaders reads --collector-header. Its error does not repeat the value, which mostly is a secret.
func (o *options) collectorHeaders() (http.Header, error) {
	headers := http.Header{}
	for i, text := range o.headers {
		name, value, ok := strings.Cut(text, "=")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("--collector-header, number %d: want NAME=VALUE, for example Authentication=TOKEN", i+1)
		}
		headers.Add(name, value)
	}
	if len(headers) > 0 && o.zipkin == "" && o.otlp == "" {
		return nil, fmt.Errorf("--collector-header: want it beside --zipkin or --otlp")
	}
	return headers, nil
}

func (o *options) openLog(stderr io.Writer) (*access.Log, error) {
	out := stderr
	if o.accessLog != "-" {
		f, err := os.OpenFile(o.accessLog, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("--access-log: %w", err)
		}
		out = f
	}
	return access.New(out, o.accessFormat)
}
