package ingest

import (
	"errors"
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count what senders post.
type Metrics struct {
	posts, spans, bytes, limits     *prometheus.CounterVec
	refused, cut, rejected, malform prometheus.Counter

	mu   sync.Mutex
	fast map[metricKey]prometheus.Counter
}

type metricKey struct {
	vec    *prometheus.CounterVec
	format Format
	status int
}

// NewMetrics registers the counters.
func NewMetrics(r prometheus.Registerer) *Metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "bookinfo_console", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	one := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "bookinfo_console", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	return &Metrics{
		posts:    vec("posts_total", "Posts of spans, by protocol and answer.", "protocol", "code"),
		spans:    vec("spans_received_total", "Spans taken in, by protocol.", "protocol"),
		bytes:    vec("received_bytes_total", "Bytes of posts taken in, as they crossed the wire, by protocol.", "protocol"),
		limits:   vec("posts_over_limit_total", "Posts refused because they were over a limit.", "limit"),
		refused:  one("spans_refused_total", "Spans refused because the daily quota was used up."),
		cut:      one("spans_cut_total", "Spans from which a limit cut something."),
		rejected: one("spans_rejected_total", "Spans left out because their ids are invalid."),
		malform:  one("posts_malformed_total", "Posts that broke their format."),
		fast:     map[metricKey]prometheus.Counter{},
	}
}

func (m *Metrics) counter(vec *prometheus.CounterVec, f Format, status int) prometheus.Counter {
	k := metricKey{vec, f, status}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.fast[k]
	if c == nil {
		labels := []string{f.String()}
		if status != 0 {
			labels = append(labels, strconv.Itoa(status))
		}
		c = vec.WithLabelValues(labels...)
		m.fast[k] = c
	}
	return c
}

func (m *Metrics) took(f Format, spans, cut, rejected int, wire int64) {
	m.counter(m.spans, f, 0).Add(float64(spans))
	m.counter(m.bytes, f, 0).Add(float64(wire))
	m.cut.Add(float64(cut))
	m.rejected.Add(float64(rejected))
}

func (m *Metrics) answered(f Format, status int, err error) {
	m.counter(m.posts, f, status).Inc()
	var tooLarge *TooLarge
	var wire *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		m.limits.WithLabelValues(tooLarge.Limit).Inc()
	case errors.As(err, &wire):
		m.limits.WithLabelValues("bytes on the wire").Inc()
	case IsMalformed(err):
		m.malform.Inc()
	}
}
