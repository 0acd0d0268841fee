// Package telemetry decides, once for a process, who writes the trace context of its outgoing requests, and sets it up.
//
// In forward mode the application makes no spans, and package propagation passes on the headers that came. In sdk mode,
// which begins when OTEL_TRACES_EXPORTER names an exporter, OpenTelemetry makes a span for each request served and each
// request sent, and alone writes the context. The two are never mixed: raw B3 headers copied beside the SDK's win in the
// next proxy, and the application's spans drop out of the tree.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel/attribute"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	otelprop "go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"example.com/bookinfo/propagation"
)

// DefaultPropagators is what OTEL_PROPAGATORS means when it is not set. All of them are written. Of those that a request
// came with, the last in the list wins: B3 over W3C.
const DefaultPropagators = "tracecontext,baggage,b3multi"

// Telemetry is the choice for one process. Its methods may be called at any time until Shutdown.
type Telemetry struct {
	set propagation.Set
	sdk *sdk // nil in forward mode
}

// sdk is what otelhttp needs. It is handed over explicitly: the process-wide providers of OpenTelemetry stay untouched,
// so that several services can live in one process.
type sdk struct {
	provider   trace.TracerProvider
	propagator otelprop.TextMapPropagator
	shutdown   func(context.Context) error
}

// UsesSDK tells whether the environment asks for sdk mode: OTEL_TRACES_EXPORTER is set, and not to none.
func UsesSDK(getenv func(string) string) bool {
	exporter := strings.TrimSpace(getenv("OTEL_TRACES_EXPORTER"))
	return exporter != "" && exporter != "none"
}

// Start reads FORWARD_HEADERS, OTEL_TRACES_EXPORTER, OTEL_PROPAGATORS and OTEL_SDK_DISABLED by getenv and, in sdk mode,
// starts the exporter. The exporter, the sampler, the batches and the resource read their own OTEL_* variables from the
// environment of the process, because OpenTelemetry's libraries do; getenv cannot stand in for it there. OTEL_SERVICE_NAME
// wins over service.
//
// An error names the variable that is wrong. A collector that cannot be reached is not an error: spans are dropped then.
func Start(ctx context.Context, getenv func(string) string, service string) (*Telemetry, error) {
	set, err := propagation.Parse(getenv("FORWARD_HEADERS"))
	if err != nil {
		return nil, fmt.Errorf("FORWARD_HEADERS: %w", err)
	}
	if !UsesSDK(getenv) {
		return &Telemetry{set: set}, nil
	}
	sdk, err := startSDK(ctx, getenv, service)
	if err != nil {
		return nil, err
	}
	return &Telemetry{set: set.Only(propagation.RequestID, propagation.ClientTraceID), sdk: sdk}, nil
}

func startSDK(ctx context.Context, getenv func(string) string, service string) (*sdk, error) {
	names := getenv("OTEL_PROPAGATORS")
	if strings.TrimSpace(names) == "" {
		names = DefaultPropagators
	}
	propagator, err := autoprop.TextMapPropagator(split(names)...)
	if err != nil {
		return nil, fmt.Errorf("OTEL_PROPAGATORS=%q: %w; known: tracecontext, baggage, b3, b3multi, jaeger, xray, ottrace, none", names, err)
	}
	// The API without an SDK still passes the context on, as the specification wants of a disabled one.
	if strings.EqualFold(strings.TrimSpace(getenv("OTEL_SDK_DISABLED")), "true") {
		nothing := func(context.Context) error { return nil }
		return &sdk{tracenoop.NewTracerProvider(), propagator, nothing}, nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER=%q, OTEL_EXPORTER_OTLP_PROTOCOL=%q: %w; known exporters: otlp, console, none",
			getenv("OTEL_TRACES_EXPORTER"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), err)
	}
	// Later detectors win: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES over what the service calls itself.
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service)),
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithFromEnv(),
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, errors.Join(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))
	return &sdk{provider, propagator, provider.Shutdown}, nil
}

func split(list string) []string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Set is what is forwarded as it came: the families of FORWARD_HEADERS, of which in sdk mode only x-request-id and
// x-client-trace-id are left.
func (t *Telemetry) Set() propagation.Set { return t.set }

// Handler wraps the routes of a service: it captures the headers to forward and, in sdk mode, makes a SERVER span whose
// parent is the caller's. The span is named after the method, and the route if [http.Request.Pattern] tells it; a router
// that keeps the route to itself renames the span.
func (t *Telemetry) Handler(next http.Handler) http.Handler {
	next = propagation.Handler(t.set, next)
	if t.sdk == nil {
		return next
	}
	return otelhttp.NewHandler(next, "", t.sdk.options()...)
}

// Transport wraps the transport of a client: it sets the headers to forward and, in sdk mode, makes a CLIENT span and
// writes its context. Requests must be made with the context of the one that caused them. A nil base means
// http.DefaultTransport.
func (t *Telemetry) Transport(base http.RoundTripper) http.RoundTripper {
	forward := propagation.Transport{Base: base}
	if t.sdk == nil {
		return forward
	}
	// The semantic conventions name a CLIENT span after its method; otelhttp would write "HTTP GET".
	name := otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method })
	return otelhttp.NewTransport(forward, append(t.sdk.options(), name)...)
}

func (s *sdk) options() []otelhttp.Option {
	return []otelhttp.Option{
		otelhttp.WithTracerProvider(s.provider),
		otelhttp.WithPropagators(s.propagator),
		otelhttp.WithMeterProvider(metricnoop.NewMeterProvider()),
	}
}

// Shutdown sends the spans that are still waiting and stops the exporter. It gives up when ctx is done.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.sdk == nil {
		return nil
	}
	if err := t.sdk.shutdown(ctx); err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}

// NameByRoute names the SERVER span of ctx, if there is one, as the semantic conventions want it: after the method and
// the pattern of the route, which only the router knows.
func NameByRoute(ctx context.Context, method, route string) {
	if span := trace.SpanFromContext(ctx); route != "" && span.IsRecording() {
		span.SetName(method + " " + route)
		span.SetAttributes(attribute.String("http.route", route))
	}
}
