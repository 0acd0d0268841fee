// Package otelforward is an OpenTelemetry propagator that passes the trace headers of a mesh on as they came.
//
// An application behind sidecars that is instrumented with OpenTelemetry but exports no spans breaks the mesh's traces:
// its SDK writes the ids of spans that nobody ever receives. With this propagator in the place of tracecontext or b3 the
// instrumentation stays, and the headers of the incoming request leave byte for byte:
//
//	otel.SetTextMapPropagator(otelforward.New(propagation.All()))
//
// It neither reads nor writes the span context of the SDK, so spans that the SDK does make are roots. Do not combine it
// with a propagator that writes the same headers.
package otelforward

import (
	"context"
	"net/http"

	otelprop "go.opentelemetry.io/otel/propagation"

	"example.com/bookinfo/propagation"
)

// Propagator is an OpenTelemetry TextMapPropagator. The zero value forwards nothing.
type Propagator struct {
	set propagation.Set
}

var _ otelprop.TextMapPropagator = Propagator{}

// New returns a propagator for the headers of set.
func New(set propagation.Set) Propagator { return Propagator{set} }

// Extract captures the headers of the set from an incoming carrier. A carrier that can tell all the values of a key is
// asked for all of them, so that lines of tracestate are joined; of any other the one value it gives is taken.
func (p Propagator) Extract(ctx context.Context, carrier otelprop.TextMapCarrier) context.Context {
	captured := p.set.CaptureFunc(values(carrier))
	if captured.Len() == 0 {
		return ctx
	}
	return propagation.NewContext(ctx, captured)
}

// Inject sets the captured headers on an outgoing carrier, narrowed to those of the set.
func (p Propagator) Inject(ctx context.Context, carrier otelprop.TextMapCarrier) {
	propagation.FromContext(ctx).Only(p.set).All(func(name, value string) bool {
		carrier.Set(name, value)
		return true
	})
}

// Fields returns the names of the headers that Inject may set.
func (p Propagator) Fields() []string {
	var names []string
	for _, h := range p.set.Headers() {
		names = append(names, h.Name)
	}
	return names
}

// values finds the way to ask a carrier. Carriers of newer versions of OpenTelemetry have the method Values; those of
// older ones do not, but HeaderCarrier has always been an http.Header.
func values(carrier otelprop.TextMapCarrier) func(string) []string {
	switch c := carrier.(type) {
	case otelprop.HeaderCarrier:
		return http.Header(c).Values
	case interface{ Values(key string) []string }:
		return c.Values
	}
	return func(name string) []string {
		if value := carrier.Get(name); value != "" {
			return []string{value}
		}
		return nil
	}
}
