// Package console is the trace console: it takes spans in (Zipkin, OTLP), keeps them, answers questions about them
// and serves pages. ingest, store, account and journal are its engine; query and web are what people ask it through.
package console

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/services/console/account"
	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/clinic"
	"example.com/bookinfo/services/console/forward"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/journal"
	"example.com/bookinfo/services/console/store"
)

const (
	stateFile = "state.json"
	// saveEvery is how often settings and usage are written, when they changed.
	saveEvery = time.Second
	// examineEvery is how often the doctor looks at the traces that have settled.
	examineEvery = 500 * time.Millisecond
	// shutdownTimeout bounds how long requests in flight may take at the end.
	shutdownTimeout = 5 * time.Second
)

// Console runs. Its addresses are those that were opened, "" where it does not listen.
type Console struct {
	Addr, OTLPGRPC, OTLPHTTP string
	URL                      string // of the pages

	cfg      Config
	store    *store.Store
	account  *account.Account
	journal  *journal.Journal
	receiver *ingest.Receiver
	forwards *forward.Forwarder // nil when nothing is forwarded
	clinic   *clinic.Clinic
	registry *prometheus.Registry
	draining atomic.Bool

	listeners []net.Listener
	https     []*http.Server
	grpc      *grpc.Server
	failed    chan error
	stop      context.CancelFunc
	saved     chan struct{}
}

// admin is the account with the store's notice of changes.
type admin struct {
	*account.Account
	*store.Store
}

func (a admin) Subscribe(ctx context.Context, f func(traceID)) { a.Store.Subscribe(ctx, f) }

// Start opens the store and every listener and serves until Close. Everything can be asked when it returns.
func Start(ctx context.Context, cfg Config) (_ *Console, err error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Console{cfg: cfg, failed: make(chan error, 3), saved: make(chan struct{}), registry: server.NewRegistry()}
	defer func() {
		if err != nil {
			c.abandon()
		}
	}()
	c.store = store.New(store.Options{MaxBytes: cfg.MaxMemory, Now: cfg.Now})
	c.clinic = clinic.New(c.store, cfg.Now, cfg.Settle)
	c.account = account.New(account.Options{Now: cfg.Now, Location: cfg.Location, QuotaSpans: cfg.QuotaSpans,
		QuotaBytes: cfg.QuotaBytes, Held: func() (int64, int64, int64, int64) {
			s := c.store.Stats()
			return s.Spans, s.Bytes, s.MaxBytes, s.Evicted
		}})
	c.receiver = &ingest.Receiver{Store: c.store, Account: c.account, Limits: cfg.Limits, Now: cfg.Now,
		Metrics: ingest.NewMetrics(c.registry), Token: cfg.IngestToken}
	if cfg.DataDir != "" {
		if err := c.restore(); err != nil {
			return nil, err
		}
	}
	c.registry.MustRegister(gauges{c})
	if cfg.Backend != nil {
		c.readFrom(ctx, cfg.Backend)
	}
	if err := c.listen(ctx); err != nil {
		return nil, err
	}
	if err := c.forward(ctx); err != nil {
		return nil, err
	}
	handler, err := c.handler()
	if err != nil {
		return nil, err
	}
	c.serve(handler)
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	go c.saveRegularly(run)
	examine := time.NewTicker(examineEvery)
	context.AfterFunc(run, examine.Stop)
	subscribe := c.store.Subscribe
	if cfg.Backend != nil {
		subscribe = nil // another engine does not tell what changes
	}
	go c.clinic.Run(run, subscribe, examine.C)
	return c, nil
}

// restore brings back settings, usage and spans from the data folder.
func (c *Console) restore() error {
	cfg := &c.cfg
	// The lock comes first: another console may be writing.
	var frames int
	restored := false
	j, err := journal.Open(cfg.DataDir, journal.Options{MaxBytes: cfg.MaxDisk, SyncInterval: cfg.SyncInterval, Log: cfg.Log,
		Locked: func() error {
			data, err := journal.ReadFile(cfg.DataDir, stateFile)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil {
				err = c.account.Restore(data)
			}
			if err != nil {
				return &ConfigError{"data-dir", fmt.Sprintf("%s in %s: %v; remove the file to begin with the settings of the command line", stateFile, cfg.DataDir, err)}
			}
			restored = true
			return nil
		}}, func(f journal.Frame, block uint64) {
		frames++
		c.receiver.Replay(f, block)
	})
	if err != nil {
		if isConfig(err) {
			return err
		}
		return &ConfigError{"data-dir", err.Error()}
	}
	c.journal, c.receiver.Journal = j, j
	if restored || frames > 0 {
		cfg.Log.Info("restored", "folder", cfg.DataDir, "posts", frames, "spans", c.store.Stats().Spans)
	}
	return nil
}

func (c *Console) listen(ctx context.Context) error {
	var lc net.ListenConfig
	for _, l := range []struct {
		setting, addr string
		out           *string
	}{{"addr", c.cfg.Addr, &c.Addr}, {"otlp-grpc", c.cfg.OTLPGRPC, &c.OTLPGRPC}, {"otlp-http", c.cfg.OTLPHTTP, &c.OTLPHTTP}} {
		if l.addr == "" {
			c.listeners = append(c.listeners, nil)
			continue
		}
		if _, _, err := net.SplitHostPort(l.addr); err != nil {
			return &ConfigError{l.setting, fmt.Sprintf("%q: want HOST:PORT", l.addr)}
		}
		listener, err := lc.Listen(ctx, "tcp", l.addr)
		if err != nil {
			return fmt.Errorf("%s: %w", l.setting, err)
		}
		c.listeners = append(c.listeners, listener)
		*l.out = listener.Addr().String()
		c.sayWhoReaches(l.setting, listener.Addr())
	}
	scheme := "http"
	if c.cfg.TLS != nil {
		scheme = "https"
	}
	if c.Addr != "" {
		c.URL = scheme + "://" + dialable(c.Addr) + "/"
	}
	return nil
}

