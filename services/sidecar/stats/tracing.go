package stats

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/bookinfo/services/sidecar/report"
	"example.com/bookinfo/services/sidecar/trace"
)

// counter is one of Envoy's counters: its name with dots, and where it counts. A prefix is Envoy's stat_prefix of a
// connection manager, which becomes a label in Prometheus.
type counter struct {
	name   string
	prefix string
	value  *atomic.Uint64
}

// Tracing collects the counters of reporters and of listeners' tracers under Envoy's names: tracing.zipkin.spans_sent
// becomes envoy_tracing_zipkin_spans_sent. It is a prometheus.Collector.
type Tracing struct{ counters []counter }

// AddReporter adds the counters of a reporter.
func (t *Tracing) AddReporter(r *report.Reporter) {
	c, prefix := r.Counters(), "tracing."+r.Name()+"."
	add := func(name string, value *atomic.Uint64) {
		t.counters = append(t.counters, counter{name: prefix + name, value: value})
	}
	add("spans_sent", &c.SpansSent)
	add("spans_dropped", &c.SpansDropped)
	add("timer_flushed", &c.TimerFlushed)
	add("reports_sent", &c.ReportsSent)
	add("reports_dropped", &c.ReportsDropped)
	add("reports_failed", &c.ReportsFailed)
	add("reports_skipped_no_cluster", &c.ReportsSkippedNoCluster)
	add("reports_not_acceptable", &c.ReportsNotAcceptable)
}

// AddTracer adds the decisions of a listener's tracer, under the prefix of its connection manager, such as
// "outbound_0.0.0.0_9080".
func (t *Tracing) AddTracer(prefix string, c *trace.Counters) {
	add := func(name string, value *atomic.Uint64) {
		t.counters = append(t.counters, counter{name: "http.tracing." + name, prefix: prefix, value: value})
	}
	add("random_sampling", &c.RandomSampling)
	add("service_forced", &c.ServiceForced)
	add("client_enabled", &c.ClientEnabled)
	add("not_traceable", &c.NotTraceable)
}

// Describe sends nothing: the counters are known when they are collected.
func (t *Tracing) Describe(chan<- *prometheus.Desc) {}

// Collect sends every counter.
func (t *Tracing) Collect(out chan<- prometheus.Metric) {
	for _, c := range t.counters {
		name := "envoy_" + strings.ReplaceAll(c.name, ".", "_")
		help := "Envoy's counter " + c.name + "."
		var desc *prometheus.Desc
		var values []string
		if c.prefix != "" {
			desc = prometheus.NewDesc(name, help, []string{"envoy_http_conn_manager_prefix"}, nil)
			values = []string{c.prefix}
		} else {
			desc = prometheus.NewDesc(name, help, nil, nil)
		}
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(c.value.Load()), values...)
	}
}

// Lines returns the counters as Envoy's /stats prints them, sorted: "tracing.zipkin.spans_sent: 5".
func (t *Tracing) Lines() []string {
	var lines []string
	for _, c := range t.counters {
		name := c.name
		if c.prefix != "" {
			name = strings.Replace(name, "http.", "http."+c.prefix+".", 1)
		}
		lines = append(lines, name+": "+decimal(c.value.Load()))
	}
	slices.Sort(lines)
	return lines
}
