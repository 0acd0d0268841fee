package ingest

import (
	"net/netip"
	"time"

	"example.com/bookinfo/services/console/span"
)

// ZipkinProto reads a ListOfSpans of zipkin-api's zipkin.proto.
func (b *Batch) ZipkinProto(body string, received time.Time, l Limits) error {
	b.reset(l)
	w := &wire{s: body, end: len(body)}
	for {
		number, typ, ok := w.field()
		if !ok {
			break
		}
		at := w.i
		if number != 1 {
			w.skip(typ)
			continue
		}
		if !w.want("spans", typ, wireBytes) {
			break
		}
		s, err := b.next()
		if err != nil {
			return err
		}
		outer := w.message()
		b.zipkinProtoSpan(w, s)
		w.leave(outer)
		switch {
		case w.err != nil:
		case s.TraceID.IsZero():
			w.fail(at, "trace_id: want 8 or 16 bytes that are not all zero")
		case s.ID == 0:
			w.fail(at, "id: want 8 bytes that are not all zero")
		}
		if w.err != nil {
			break
		}
		if s.Start.IsZero() {
			s.Start = received
		}
		b.finish(s, received)
	}
	if w.err != nil {
		b.Spans = b.Spans[:0]
		return w.err
	}
	return nil
}

func (b *Batch) zipkinProtoSpan(w *wire, s *span.Span) {
	from := len(b.tags)
	eventsFrom := len(b.events)
	for {
		number, typ, ok := w.field()
		if !ok {
			break
		}
		at := w.i
		switch number {
		case 1:
			if !w.want("trace_id", typ, wireBytes) {
				break
			}
			switch v := w.bytes(); len(v) {
			case 8:
				s.TraceID.Lo = bigEndian(v)
			case 16:
				s.TraceID = span.TraceID{Hi: bigEndian(v[:8]), Lo: bigEndian(v[8:])}
			default:
				w.fail(at, "trace_id: %d bytes, want 8 or 16", len(v))
			}
		case 2:
			if w.want("parent_id", typ, wireBytes) {
				s.ParentID = w.spanID(at)
			}
		case 3:
			if w.want("id", typ, wireBytes) {
				s.ID = w.spanID(at)
			}
		case 4:
			if w.want("kind", typ, wireVarint) {
				// zipkin.proto numbers them CLIENT 1, SERVER 2, PRODUCER 3, CONSUMER 4.
				switch w.varint() {
				case 1:
					s.Kind = span.KindClient
				case 2:
					s.Kind = span.KindServer
				case 3:
					s.Kind = span.KindProducer
				case 4:
					s.Kind = span.KindConsumer
				}
			}
		case 5:
			if w.want("name", typ, wireBytes) {
				s.Name = w.text()
			}
		case 6:
			if w.want("timestamp", typ, wire64) {
				s.Start = w.micros(at, w.fixed64())
			}
		case 7:
			if w.want("duration", typ, wireVarint) {
				if us := w.varint(); us <= maxMicros {
					s.Duration = time.Duration(us) * time.Microsecond
				} else {
					w.fail(at, "duration: %d microseconds, want at most %d", us, uint64(maxMicros))
				}
			}
		case 8, 9:
			if w.want("endpoint", typ, wireBytes) {
				outer := w.message()
				e := w.zipkinEndpoint()
				w.leave(outer)
				if number == 8 {
					s.Service, s.IP = e.Service, e.IP
				} else {
					s.Remote = e
				}
			}
		case 10:
			if w.want("annotations", typ, wireBytes) {
				outer := w.message()
				b.events = append(b.events, w.annotation())
				w.leave(outer)
			}
		case 11:
			if w.want("tags", typ, wireBytes) {
				outer := w.message()
				b.zipkinProtoTag(w, s, from)
				w.leave(outer)
			}
		case 13:
			if w.want("shared", typ, wireVarint) {
				s.Shared = w.varint() != 0
			}
		default:
			w.skip(typ)
		}
	}
	s.Tags = b.tags[from:len(b.tags):len(b.tags)]
	s.Events = b.events[eventsFrom:len(b.events):len(b.events)]
	if len(s.Events) == 0 {
		s.Events = nil
	} else if s.Start.IsZero() {
		s.Start = s.Events[0].Time
	}
}

func (w *wire) micros(at int, us uint64) time.Time {
	if us > maxMicros {
		w.fail(at, "a time of %d microseconds, want at most %d", us, uint64(maxMicros))
		return time.Time{}
	}
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(us)).UTC()
}

func (w *wire) annotation() (e span.Event) {
	for {
		number, typ, ok := w.field()
		if !ok {
			if e.Time.IsZero() {
				e.Time = time.UnixMicro(0).UTC()
			}
			return e
		}
		switch {
		case number == 1 && w.want("annotation.timestamp", typ, wire64):
			e.Time = w.micros(w.i, w.fixed64())
		case number == 2 && w.want("annotation.value", typ, wireBytes):
			e.Name = w.text()
		default:
			w.skip(typ)
		}
	}
}

func (b *Batch) zipkinProtoTag(w *wire, s *span.Span, from int) {
	var t span.Tag
	for {
		number, typ, ok := w.field()
		if !ok {
			break
		}
		switch {
		case number == 1 && w.want("tag key", typ, wireBytes):
			t.Key = w.text()
		case number == 2 && w.want("tag value", typ, wireBytes):
			t.Value = w.text()
		default:
			w.skip(typ)
		}
	}
	if t.Key == "error" {
		s.Status = span.StatusError
	}
	for i := from; i < len(b.tags); i++ {
		if b.tags[i].Key == t.Key {
			b.tags[i].Value = t.Value
			return
		}
	}
	if len(b.tags)-from <= b.limits.Tags {
		b.tags = append(b.tags, t)
	}
}

func (w *wire) zipkinEndpoint() (e span.Endpoint) {
	for {
		number, typ, ok := w.field()
		if !ok {
			return e
		}
		at := w.i
		switch {
		case number == 1 && w.want("service_name", typ, wireBytes):
			e.Service = w.text()
		case (number == 2 || number == 3) && w.want("ip", typ, wireBytes):
			v := w.bytes()
			ip, ok := netip.AddrFromSlice([]byte(v))
			if v != "" && (!ok || ip.Is4() != (number == 2)) {
				w.fail(at, "an address of %d bytes, want 4 for ipv4, 16 for ipv6", len(v))
			} else if ok && (e.IP == "" || number == 2) {
				e.IP = ip.String()
			}
		case number == 4 && w.want("port", typ, wireVarint):
			if p := w.varint(); p <= 65535 {
				e.Port = int(p)
			} else {
				w.fail(at, "port %d, want at most 65535", p)
			}
		default:
			w.skip(typ)
		}
	}
}