// sayWhoReaches warns when others than this machine can.
func (c *Console) sayWhoReaches(setting string, addr net.Addr) {
	if tcp, ok := addr.(*net.TCPAddr); !ok || tcp.IP.IsLoopback() {
		return
	}
	guard := "anybody who reaches it may read and write; --auth-file and --ingest-token-file guard it"
	switch pages, posts := c.cfg.AuthFile != "", c.cfg.IngestToken != ""; {
	case setting != "addr" && posts, pages && posts:
		guard = "guarded"
	case setting == "addr" && pages:
		guard = "pages and queries are guarded; --ingest-token-file guards ingest"
	case setting == "addr" && posts:
		guard = "ingest is guarded; --auth-file guards pages and queries"
	}
	c.cfg.Log.Warn("listening beyond this machine", "listener", setting, "address", addr.String(), "guard", guard)
}

// dialable replaces the address that means all by one that can be called.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return addr
}

func (c *Console) serve(handler http.Handler) {
	otlp := c.otlpHandler()
	for i, h := range []http.Handler{handler, nil, otlp} {
		if c.listeners[i] == nil || h == nil {
			continue
		}
		srv := server.HTTP(h, c.cfg.Log)
		l := c.listeners[i]
		if c.cfg.TLS != nil {
			l = tls.NewListener(l, c.cfg.TLS)
		}
		c.https = append(c.https, srv)
		go func() { c.ended(srv.Serve(l)) }()
	}
	if l := c.listeners[1]; l != nil {
		opts := append(c.receiver.ServerOptions(),
			grpc.ConnectionTimeout(5*time.Second), grpc.MaxConcurrentStreams(256), grpc.MaxHeaderListSize(64<<10),
			grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 10 * time.Minute, Time: time.Minute}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}))
		if c.cfg.TLS != nil {
			opts = append(opts, grpc.Creds(credentials.NewTLS(c.cfg.TLS)))
		}
		opts = append(opts, grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return status.Error(codes.Unimplemented, "this console takes opentelemetry.proto.collector.trace.v1.TraceService alone, and with --backend only if it has --forward-otlp")
		}))
		c.grpc = grpc.NewServer(opts...)
		if c.takes() {
			c.receiver.Register(c.grpc)
		}
		go func() { c.ended(c.grpc.Serve(l)) }()
	}
}

func (c *Console) ended(err error) {
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
		select {
		case c.failed <- err:
		default:
		}
	}
}

// Failed gets the error of a listener that ended by itself.
func (c *Console) Failed() <-chan error { return c.failed }

// Backend answers questions about the spans, Admin about the console's own state.
func (c *Console) Backend() backend.Backend { return c.clinic.Backend() }

// Admin is usage, push log and settings; nil when the spans belong to another engine.
func (c *Console) Admin() backend.Admin {
	if c.cfg.Backend != nil {
		return nil
	}
	return admin{c.account, c.store}
}

func (c *Console) saveRegularly(ctx context.Context) {
	defer close(c.saved)
	if c.journal == nil {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.save()
		case <-ctx.Done():
			c.save()
			return
		}
	}
}

// save writes settings and usage, of the very posts that the journal has on disk.
func (c *Console) save() {
	var data []byte
	var changed bool
	var err error
	c.receiver.Commit(func() { data, changed, err = c.account.Save(c.journal.Sync()) })
	if err == nil && changed {
		err = c.journal.WriteFile(stateFile, data)
	}
	if err != nil {
		c.cfg.Log.Error("settings and usage cannot be written; they are kept in memory alone until they can", "folder", c.cfg.DataDir, "error", err.Error())
	}
}

// Drain makes /readyz say 503, while everything is still served.
func (c *Console) Drain() { c.draining.Store(true) }

// Close stops taking requests, finishes those in flight, and writes what is not on disk yet.
func (c *Console) Close() error {
	c.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c.grpc != nil {
			c.grpc.GracefulStop()
		}
	}()
	var errs []error
	for _, srv := range c.https {
		err := srv.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = srv.Close()
		}
		errs = append(errs, err)
	}
	select {
	case <-done:
	case <-ctx.Done():
		if c.grpc != nil {
			c.grpc.Stop()
		}
	}
	c.stop()
	<-c.saved
	if c.forwards != nil {
		errs = append(errs, c.forwards.Close(ctx))
	}
	if c.journal != nil {
		errs = append(errs, c.journal.Close())
	}
	return errors.Join(errs...)
}

// abandon lets go of what a failed Start opened.
func (c *Console) abandon() {
	for _, l := range c.listeners {
		if l != nil {
			_ = l.Close()
		}
	}
	if c.journal != nil {
		_ = c.journal.Close()
	}
	if c.forwards != nil {
		_ = c.forwards.Close(context.Background())
	}
}
