package console

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/forward"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/remote"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/store"
)

// Config is how a console listens, what it may use and what it keeps. The zero value listens nowhere.
type Config struct {
	// Addr serves Zipkin's ingest, the queries and the pages; OTLPGRPC and OTLPHTTP take OTLP in. Each is HOST:PORT,
	// port 0 picks one; "" does not listen.
	Addr, OTLPGRPC, OTLPHTTP string
	// MaxMemory bounds what the store holds, in bytes; 0 is store.DefaultMaxBytes.
	MaxMemory int64
	// DataDir keeps spans, settings and usage across restarts; "" keeps nothing. MaxDisk bounds its journal in bytes.
	DataDir      string
	MaxDisk      int64
	SyncInterval time.Duration
	// QuotaSpans and QuotaBytes are the daily quota until it is changed in the settings; 0 is none.
	QuotaSpans, QuotaBytes int64
	// AuthFile has a line name:bcrypt for each user who may see pages and ask queries; "" lets everybody.
	AuthFile string
	// IngestToken must come with every post as a bearer token; "" asks for none.
	IngestToken string
	// Backend is an existing Jaeger or Zipkin from which pages and APIs read; nil keeps spans here. With one, posts of
	// spans are refused unless ForwardOTLP names where they go.
	Backend *remote.Backend
	// ForwardOTLP is the address of a collector that gets what is taken in, as forward.Parse reads it; "" is none.
	ForwardOTLP string
	// TLS serves all listeners with that certificate; nil serves plain text.
	TLS    *tls.Config
	Limits ingest.Limits

	Now      func() time.Time
	Location *time.Location // whose midnight resets the quota, default time.Local
	Log      *slog.Logger
	// Settle is how long after its last span a trace counts as whole and is examined; 0 is doctor.Settle, which fits
	// senders that flush every 5 s.
	Settle time.Duration
	// Pages makes what is served beside the APIs; nil serves a line of text.
	Pages func(Parts) (http.Handler, error)
}

// Parts is what pages are made from.
type Parts struct {
	Backend backend.Backend
	// Admin is nil when the spans belong to another engine.
	Admin backend.Admin
	// Note says what readers should know about the numbers, "" when nothing.
	Note string
	// Import takes in a file of spans (OTLP, Zipkin or Jaeger JSON) and tells whose traces they are.
	Import func(ctx context.Context, file io.Reader) ([]span.TraceID, error)
	// Examine says what is wrong with the request that spans belong to.
	Examine func(context.Context, []span.Span) []doctor.Finding
	// Zipkin, OTLPHTTP and OTLPGRPC are the addresses at which spans are taken in, "" where they are not.
	Zipkin, OTLPHTTP, OTLPGRPC string
	Log                        *slog.Logger
	Now                        func() time.Time
}

// ConfigError is a setting that the console cannot work with.
type ConfigError struct{ Setting, Reason string }

func (e *ConfigError) Error() string { return e.Setting + ": " + e.Reason }

// check fills in defaults.
func (c *Config) check() error {
	if c.Addr == "" && c.OTLPGRPC == "" && c.OTLPHTTP == "" {
		return &ConfigError{"addr", "want an address to listen on, HOST:PORT"}
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = store.DefaultMaxBytes
	}
	if c.MaxMemory < store.MinMaxBytes {
		return &ConfigError{"max-memory", fmt.Sprintf("%d bytes, want at least %d", c.MaxMemory, store.MinMaxBytes)}
	}
	if c.QuotaSpans < 0 || c.QuotaBytes < 0 {
		return &ConfigError{"quota", "want 0 for none, or more"}
	}
	if c.Backend != nil && c.DataDir != "" {
		return &ConfigError{"data-dir", "want none with a backend: the spans are kept there"}
	}
	if c.ForwardOTLP != "" {
		if _, err := forward.Parse(c.ForwardOTLP); err != nil {
			return &ConfigError{"forward-otlp", err.Error()}
		}
	}
	if c.SyncInterval < 0 {
		return &ConfigError{"sync-interval", "want a positive duration, such as 100ms"}
	}
	if c.MaxDisk < 0 {
		return &ConfigError{"max-disk", "want a positive size"}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Location == nil {
		c.Location = time.Local
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// isConfig reports whether a setting is at fault.
func isConfig(err error) bool {
	var e *ConfigError
	return errors.As(err, &e)
}
