package trace

import (
	"math"
	"strings"

	"example.com/bookinfo/services/sidecar/header"
)

// reason is why a request is traced. It is written into the request id, at the place where a UUID has its version, so
// that every proxy that sees the id decides alike (Envoy: source/extensions/request_id/uuid/config.cc).
type reason byte

const (
	notTraceable  reason = '4'
	sampled       reason = '9'
	serviceForced reason = 'a'
	clientForced  reason = 'b'
)

// The request id's length and the index of the character that holds the reason. Envoy looks at nothing else of it.
const (
	uuidLength  = 36
	reasonIndex = 14
)

// decide tells whether the request is traced, and why (Envoy: mutateTracingRequestHeader in conn_manager_utility.cc).
func (t *Tracer) decide(h *header.Fields) reason {
	c := &t.config
	if !c.UseRequestIDForTraceSampling {
		return sampled
	}
	id := h.Get(requestID)
	number, ok := t.leadingNumber(id)
	if !ok {
		return notTraceable
	}
	dice := number % 10000

	was := t.readReason(id)
	why := was
	if why == notTraceable {
		switch {
		case h.Has(clientTraceID) && t.random()%100 < uint64(c.ClientSampling):
			why = clientForced
		case h.Has(forceTrace):
			why = serviceForced
		case dice < uint64(math.Round(c.Sampling*100)):
			why = sampled
		}
	}
	if why != notTraceable && dice%100 >= uint64(c.OverallSampling) {
		why = notTraceable
	}
	if why != was {
		t.packReason(h, id, why)
	}
	return why
}

// leadingNumber reads the first eight characters of a request id, as leniently as ids of B3.
func (t *Tracer) leadingNumber(id string) (uint64, bool) {
	if len(id) < 8 {
		return 0, false
	}
	return t.parseID(id[:8])
}

func (t *Tracer) readReason(id string) reason {
	if !t.config.PackTraceReason || len(id) != uuidLength {
		return notTraceable
	}
	switch r := reason(id[reasonIndex]); r {
	case sampled, serviceForced, clientForced:
		return r
	}
	return notTraceable
}

func (t *Tracer) packReason(h *header.Fields, id string, why reason) {
	if !t.config.PackTraceReason || len(id) != uuidLength || reason(id[reasonIndex]) == why {
		return
	}
	h.Set(requestID, id[:reasonIndex]+string(rune(why))+id[reasonIndex+1:])
}

// identify sees to the x-request-id: a client at the edge is not believed (Envoy: UUIDRequestIDExtension::set).
func (t *Tracer) identify(h *header.Fields, edge bool) {
	if !t.config.GenerateRequestID {
		return
	}
	id := h.Get(requestID)
	if id == "" || edge && !t.config.PreserveExternalRequestID {
		h.Set(requestID, t.newUUID())
		return
	}
	if edge {
		t.packReason(h, id, notTraceable)
	}
}

// newUUID returns a random UUID of version 4 (RFC 9562, section 5.4).
func (t *Tracer) newUUID() string {
	high, low := t.random(), t.random()
	high = high&^0xf000 | 0x4000
	low = low&^(0xc0<<56) | 0x80<<56
	var digits [32]byte
	AppendHex(AppendHex(digits[:0], high), low)
	var id [uuidLength]byte
	b := id[:0]
	for i, part := range [...]int{8, 12, 16, 20, 32} {
		if i > 0 {
			b = append(b, '-')
		}
		b = append(b, digits[len(b)-i:part]...)
	}
	return string(b)
}

// parseHex reads up to 16 hex digits of any case, and more if they are leading zeros.
func parseHex(s string) (uint64, bool) {
	if s == "" {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		var d byte
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		default:
			return 0, false
		}
		if n>>60 != 0 {
			return 0, false
		}
		n = n<<4 | uint64(d)
	}
	return n, true
}

// parseID reads a hexadecimal number as leniently as the profile's Envoy: 1.36 with strtoull, which takes leading blanks, a
// sign and 0x; 1.40 with a parser that takes no sign.
func (t *Tracer) parseID(s string) (uint64, bool) {
	negative := false
	s = strings.TrimLeft(s, " \t")
	if t.config.Profile == Envoy136 {
		if s != "" && (s[0] == '+' || s[0] == '-') {
			negative = s[0] == '-'
			s = s[1:]
		}
	}
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		s = s[2:]
	}
	n, ok := parseHex(s)
	if negative {
		n = -n
	}
	return n, ok
}
