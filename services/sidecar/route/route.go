package route

import (
	"math/rand/v2"
	"regexp"
	"time"

	"example.com/bookinfo/services/sidecar/header"
)

// Route is one rule of a virtual host: what a request must look like, and what is then done with it. Exactly one of
// Clusters, Redirect and Direct is set.
type Route struct {
	// Name is the one given in the VirtualService, or "default"; access logs print it.
	Name string
	// Source names the resource and rule the route comes from, for people: "VirtualService default/reviews http[0]".
	Source string
	Match  Match
	// Operation is the decorator's name, that of the spans: "reviews.default.svc.cluster.local:9080/*".
	Operation string

	// Clusters by weight; with one, its weight does not matter.
	Clusters []WeightedCluster
	Redirect *Redirect
	Direct   *DirectResponse

	// Timeout of the whole answer with all its tries; 0 is none.
	Timeout time.Duration
	Retry   *Retry
	Fault   *Fault
	Mirrors []Mirror
	Rewrite *Rewrite
	CORS    *CORS
	// Hash lists what consistent hashing hashes; see [Route.HashOf].
	Hash []HashPolicy

	// RequestHeaders and ResponseHeaders are changed for every destination, after the destination's own.
	RequestHeaders, ResponseHeaders HeaderOps

	order int // place among the routes of the virtual host
}

// WeightedCluster is one destination of a route.
type WeightedCluster struct {
	// Cluster is a key of [Table.Clusters].
	Cluster string
	Weight  uint32
	// Host replaces the request's authority if it is not empty.
	Host                            string
	RequestHeaders, ResponseHeaders HeaderOps
}

// pick throws the dice among the weighted clusters; all of weight 0, or none, gives nil.
func (r *Route) pick(dice rand.Source) *WeightedCluster {
	if len(r.Clusters) == 1 {
		return &r.Clusters[0]
	}
	var total uint64
	for i := range r.Clusters {
		total += uint64(r.Clusters[i].Weight)
	}
	if total == 0 {
		return nil
	}
	at := dice.Uint64() % total
	for i := range r.Clusters {
		weight := uint64(r.Clusters[i].Weight)
		if at < weight {
			return &r.Clusters[i]
		}
		at -= weight
	}
	return nil
}

// HeaderOps changes header fields: Remove, then Set, then Add. Names are in lower case; a value may not contain
// Envoy's %COMMAND% operators, they are literal here.
type HeaderOps struct {
	Set, Add header.Fields
	Remove   []string
}

// Apply changes fields.
func (o *HeaderOps) Apply(fields *header.Fields) {
	for _, name := range o.Remove {
		fields.Del(name)
	}
	for _, field := range o.Set {
		fields.Set(field.Name, field.Value)
	}
	for _, field := range o.Add {
		fields.Add(field.Name, field.Value)
	}
}

// Empty tells whether there is nothing to change.
func (o *HeaderOps) Empty() bool { return len(o.Set)+len(o.Add)+len(o.Remove) == 0 }

// Percent is a share in millionths, as Envoy's FractionalPercent with denominator MILLION.
type Percent uint32

// Always is 100 %.
const Always Percent = 1_000_000

// PercentOf converts a number from 0 to 100.
func PercentOf(percent float64) Percent {
	switch {
	case !(percent > 0):
		return 0
	case percent >= 100:
		return Always
	}
	return Percent(percent*10_000 + 0.5)
}

// Hit throws the dice.
func (p Percent) Hit(dice rand.Source) bool {
	return p >= Always || p > 0 && dice.Uint64()%uint64(Always) < uint64(p)
}

// Float is the share in percent, 0 to 100.
func (p Percent) Float() float64 { return float64(p) / 10_000 }

// Retry is a route's retry policy.
type Retry struct {
	// Attempts beside the first one.
	Attempts int
	// PerTryTimeout of one try; 0 leaves the route's.
	PerTryTimeout time.Duration
	// On is the comma list of Envoy's conditions: "5xx,connect-failure,reset".
	On string
	// Statuses is what "retriable-status-codes" stands for.
	Statuses []int
	// Backoff is the base of the jittered exponential wait between tries (Envoy's default 25 ms), at most ten times it.
	Backoff time.Duration
	// AvoidPrevious asks for a host that was not tried yet, and gives up asking after so many draws.
	AvoidPrevious int
}

// Fault delays or aborts requests before they are routed on. The delay does not count against the route's timeout.
type Fault struct {
	Delay        time.Duration
	DelayPercent Percent
	AbortStatus  int
	AbortPercent Percent
}

func (f *Fault) throw(dice rand.Source) (delay time.Duration, abort int) {
	if f.Delay > 0 && f.DelayPercent.Hit(dice) {
		delay = f.Delay
	}
	if f.AbortStatus > 0 && f.AbortPercent.Hit(dice) {
		abort = f.AbortStatus
	}
	return delay, abort
}

// Mirror sends a copy to another cluster, whose answer is thrown away.
type Mirror struct {
	Cluster string
	Percent Percent
}

// DirectResponse answers without any upstream.
type DirectResponse struct {
	Status int
	Body   string
}

// Rewrite changes the path and the authority that go upstream. At most one of Prefix, Path and Regex is set.
type Rewrite struct {
	// Host is the new authority; "" keeps it.
	Host string
	// Prefix replaces what the route's prefix or exact path matched.
	Prefix string
	// Path replaces the whole path.
	Path string
	// Regex is replaced with Substitution, in which \1 is the first group.
	Regex        *regexp.Regexp
	Substitution string
}

// Redirect answers with a Location. Empty fields keep the request's.
type Redirect struct {
	Status       int // 301 if 0
	Scheme, Host string
	Port         int // 0 keeps it
	Path         string
	// Prefix replaces what the route's prefix matched.
	Prefix string
	// HasPrefix tells that Prefix counts though it is empty.
	HasPrefix bool
}

// HashPolicy names one ingredient of the hash by which a ring or Maglev balancer chooses.
type HashPolicy struct {
	// Header, Cookie or Query names the field hashed; SourceIP hashes the client's address.
	Header, Cookie, Query string
	SourceIP              bool
	// CookieTTL and CookiePath are of the cookie that the proxy sets if the request has none; without a TTL none is set.
	CookieTTL  *time.Duration
	CookiePath string
}

// Tracing is what Telemetry resources say about a listener's spans.
type Tracing struct {
	// Disabled stops spans and leaves every trace header as it came.
	Disabled bool
	// Sampling in percent; nil leaves the proxy's own.
	Sampling *float64
	// Provider is the name of the extension provider; "" leaves the proxy's own.
	Provider string
	Tags     []CustomTag
}

// CustomTag adds a tag to every span: a literal value, a request header's, or an environment variable's, the last two
// with a default. A tag whose value is empty is left out.
type CustomTag struct {
	Name                         string
	Literal, Header, Environment string
	Default                      string
}
