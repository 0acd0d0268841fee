// Package trace is what Envoy's connection manager and its two tracers, Zipkin's and OpenTelemetry's, do to the
// headers of a request, and the spans they make of it. There is no HTTP server in it: a proxy calls an [Exchange] in
// the order of Envoy's connection manager,
//
//	x.Receive(tracer, request) // who is the client, request id, what is taken from its headers
//	x.Start(operation)         // once the route is known: the decision, the context, the span
//	x.StartTry(&try, …)        // before each try upstream: a child span if asked for, the context is written
//	try.Finish(…)              // after each try
//	x.Respond(&fields)         // before the response goes down
//	x.Finish(…)                // the end: tags, report
//
// What it does in each case was recorded from Envoy 1.36 and 1.40 (internal/vectors), and follows their sources; where
// the versions differ, [Config.Profile] chooses.
package trace

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"example.com/bookinfo/propagation"
)

// Tracer is one listener's connection manager, as far as tracing goes. It is safe for concurrent use.
type Tracer struct {
	config   Config
	node     Node
	reporter Reporter
	random   func() uint64
	now      func() time.Time

	static   []Tag       // Istio's tags and the custom tags whose values are known
	dynamic  []CustomTag // custom tags from request headers
	recorded []string    // names of the trace headers, when they are recorded

	counters *Counters
}

// Counters counts decisions under the names that Envoy gives them in http.<prefix>.tracing.
type Counters struct {
	RandomSampling, ServiceForced, ClientEnabled, NotTraceable atomic.Uint64
}

// Options are what a tracer draws from its surroundings. The zero value is right outside of tests.
type Options struct {
	Random func() uint64            // safe for concurrent use; default: math/rand/v2
	Now    func() time.Time         // default: time.Now
	Getenv func(name string) string // for custom tags from the environment; default: nothing is set
	// Counters goes on counting when a listener gets a new tracer; default: new ones.
	Counters *Counters
}

// New returns a tracer whose sampled spans go to reporter.
func New(config Config, node Node, reporter Reporter, o Options) (*Tracer, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	t := &Tracer{config: config, node: node, reporter: reporter, random: o.Random, now: o.Now}
	if t.counters = o.Counters; t.counters == nil {
		t.counters = &Counters{}
	}
	if t.random == nil {
		t.random = rand.Uint64
	}
	if t.now == nil {
		t.now = time.Now
	}
	t.static = node.istioTags()
	for _, tag := range config.CustomTags {
		if tag.Header != "" {
			t.dynamic = append(t.dynamic, tag)
			continue
		}
		value := tag.Literal
		if tag.Environment != "" && o.Getenv != nil {
			value = o.Getenv(tag.Environment)
		}
		if value == "" {
			value = tag.Default
		}
		if value != "" {
			t.static = append(t.static, Tag{tag.Name, value})
		}
	}
	if config.RecordHeaders {
		for _, h := range propagation.Table() {
			t.recorded = append(t.recorded, h.Name)
		}
	}
	return t, nil
}

// Config returns what is in force.
func (t *Tracer) Config() Config { return t.config }

// Counters returns the counts of decisions. They go on counting.
func (t *Tracer) Counters() *Counters { return t.counters }
