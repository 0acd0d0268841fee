package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"example.com/bookinfo/cmd/console/pages"
	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/journal"
	"example.com/bookinfo/services/console/remote"
	"example.com/bookinfo/services/console/store"
)

const usage = `console: take spans in, keep them, show them

Usage:
  console [FLAGS]           serve until SIGTERM; one line of JSON with the addresses when ready
  console health [FLAGS]    ask the console at --addr; exit 0 when it is ready, 1 when it is not
  console --version

Sizes are bytes, or end in KB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024).

Flags:
`

// ready is the line that says where the console listens.
type ready struct {
	Addr     string `json:"addr,omitempty"`
	OTLPGRPC string `json:"otlp-grpc,omitempty"`
	OTLPHTTP string `json:"otlp-http,omitempty"`
	Console  string `json:"console,omitempty"`
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "health" {
		return health(ctx, args[1:])
	}
	cfg, drain, err := parse(args, getenv, stdout)
	if err != nil || cfg == nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(stderr, nil))
	cfg.Pages = pages.Of
	// The heap may exceed what the store counts by its garbage, but not by much: near the limit the collector runs more
	// often, far below it less often than by default, which costs senders less. The program itself is some 20 MB more.
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cfg.MaxMemory + cfg.MaxMemory/5 + 20<<20)
	}
	if getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
	c, err := console.Start(ctx, *cfg)
	var wrong *console.ConfigError
	if errors.As(err, &wrong) {
		return &server.UsageError{Err: err}
	}
	if err != nil {
		return err
	}
	if err := json.NewEncoder(stdout).Encode(ready{c.Addr, c.OTLPGRPC, c.OTLPHTTP, c.URL}); err != nil {
		return errors.Join(err, c.Close())
	}
	select {
	case <-ctx.Done():
		c.Drain()
		time.Sleep(drain)
		return c.Close()
	case err := <-c.Failed():
		return errors.Join(err, c.Close())
	}
}

