// Package stats counts what a proxy does and answers for it on the admin port: Istio's standard metrics with their
// labels, Envoy's tracing counters, readiness and the configuration in force.
package stats

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Workload is one side of a request as Istio's labels tell it. Empty fields are written as "unknown".
type Workload struct {
	Name      string // "reviews-v1"
	Namespace string
	App       string
	Version   string
	Service   string // canonical service
	Revision  string // canonical revision
	Cluster   string // id of the Kubernetes cluster
	Principal string // SPIFFE identity
}

// Reporter tells on which side of a request the proxy stands.
type Reporter string

// The reporters.
const (
	Source      Reporter = "source"      // outbound listeners and gateways
	Destination Reporter = "destination" // inbound listeners
)

// Request is one finished exchange. A workload is compared by its address: use one value for each.
type Request struct {
	Reporter         Reporter
	From, To         *Workload // nil: unknown
	Service          string    // host of the destination: "reviews.default.svc.cluster.local"
	ServiceName      string    // "reviews"
	ServiceNamespace string
	GRPC             bool
	Status           int    // 0: none was sent
	GRPCStatus       string // of gRPC requests
	Flags            string // Envoy's response flags; empty means "-"
	Duration         time.Duration
	RequestBytes     int64
	ResponseBytes    int64
}

// labels are those of Istio's standard metrics (istio.io/latest/docs/reference/config/metrics).
var labels = [...]string{
	"reporter",
	"source_workload", "source_canonical_service", "source_canonical_revision", "source_workload_namespace",
	"source_principal", "source_app", "source_version", "source_cluster",
	"destination_workload", "destination_workload_namespace", "destination_principal", "destination_app",
	"destination_version", "destination_service", "destination_canonical_service", "destination_canonical_revision",
	"destination_service_name", "destination_service_namespace", "destination_cluster",
	"request_protocol", "response_code", "grpc_response_status", "response_flags", "connection_security_policy",
}

// maxSeries bounds the combinations of labels: a client chooses the Host of a request to nowhere. Requests beyond it
// are counted without their destination.
const maxSeries = 500

// Stats counts requests. It is safe for concurrent use.
type Stats struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	received *prometheus.HistogramVec
	sent     *prometheus.HistogramVec

	mu     sync.RWMutex
	series map[key]*series
}

// key is what the labels of a request are made from.
type key struct {
	reporter                 Reporter
	from, to                 *Workload
	service, name, namespace string
	grpc                     bool
	status                   int
	grpcStatus, flags        string
}

// series are the metrics of one combination of labels. Looking them up once spares a request the hashing of 25 labels
// in each of the four.
type series struct {
	requests                 prometheus.Counter
	duration, received, sent prometheus.Observer
}

// New returns empty statistics.
func New() *Stats {
	// Envoy's buckets, for milliseconds and bytes alike (source/common/stats/histogram_impl.cc).
	buckets := []float64{
		0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels[:])
	}
	s := &Stats{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "istio_requests_total", Help: "Requests that this proxy handled.",
		}, labels[:]),
		duration: histogram("istio_request_duration_milliseconds", "Time from the request's head to the response's end."),
		received: histogram("istio_request_bytes", "Size of requests."),
		sent:     histogram("istio_response_bytes", "Size of responses."),
		series:   map[key]*series{},
	}
	s.registry.MustRegister(s.requests, s.duration, s.received, s.sent)
	return s
}

// Registry is where further collectors are registered.
func (s *Stats) Registry() *prometheus.Registry { return s.registry }

// Count counts a finished request.
func (s *Stats) Count(r *Request) {
	k := key{
		reporter: r.Reporter, from: r.From, to: r.To, service: r.Service, name: r.ServiceName,
		namespace: r.ServiceNamespace, grpc: r.GRPC, status: r.Status, flags: r.Flags,
	}
	if r.GRPC {
		k.grpcStatus = r.GRPCStatus
	}
	m := s.find(k)
	m.requests.Inc()
	m.duration.Observe(float64(r.Duration) / float64(time.Millisecond))
	m.received.Observe(float64(r.RequestBytes))
	m.sent.Observe(float64(r.ResponseBytes))
}

func (s *Stats) find(k key) *series {
	s.mu.RLock()
	m := s.series[k]
	s.mu.RUnlock()
	if m != nil {
		return m
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m = s.series[k]; m != nil {
		return m
	}
	if len(s.series) >= maxSeries {
		k.to, k.service, k.name, k.namespace = nil, "", "", ""
		if m = s.series[k]; m != nil {
			return m
		}
	}
	values := k.values()
	m = &series{
		requests: s.requests.WithLabelValues(values...), duration: s.duration.WithLabelValues(values...),
		received: s.received.WithLabelValues(values...), sent: s.sent.WithLabelValues(values...),
	}
	s.series[k] = m
	return m
}

// values are those of labels, in order.
func (k *key) values() []string {
	from, to := known(k.from), known(k.to)
	protocol, security, flags := "http", "unknown", k.flags
	if k.grpc {
		protocol = "grpc"
	}
	// Only the destination's proxy knows whether the connection is secure; here it never is.
	if k.reporter == Destination {
		security = "none"
	}
	if flags == "" {
		flags = "-"
	}
	return []string{
		string(k.reporter),
		from.Name, from.Service, from.Revision, from.Namespace, from.Principal, from.App, from.Version, from.Cluster,
		to.Name, to.Namespace, to.Principal, to.App, to.Version,
		orUnknown(k.service), to.Service, to.Revision, orUnknown(k.name), orUnknown(k.namespace), to.Cluster,
		protocol, strconv.Itoa(k.status), k.grpcStatus, flags, security,
	}
}

// known returns a copy of w without empty fields.
func known(w *Workload) Workload {
	if w == nil {
		w = &Workload{}
	}
	return Workload{
		Name: orUnknown(w.Name), Namespace: orUnknown(w.Namespace), App: orUnknown(w.App),
		Version: orUnknown(w.Version), Service: orUnknown(w.Service), Revision: orUnknown(w.Revision),
		Cluster: orUnknown(w.Cluster), Principal: orUnknown(w.Principal),
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
