package trace

import "example.com/bookinfo/services/sidecar/header"

// Names of the headers that are read or written, in lower case.
const (
	requestID     = "x-request-id"
	clientTraceID = "x-client-trace-id"
	forceTrace    = "x-envoy-force-trace"
	decorator     = "x-envoy-decorator-operation"

	b3Single    = "b3"
	b3TraceID   = "x-b3-traceid"
	b3SpanID    = "x-b3-spanid"
	b3ParentID  = "x-b3-parentspanid"
	b3Sampled   = "x-b3-sampled"
	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// context is what the trace headers of a request said.
type context struct {
	traceHigh, traceLow uint64
	id, parent          uint64
	hasParent           bool
	sampled             bool   // of a traceparent, which always tells
	state               string // tracestate; OpenTelemetry's tracer alone
}

// flag is a sampling decision that came with a request, or that none came.
type flag uint8

const (
	open flag = iota // the proxy decides
	denied
	accepted
)

func flagOf(sampled bool) flag {
	if sampled {
		return accepted
	}
	return denied
}

// outcome tells what extraction found.
type outcome uint8

const (
	absent     outcome = iota // no context, or half of one: the span is a root
	found                     // the span is a child
	unreadable                // no span is made and every header passes as it came (Envoy's NullSpan)
)

// extract reads the context of h in the configured format. The flag that it returns may have come without a context.
func (t *Tracer) extract(h header.Fields, c *context) (flag, outcome) {
	if t.config.Format == W3C {
		return extractW3C(h, c)
	}
	return t.extractB3(h, c)
}

// extractW3C follows Envoy's OpenTelemetry tracer (span_context_extractor.cc): an unreadable traceparent passes on,
// where W3C Trace Context wants a new trace.
func extractW3C(h header.Fields, c *context) (flag, outcome) {
	value, ok := h.Lookup(traceparent)
	if !ok {
		return open, absent
	}
	if !parseTraceparent(value, c) {
		return open, unreadable
	}
	c.state = h.Joined(tracestate)
	return flagOf(c.sampled), found
}

// parseTraceparent reads a value of exactly 55 characters. Envoy takes any version, capitals too.
func parseTraceparent(value string, c *context) bool {
	if len(value) != 55 || value[2] != '-' || value[35] != '-' || value[52] != '-' {
		return false
	}
	_, versionOK := parseHex(value[:2])
	high, highOK := parseHex(value[3:19])
	low, lowOK := parseHex(value[19:35])
	id, idOK := parseHex(value[36:52])
	flags, flagsOK := parseHex(value[53:])
	if !versionOK || !highOK || !lowOK || !idOK || !flagsOK || high|low == 0 || id == 0 {
		return false
	}
	*c = context{traceHigh: high, traceLow: low, id: id, sampled: flags&1 != 0}
	return true
}

// extractB3 follows Envoy's Zipkin tracer (span_context_extractor.cc, zipkin_tracer_impl.cc): the single header wins,
// half a context counts as none, the debug flag x-b3-flags is not read.
func (t *Tracer) extractB3(h header.Fields, c *context) (flag, outcome) {
	if value, ok := h.Lookup(b3Single); ok {
		return singleFlag(value), t.parseSingle(value, c)
	}
	// A traceparent that cannot be read counts as absent here, unlike in the OpenTelemetry tracer.
	var w3c context
	hasW3C := t.config.Format == B3W3C && parseTraceparent(h.Get(traceparent), &w3c)

	f := open
	if value, ok := h.Lookup(b3Sampled); ok {
		f = flagOf(value == "1" || value == "true")
	} else if hasW3C {
		f = flagOf(w3c.sampled)
	}
	traceID, hasTrace := h.Lookup(b3TraceID)
	spanID, hasSpan := h.Lookup(b3SpanID)
	switch {
	case hasTrace && hasSpan:
		return f, t.parseMulti(h, traceID, spanID, c)
	case hasW3C:
		*c = w3c
		return flagOf(f == accepted || w3c.sampled), found
	}
	return f, absent
}

func (t *Tracer) parseMulti(h header.Fields, traceID, spanID string, c *context) outcome {
	var ok bool
	if len(traceID) == 32 {
		if c.traceHigh, ok = t.parseID(traceID[:16]); !ok {
			return unreadable
		}
		traceID = traceID[16:]
	}
	if c.traceLow, ok = t.parseID(traceID); !ok {
		return unreadable
	}
	if c.id, ok = t.parseID(spanID); !ok {
		return unreadable
	}
	if parent := h.Get(b3ParentID); parent != "" {
		if c.parent, c.hasParent = t.parseID(parent); !c.hasParent {
			return unreadable
		}
	}
	return found
}

// singleFlag reads the flag of a single header where Envoy looks for it: by the length of the whole value.
func singleFlag(value string) flag {
	at := 0
	switch len(value) {
	case 1:
	case 35, 52: // 64 bits; 52 with a parent
		at = 34
	case 51, 68: // 128 bits; 68 with a parent
		at = 50
	default:
		return open
	}
	switch value[at] {
	case '0':
		return denied
	case '1', 'd':
		return accepted
	}
	return open
}

// parseSingle reads trace-span[-flag[-parent]], or a flag alone.
func (t *Tracer) parseSingle(value string, c *context) outcome {
	if len(value) == 1 && isFlag(value[0]) {
		return absent
	}
	if len(value) < 33 || len(value) > 68 {
		return unreadable
	}
	var ok bool
	rest := value
	if value[32] == '-' {
		if c.traceHigh, ok = t.parseID(rest[:16]); !ok {
			return unreadable
		}
		rest = rest[16:]
	}
	if c.traceLow, ok = t.parseID(rest[:16]); !ok || rest[16] != '-' {
		return unreadable
	}
	rest = rest[17:]
	// Any length up to 16 is taken at the end of the value.
	span := rest[:min(16, len(rest))]
	if c.id, ok = t.parseID(span); !ok {
		return unreadable
	}
	rest = rest[len(span):]
	if rest == "" {
		return found
	}
	if len(rest) < 2 || rest[0] != '-' || !isFlag(rest[1]) || len(rest) > 2 && rest[2] != '-' {
		return unreadable
	}
	if rest = rest[2:]; rest == "" {
		return found
	}
	if len(rest) != 17 {
		return unreadable
	}
	if c.parent, c.hasParent = t.parseID(rest[1:]); !c.hasParent {
		return unreadable
	}
	return found
}

func isFlag(c byte) bool { return c == '0' || c == '1' || c == 'd' }