// parse reads the flags. A nil config without an error means that there is nothing to serve.
func parse(args []string, getenv func(string) string, stdout io.Writer) (*console.Config, time.Duration, error) {
	wrong := func(format string, args ...any) error { return &server.UsageError{Err: fmt.Errorf(format, args...)} }
	cfg := &console.Config{Limits: ingest.DefaultLimits()}
	f := flag.NewFlagSet("console", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&cfg.Addr, "addr", "127.0.0.1:9411", "`HOST:PORT` of Zipkin's ingest, the APIs and the pages; port 0 picks one")
	f.StringVar(&cfg.OTLPGRPC, "otlp-grpc", "127.0.0.1:4317", "`HOST:PORT` of OTLP over gRPC; empty: not served")
	f.StringVar(&cfg.OTLPHTTP, "otlp-http", "127.0.0.1:4318", "`HOST:PORT` of OTLP over HTTP; empty: not served")
	size := func(name string, p *int64, def int64, about string) {
		*p = def
		f.Func(name, about+" (default "+sizeText(def)+")", func(s string) error { return setSize(p, s) })
	}
	size("max-memory", &cfg.MaxMemory, store.DefaultMaxBytes, "`SIZE` of the spans held in memory; the oldest go first")
	f.StringVar(&cfg.DataDir, "data-dir", "", "`FOLDER` that keeps spans, settings and usage across restarts")
	size("max-disk", &cfg.MaxDisk, journal.DefaultMaxBytes, "`SIZE` of the journal in the data folder")
	f.DurationVar(&cfg.SyncInterval, "sync-interval", journal.DefaultSyncInterval, "how long a span may be in memory alone, with --data-dir")
	f.Int64Var(&cfg.QuotaSpans, "quota-spans", 0, "spans a day; 0 is no quota")
	size("quota-bytes", &cfg.QuotaBytes, 0, "`SIZE` of the posts a day; 0 is no quota")
	from := f.String("backend", "", "`jaeger=URL or zipkin=URL`: read from that engine instead of keeping spans here")
	var headers []string
	f.Func("backend-header", "`NAME=VALUE` sent with every question to the backend, such as a token; repeatable", func(s string) error {
		headers = append(headers, s)
		return nil
	})
	f.StringVar(&cfg.ForwardOTLP, "forward-otlp", "", "`URL` of a collector that also gets what is taken in: http://HOST:4318 or grpc://HOST:4317")
	f.StringVar(&cfg.AuthFile, "auth-file", "", "`FILE` with a line name:bcrypt for each user of pages and APIs (htpasswd -B)")
	tokenFile := f.String("ingest-token-file", "", "`FILE` with the bearer token that posts of spans must bring; also CONSOLE_INGEST_TOKEN")
	cert := f.String("tls-cert", "", "`FILE` with the certificate chain (PEM); all listeners then speak TLS")
	key := f.String("tls-key", "", "`FILE` with the private key of --tls-cert")
	size("max-body", &cfg.Limits.Body, cfg.Limits.Body, "`SIZE` of one post on the wire")
	size("max-decoded", &cfg.Limits.Decoded, cfg.Limits.Decoded, "`SIZE` of one post after decompression")
	f.IntVar(&cfg.Limits.Spans, "max-spans", cfg.Limits.Spans, "spans in one post")
	f.IntVar(&cfg.Limits.Tags, "max-tags", cfg.Limits.Tags, "tags of one span; more are cut")
	f.IntVar(&cfg.Limits.Value, "max-value", cfg.Limits.Value, "bytes of one tag's value; more are cut")
	drain := f.Duration("drain-delay", 0, "how long to serve on after SIGTERM, while /readyz says 503")
	version := f.Bool("version", false, "print the version")

	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(stdout, usage)
		f.SetOutput(stdout)
		f.PrintDefaults()
		return nil, 0, nil
	} else if err != nil {
		return nil, 0, wrong("%w; -h shows what is understood", err)
	}
	if *version {
		_, err := fmt.Fprintln(stdout, "console", server.Version())
		return nil, 0, err
	}
	switch {
	case f.NArg() > 0:
		return nil, 0, wrong("argument %q: want flags only", f.Arg(0))
	case cfg.SyncInterval <= 0:
		return nil, 0, wrong("--sync-interval %s: want a positive duration, such as 100ms", cfg.SyncInterval)
	case cfg.QuotaSpans < 0:
		return nil, 0, wrong("--quota-spans %d: want 0 for no quota, or more", cfg.QuotaSpans)
	case cfg.Limits.Spans <= 0 || cfg.Limits.Tags <= 0 || cfg.Limits.Value < 16:
		return nil, 0, wrong("--max-spans, --max-tags: want at least 1; --max-value: want at least 16")
	case cfg.Limits.Body == 0 || cfg.Limits.Decoded == 0 || cfg.Limits.Decoded > math.MaxInt32:
		return nil, 0, wrong("--max-body, --max-decoded: want from 1 byte to 2 GB")
	case len(headers) > 0 && *from == "":
		return nil, 0, wrong("--backend-header: want it beside --backend")
	case *drain < 0:
		return nil, 0, wrong("--drain-delay %s: want 0 or more", *drain)
	case (*cert == "") != (*key == ""):
		return nil, 0, wrong("--tls-cert and --tls-key: want both or none")
	}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return nil, 0, wrong("--tls-cert: %w", err)
		}
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	}
	if *from != "" {
		engine, err := remote.Parse(*from)
		if err != nil {
			return nil, 0, wrong("--backend %w", err)
		}
		engine.Now, engine.Header = time.Now, http.Header{}
		for i, text := range headers {
			name, value, ok := strings.Cut(text, "=")
			if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
				// Without the value, which mostly is a secret.
				return nil, 0, wrong("--backend-header, number %d: want NAME=VALUE, for example Authorization=Bearer TOKEN", i+1)
			}
			engine.Header.Add(name, value)
		}
		cfg.Backend = remote.New(engine)
	}
	cfg.IngestToken = getenv("CONSOLE_INGEST_TOKEN")
	if *tokenFile != "" {
		data, err := os.ReadFile(*tokenFile)
		if err != nil {
			return nil, 0, wrong("--ingest-token-file: %w", err)
		}
		if cfg.IngestToken = strings.TrimSpace(string(data)); cfg.IngestToken == "" {
			return nil, 0, wrong("--ingest-token-file: %s is empty", *tokenFile)
		}
	}
	return cfg, *drain, nil
}

// setSize reads "256MiB", "1.5GB" or plain bytes.
func setSize(p *int64, s string) error {
	number, unit := s, int64(1)
	for _, u := range [...]struct {
		suffix string
		bytes  int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}} {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 0) || v*float64(unit) > 1<<53 {
		return errors.New("want a size such as 268435456 or 256MiB")
	}
	*p = int64(v * float64(unit))
	return nil
}

func sizeText(n int64) string {
	switch {
	case n > 0 && n%(1<<30) == 0:
		return strconv.FormatInt(n>>30, 10) + "GiB"
	case n > 0 && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + "MiB"
	}
	return strconv.FormatInt(n, 10)
}
