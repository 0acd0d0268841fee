package server

import (
	"context"
	"net/http"

	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/propagation"
)

func declareTelemetry(env *settings.Env) {
	env.Declare("FORWARD_HEADERS", "", "families or names of the headers to forward, -name to leave one out, or none; default all that are known")
	env.Declare("OTEL_TRACES_EXPORTER", "none", "none forwards trace headers as they came; otlp, console and others make spans, set by the OTEL_* variables")
	if _, err := propagation.Parse(env.Getenv("FORWARD_HEADERS")); err != nil {
		env.Reject("FORWARD_HEADERS", err.Error())
	}
}

type tel struct{ set propagation.Set }

func startTelemetry(_ context.Context, env *settings.Env, _ string) (tel, error) {
	set, err := propagation.Parse(env.Getenv("FORWARD_HEADERS"))
	return tel{set}, err
}

func (t tel) Handler(next http.Handler) http.Handler { return propagation.Handler(t.set, next) }

func (tel) Transport(base http.RoundTripper) http.RoundTripper {
	return propagation.Transport{Base: base}
}

func (tel) Shutdown(context.Context) error { return nil }
