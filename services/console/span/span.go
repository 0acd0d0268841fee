// Package span is the one form in which the console holds a span, whichever protocol brought it.
package span

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// TraceID is a 128-bit trace id; a 64-bit one has Hi 0, as B3 says (openzipkin/b3-propagation).
type TraceID struct{ Hi, Lo uint64 }

// IsZero reports whether no trace id is set; W3C Trace Context forbids the all-zero id.
func (t TraceID) IsZero() bool { return t == TraceID{} }

// String gives 32 lower-case hex digits.
func (t TraceID) String() string { return fmt.Sprintf("%016x%016x", t.Hi, t.Lo) }

// ParseTraceID reads 1 to 32 hex digits of any case, short ones as if padded with zeros on the left.
func ParseTraceID(s string) (TraceID, error) {
	if s == "" || len(s) > 32 {
		return TraceID{}, fmt.Errorf("trace id %q: want 16 or 32 hex digits", s)
	}
	var b [16]byte
	if _, err := hex.Decode(b[:], []byte(strings.Repeat("0", 32-len(s))+s)); err != nil {
		return TraceID{}, fmt.Errorf("trace id %q: want 16 or 32 hex digits", s)
	}
	return TraceID{Hi: be(b[:8]), Lo: be(b[8:])}, nil
}

// ID is a span id. 0 is none.
type ID uint64

// String gives 16 lower-case hex digits.
func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ParseID reads 1 to 16 hex digits of any case.
func ParseID(s string) (ID, error) {
	var b [8]byte
	if s == "" || len(s) > 16 {
		return 0, fmt.Errorf("span id %q: want 16 hex digits", s)
	}
	if _, err := hex.Decode(b[:], []byte(strings.Repeat("0", 16-len(s))+s)); err != nil {
		return 0, fmt.Errorf("span id %q: want 16 hex digits", s)
	}
	return ID(be(b[:])), nil
}

func be(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// ErrNotFound says that no span of the trace is held.
var ErrNotFound = errors.New("trace not found")

// Kind is OpenTelemetry's SpanKind, with its numbers.
type Kind uint8

// The kinds of OTLP.
const (
	KindUnspecified Kind = iota
	KindInternal
	KindServer
	KindClient
	KindProducer
	KindConsumer
)

// String gives Zipkin's spelling, "" for internal and unspecified spans.
func (k Kind) String() string {
	return [...]string{"", "", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"}[min(k, 5)]
}

// Status is OpenTelemetry's status code.
type Status uint8

// The status codes of OTLP. Zipkin spans have StatusError when they carry the tag "error", otherwise StatusUnset.
const (
	StatusUnset Status = iota
	StatusOK
	StatusError
)

// Tag is a key with its value as text. Attributes of other types are written as JSON would write them.
type Tag struct{ Key, Value string }

// Tags are in the order in which they came.
type Tags []Tag

// Get returns the value of the first tag with that key, and whether there is one.
func (t Tags) Get(key string) (string, bool) {
	for i := range t {
		if t[i].Key == key {
			return t[i].Value, true
		}
	}
	return "", false
}

// Event is a Zipkin annotation or an OTLP span event.
type Event struct {
	Time time.Time
	Name string
	Tags Tags
}

// Link is a reference to a span of, mostly, another trace.
type Link struct {
	TraceID TraceID
	SpanID  ID
	Tags    Tags
}

// Endpoint is the other side of a call, as Zipkin's remoteEndpoint or OTLP's peer attributes name it.
type Endpoint struct {
	Service string
	IP      string
	Port    int
}

// Span is immutable once it was handed to a store. The caller owns what a store returns.
type Span struct {
	TraceID  TraceID
	ID       ID
	ParentID ID // 0: a root
	Kind     Kind
	// Shared is Zipkin's: the server half of a span whose client half has the same id.
	Shared bool
	// Service is the name as it came, such as "productpage.default".
	Service string
	Name    string
	// Version is istio.canonical_revision, else service.version.
	Version string
	// IP is localEndpoint's address, else what the tags or the resource say; Host is the server name (host.name,
	// k8s.pod.name, or the pod in node_id).
	IP, Host      string
	Remote        Endpoint
	Start         time.Time
	Duration      time.Duration
	Status        Status
	StatusMessage string
	TraceState    string
	Tags          Tags
	// Resource are the attributes of the process that made the span, Scope the instrumentation library.
	Resource Tags
	Scope    string
	Events   []Event
	Links    []Link
	// Received is when the console took the span in, the page's "log generation time" when the sender gives none.
	Received time.Time
	// Cut names what a limit cut from the span ("tags", "value of http.url"), empty when nothing was.
	Cut []string
}

// End is the time at which the span ended.
func (s *Span) End() time.Time { return s.Start.Add(s.Duration) }

// Error reports whether the span failed.
func (s *Span) Error() bool { return s.Status == StatusError }

// RequestID is the x-request-id that an Envoy proxy put on the span, "" without one.
func (s *Span) RequestID() string {
	v, _ := s.Tags.Get("guid:x-request-id")
	return v
}

// HTTPStatus is the HTTP status code as text, by Envoy's and Zipkin's tag or OpenTelemetry's attribute; "" without one.
func (s *Span) HTTPStatus() string {
	for _, key := range [...]string{"http.status_code", "http.response.status_code"} {
		if v, ok := s.Tags.Get(key); ok {
			return v
		}
	}
	return ""
}
