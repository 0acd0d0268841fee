package server

import (
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/internal/telemetry"
	"example.com/bookinfo/propagation"
)

// declareTelemetry lists the variables that package telemetry reads, and refuses a wrong FORWARD_HEADERS with the other
// wrong settings.
func declareTelemetry(env *settings.Env) {
	env.Declare("FORWARD_HEADERS", "", "trace headers to forward: families or names, -name to leave one out, or none; default all")
	env.Declare("OTEL_TRACES_EXPORTER", "none", "none: forward headers, make no spans; otlp, console: make spans, by the OTEL_* variables")
	env.Declare("OTEL_PROPAGATORS", telemetry.DefaultPropagators, "formats of the trace context when spans are made")
	if _, err := propagation.Parse(env.Getenv("FORWARD_HEADERS")); err != nil {
		env.RejectFor("FORWARD_HEADERS", err)
	}
}
