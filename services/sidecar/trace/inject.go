package trace

import "example.com/bookinfo/services/sidecar/header"

// inject writes the span's context. As Envoy does, it moves the fields that it writes to the end, removes no other,
// and so leaves a stray x-b3-parentspanid beside a root and, up to 1.36, a stale b3 (envoy#47515).
func (t *Tracer) inject(s *Span, h *header.Fields, single bool) {
	var buf [160]byte
	switch {
	case t.config.Format == W3C:
		h.DelFunc(func(name string) bool { return name == traceparent || name == tracestate })
		h.Add(traceparent, string(s.appendTraceparent(buf[:0])))
		h.Add(tracestate, s.State)
		return
	case single:
		h.Del(b3Single)
		h.Add(b3Single, string(s.appendSingle(buf[:0])))
	default:
		s.injectMulti(h)
	}
	if t.config.Format == B3W3C {
		h.Del(traceparent)
		h.Add(traceparent, string(s.appendTraceparent(buf[:0])))
	}
}

func (s *Span) injectMulti(h *header.Fields) {
	h.DelFunc(func(name string) bool {
		switch name {
		case b3TraceID, b3SpanID, b3Sampled:
			return true
		case b3ParentID:
			return s.HasParent
		}
		return false
	})
	// One string holds all ids: one allocation instead of three.
	var buf [64]byte
	b := s.AppendTraceID(buf[:0])
	width := len(b)
	b = AppendHex(b, s.ID)
	if s.HasParent {
		b = AppendHex(b, s.Parent)
	}
	ids := string(b)
	h.Add(b3TraceID, ids[:width])
	h.Add(b3SpanID, ids[width:width+16])
	if s.HasParent {
		h.Add(b3ParentID, ids[width+16:])
	}
	h.Add(b3Sampled, s.flag())
}

func (s *Span) flag() string {
	if s.sampled {
		return "1"
	}
	return "0"
}

func (s *Span) appendSingle(b []byte) []byte {
	b = s.AppendTraceID(b)
	b = AppendHex(append(b, '-'), s.ID)
	b = append(append(b, '-'), s.flag()...)
	if s.HasParent {
		b = AppendHex(append(b, '-'), s.Parent)
	}
	return b
}

func (s *Span) appendTraceparent(b []byte) []byte {
	b = append(b, "00-"...)
	b = AppendHex(AppendHex(b, s.TraceHigh), s.TraceLow)
	b = AppendHex(append(b, '-'), s.ID)
	return append(append(b, "-0"...), s.flag()...)
}
