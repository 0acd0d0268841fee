package route

import "time"

// Cluster is a destination: endpoints and how to use them.
type Cluster struct {
	// Name as Istio's: "outbound|9080|v1|reviews.default.svc.cluster.local".
	Name string
	// Host and Port of the service, and the subset, which are also parts of the name.
	Host   string
	Port   int
	Subset string

	Endpoints []Endpoint
	Balancer  Balancer
	Limits    Limits
	Outlier   *Outlier
	// ConnectTimeout of one connection; Istio's default is 10 s.
	ConnectTimeout time.Duration
	// TLS originates TLS to the endpoints; nil sends cleartext.
	TLS *TLS
	// DNS tells that the endpoints' addresses are names to be resolved when connecting.
	DNS bool
}

// Endpoint is one instance of a service.
type Endpoint struct {
	// Address to connect to, host:port.
	Address string
	// Pod and IP are what people see: the demo's workloads all live on 127.0.0.1 but carry invented ones.
	Pod, IP string
	// Namespace of the workload; empty outside the mesh.
	Namespace string
	Labels    map[string]string
	// Weight among the endpoints; 0 counts as 1.
	Weight uint32
}

// BalancerKind is a load balancing policy.
type BalancerKind int

// The policies of DestinationRule. LeastRequest is Istio's default; package compile takes RoundRobin where no rule says.
const (
	LeastRequest BalancerKind = iota
	RoundRobin
	Random
	RingHash
	Maglev
)

// String is Envoy's name: "LEAST_REQUEST".
func (k BalancerKind) String() string {
	return [...]string{"LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "RING_HASH", "MAGLEV"}[k]
}

// Balancer is the load balancer of a cluster.
type Balancer struct {
	Kind BalancerKind
	// MinimumRingSize of RingHash (Istio's default 1024); TableSize of Maglev (65537).
	MinimumRingSize uint64
	TableSize       uint64
}

// Limits are the circuit breakers; 0 is no limit. Above one, the answer is 503 with flag UO.
type Limits struct {
	MaxConnections int
	// MaxPending counts requests that wait for a connection.
	MaxPending  int
	MaxRequests int
	MaxRetries  int
	// MaxRequestsPerConnection closes a connection after so many; 1 stops keep-alive.
	MaxRequestsPerConnection int
	// IdleTimeout of a connection without requests.
	IdleTimeout time.Duration
}

// Outlier ejects endpoints that fail.
type Outlier struct {
	// Consecutive5xx and ConsecutiveGateway (502, 503, 504) in a row eject; 0 does not count them.
	Consecutive5xx, ConsecutiveGateway int
	// Interval between looks at the endpoints, and BaseEjection, which is multiplied by the number of ejections.
	Interval, BaseEjection time.Duration
	// MaxEjectionPercent of the endpoints may be ejected at once; always at least one may.
	MaxEjectionPercent int
	// MinHealthPercent below which ejected endpoints are used nevertheless.
	MinHealthPercent int
}

// TLS is what a cluster's connections use.
type TLS struct {
	// SNI is the server's name; Insecure skips its verification.
	SNI      string
	Insecure bool
}
