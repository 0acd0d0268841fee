// Package backend is what the console's pages, APIs and commands read from: the console's own store, or an existing
// Jaeger or Zipkin.
package backend

import (
	"context"
	"errors"
	"time"

	"example.com/bookinfo/services/console/span"
)

// Backend answers questions about spans. Every method is safe for concurrent use and returns values that the caller
// owns. An error that wraps ErrUnsupported means that the engine behind cannot answer that question at all;
// span.ErrNotFound that it holds no such trace.
type Backend interface {
	// Applications lists every application with a span in the window, by name.
	Applications(ctx context.Context, w Window) ([]Application, error)
	// Series gives an application's numbers over time, one Point a step, oldest first, steps without spans included.
	// version "" is all of them. step is rounded up to whole minutes.
	Series(ctx context.Context, application, version string, w Window, step time.Duration) ([]Point, error)
	// Servers lists each IP or server name of an application with its numbers.
	Servers(ctx context.Context, application string, w Window) ([]Server, error)
	// Topology gives who called whom. application "" is the whole mesh; otherwise it and its neighbours.
	Topology(ctx context.Context, application string, w Window) (Topology, error)
	// Search finds traces, at most Limit (0 is 100).
	Search(ctx context.Context, q Query) (Result, error)
	// Trace returns all spans held of one trace, by start time. Both widths of an id find it: 16 digits match the
	// right half of a 128-bit id, as the B3 specification asks of consumers.
	Trace(ctx context.Context, id span.TraceID) ([]span.Span, error)
	// TagKeys and TagValues complete a tag expression. prefix "" is all; at most limit.
	TagKeys(ctx context.Context, prefix string, limit int) ([]string, error)
	TagValues(ctx context.Context, key, prefix string, limit int) ([]string, error)
	// Names lists the span names of an application ("" all).
	Names(ctx context.Context, application string) ([]string, error)
}

// Window is a range of span start times: From inclusive, To exclusive. A zero bound is open.
type Window struct{ From, To time.Time }

// Numbers are what a table row shows. A request of an application is a SERVER or CONSUMER span of it, or a root that
// calls nobody. A root CLIENT or PRODUCER span counts only for an application without SERVER spans (a gateway that
// reports one span): for others it is a call that lost its context.
type Numbers struct {
	Requests, Errors             int64
	Average, P50, P95, P99, Peak time.Duration
}

// Application is a span's service with its versions.
type Application struct {
	Name string // as the spans have it: "productpage.default"
	Numbers
	Spans    int64
	Versions []Version
	Regions  []string // cloud.region, else istio.cluster_id
	LastSeen time.Time
}

// Version is one istio.canonical_revision (or service.version) of an application, "" when spans have none.
type Version struct {
	Name string
	Numbers
}

// Point is one step of a series.
type Point struct {
	Time time.Time
	Numbers
}

// Server is one instance of an application.
type Server struct {
	IP, Host, Version string
	Numbers
	LastSeen time.Time
}

// Topology is a directed graph of applications by version.
type Topology struct {
	Nodes []Node
	Edges []Edge
}

// Node is an application's version.
type Node struct {
	Application, Version string
	Numbers
}

// Edge is the calls from one node to another, counted at the callee's SERVER span where there is one.
type Edge struct {
	From, FromVersion, To, ToVersion string
	Numbers
}

// Order is how traces are sorted.
type Order string

// The orders of the trace explorer: slowest first, as the managed console has it, or newest first.
const (
	ByDuration Order = "duration"
	ByTime     Order = "time"
)

// Query selects traces: those with at least one span that meets every filter which is set. Duration filters look at
// the matched spans' durations when Name, Application, Tags or IP is set, else at the whole trace.
type Query struct {
	Window
	Application string
	Version     string
	Name        string        // span name, exact
	Status      string        // "", "ok", "error"
	MinDuration time.Duration // inclusive
	MaxDuration time.Duration // inclusive; 0 is none
	IP          string        // IP address or server name
	// ID is a trace id or x-request-id, in full or by prefix.
	ID string
	// Tags is a tag expression, such as: http.status_code >= 500 and not component = "proxy".
	Tags    string
	OrderBy Order // default ByDuration
	Limit   int   // default and at most 100 for pages; 0 is 100
	// From topology: traces that cross this edge.
	EdgeFrom, EdgeTo string
	// Finding keeps traces with that finding of the doctor.
	Finding string
}

// Result is a page of traces, and whether more matched than Limit.
type Result struct {
	Traces []Summary
	More   bool
	// Scanned counts the spans looked at, for the page's footer.
	Scanned int64
}

// Summary is a row of the trace explorer.
type Summary struct {
	TraceID     span.TraceID
	Start       time.Time
	Duration    time.Duration // from the first start to the last end
	Application string        // of the root, else of the earliest span
	Name        string        // likewise
	IP, Host    string
	Status      string // HTTP status of the root, else ""
	RequestID   string
	Spans       int
	Errors      int
	Services    []ServiceCount
	Findings    []string // kinds the doctor found
	Complete    bool     // no span came within the last seconds and no parent is missing
}

// ServiceCount is how many spans of a trace one application made.
type ServiceCount struct {
	Application string
	Spans       int
	Errors      int
}

// Usage is what the store holds and what the day has used of its quota.
type Usage struct {
	Day                     string // local date, "2026-11-22"
	Spans, Bytes            int64  // taken in today
	QuotaSpans, QuotaBytes  int64  // 0: no quota
	Refused                 int64  // spans refused today because the quota was used up
	HeldSpans, HeldBytes    int64
	MaxBytes                int64
	Evicted, Cut, Malformed int64 // spans since start
	History                 []DayUsage
}

// DayUsage is one day's line of the history.
type DayUsage struct {
	Day                   string
	Spans, Bytes, Refused int64
}

// Push is one line of the push log: what one sender's request brought and how it was answered.
type Push struct {
	Time     time.Time
	Sender   string // remote address, with user-agent in Agent
	Agent    string
	Protocol string // "zipkin v2 json", "otlp grpc", …
	Bytes    int64
	Spans    int
	Status   int // HTTP status; 429 stands for gRPC RESOURCE_EXHAUSTED
	Error    string
}

// Settings are what System Configuration changes.
type Settings struct {
	QuotaSpans   int64                          `json:"quotaSpans"`
	QuotaBytes   int64                          `json:"quotaBytes"`
	Applications map[string]ApplicationSettings `json:"applications"`
}

// ApplicationSettings belong to one application.
type ApplicationSettings struct {
	// ShowServerName makes the waterfall's IP Address column show server names.
	ShowServerName bool              `json:"showServerName"`
	Tags           map[string]string `json:"tags"`
}

// Admin is the console's own state, beside the spans.
type Admin interface {
	Usage() Usage
	PushLog() []Push // newest first
	Settings() Settings
	// Update changes the settings at once and keeps them across restarts where the store does; an error changes nothing.
	Update(func(*Settings) error) error
	// Subscribe calls f after each change to a trace (at most every 100 ms a trace) until ctx ends.
	Subscribe(ctx context.Context, f func(span.TraceID))
}

// ErrUnsupported says that the engine behind cannot answer the question.
var ErrUnsupported = errors.New("not supported by this backend")

// ErrUnavailable says that the engine behind does not answer, or not as its API says.
var ErrUnavailable = errors.New("the engine behind this console cannot be asked")
