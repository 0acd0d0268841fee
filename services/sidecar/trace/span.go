package trace

import "time"

// Kind is the kind of a span. Proxies make no others.
type Kind uint8

// The kinds.
const (
	Server Kind = iota
	Client
)

// String returns the kind as Zipkin writes it.
func (k Kind) String() string {
	if k == Client {
		return "CLIENT"
	}
	return "SERVER"
}

// Tag is a tag of a span (an attribute, in OpenTelemetry's words).
type Tag struct{ Key, Value string }

// Span is one finished span, in the form that both ways of reporting are written from.
type Span struct {
	TraceHigh, TraceLow uint64 // TraceHigh is 0 for a trace id of 64 bits
	ID, Parent          uint64
	HasParent           bool
	RemoteParent        bool // the parent came with the request and is not a span of this proxy
	Shared              bool // Zipkin: a SERVER span of a proxy with a shared span context
	Failed              bool // OpenTelemetry's status is ERROR; else it is unset
	Kind                Kind
	Name                string
	State               string // tracestate
	Start               time.Time
	Duration            time.Duration
	Tags                []Tag // in the order in which Envoy sets them; a value may be empty

	sampled bool
}

// Reporter takes the spans that were sampled. It must not block, and must not keep s or its tags: both are used again
// for the next request.
type Reporter interface{ Report(s *Span) }

// Discard reports nothing.
type Discard struct{}

// Report does nothing.
func (Discard) Report(*Span) {}

func (s *Span) tag(key, value string) { s.Tags = append(s.Tags, Tag{key, value}) }

const hexDigits = "0123456789abcdef"

// AppendHex appends the 16 lower-case hex digits of id.
func AppendHex(b []byte, id uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[id>>shift&15])
	}
	return b
}

// AppendTraceID appends the trace id as B3 and Zipkin write it: 16 digits if its left half is 0, else 32.
func (s *Span) AppendTraceID(b []byte) []byte {
	if s.TraceHigh != 0 {
		b = AppendHex(b, s.TraceHigh)
	}
	return AppendHex(b, s.TraceLow)
}
