package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/internal/traceid"
)

// LogConfig is the form of the log.
type LogConfig struct {
	Format string     // json or text
	Level  slog.Level // the least that is written
}

// LogFromEnv reads LOG_FORMAT and LOG_LEVEL.
func LogFromEnv(env *settings.Env) LogConfig {
	var cfg LogConfig
	cfg.Format = env.OneOf("LOG_FORMAT", "json", "form of the log on standard output", "json", "text")
	level := env.OneOf("LOG_LEVEL", "info", "least level of the log; requests are info", "debug", "info", "warn", "error")
	if err := cfg.Level.UnmarshalText([]byte(level)); err != nil {
		env.Reject("LOG_LEVEL", "debug, info, warn or error")
	}
	return cfg
}

// NewLog returns a logger that writes to w. Lines that are logged with the context of a request carry its trace id,
// span id and x-request-id.
func NewLog(w io.Writer, cfg LogConfig) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.Format == "text" {
		return slog.New(idHandler{slog.NewTextHandler(w, options)})
	}
	return slog.New(idHandler{slog.NewJSONHandler(w, options)})
}

// idHandler adds the ids of the request that a line belongs to.
type idHandler struct{ slog.Handler }

func (h idHandler) Handle(ctx context.Context, line slog.Record) error {
	if record := recordOf(ctx); record != nil {
		line.AddAttrs(record.ids(ctx)...)
	}
	return h.Handler.Handle(ctx, line)
}

func (h idHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return idHandler{h.Handler.WithAttrs(attrs)}
}

func (h idHandler) WithGroup(name string) slog.Handler {
	return idHandler{h.Handler.WithGroup(name)}
}

// maxRequestID bounds the x-request-id of a log line, in bytes; Envoy's are 36.
const maxRequestID = 128

// ids returns the trace id, span id and x-request-id of the request: those of the span that the SDK made for it, or
// else those that it came with.
func (rec *record) ids(ctx context.Context) []slog.Attr {
	attrs := make([]slog.Attr, 0, 3)
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		attrs = append(attrs, slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	} else if ids := traceid.From(rec.header); ids.Trace != "" {
		attrs = append(attrs, slog.String("trace_id", ids.Trace), slog.String("span_id", ids.Span))
	}
	if values := rec.header["X-Request-Id"]; len(values) > 0 && values[0] != "" {
		attrs = append(attrs, slog.String("x-request-id", values[0][:min(len(values[0]), maxRequestID)]))
	}
	return attrs
}

// logRequest writes the one line of a request.
func logRequest(log *slog.Logger, r *http.Request, rec *record, start time.Time, took time.Duration) {
	ctx := r.Context()
	if !log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	// Built by hand because Logger.LogAttrs would look up its caller, a tenth of the cost of a line, for nobody.
	line := slog.NewRecord(start.Add(took), slog.LevelInfo, "request", 0)
	line.AddAttrs(
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", rec.status),
		slog.Int64("bytes", rec.bytes),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
	)
	if rec.err != nil {
		line.AddAttrs(slog.String("error", rec.err.Error()))
	}
	_ = log.Handler().Handle(ctx, line) // as a Logger does: there is no place to report a log that fails
}
