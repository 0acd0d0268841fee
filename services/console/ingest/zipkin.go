package ingest

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/bookinfo/services/console/span"
)

// maxMicros is the largest time in microseconds that fits nanoseconds in 64 bits.
const maxMicros = 1<<63/1000 - 1

// ZipkinJSON reads a JSON array of Zipkin v2 spans, as Zipkin's OpenAPI (zipkin2-api.yaml) has them.
func (b *Batch) ZipkinJSON(body string, received time.Time, l Limits) error {
	b.reset(l)
	body = validUTF8(body)
	p := &scanner{s: body}
	p.take('[')
	for first := true; p.more(']', &first); {
		s, err := b.next()
		if err != nil {
			return err
		}
		b.zipkinSpan(p, s)
		if p.err != nil {
			p.err.Path = "[" + strconv.Itoa(len(b.Spans)-1) + "]" + p.err.Path
			break
		}
		if s.Start.IsZero() {
			s.Start = received
		}
		b.finish(s, received)
	}
	if p.space(); p.err == nil && p.i < len(p.s) {
		p.fail(p.i, "expected the end after the array, found %s", p.found())
	}
	if p.err != nil {
		b.Spans = b.Spans[:0]
		return p.err
	}
	return nil
}

func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func (b *Batch) zipkinSpan(p *scanner, s *span.Span) {
	p.peek()
	begin := p.i
	p.take('{')
	hasTrace, hasID := false, false
	for first := true; p.more('}', &first); {
		name := p.text()
		p.take(':')
		if p.null() {
			continue
		}
		p.peek()
		at := p.i
		switch name {
		case "traceId":
			id, err := span.ParseTraceID(p.text())
			if p.err == nil && (err != nil || id.IsZero()) {
				p.fail(at, "expected 16 or 32 hex digits that are not all zero")
			}
			s.TraceID, hasTrace = id, true
		case "id":
			id, err := span.ParseID(p.text())
			if p.err == nil && (err != nil || id == 0) {
				p.fail(at, "expected 16 hex digits that are not all zero")
			}
			s.ID, hasID = id, true
		case "parentId":
			// Zero and empty mean a root, as Zipkin's own server has it.
			if text := p.text(); text != "" {
				id, err := span.ParseID(text)
				if err != nil {
					p.fail(at, "expected 16 hex digits")
				}
				s.ParentID = id
			}
		case "kind":
			if s.Kind = zipkinKind(p.text()); s.Kind == 0 && p.err == nil {
				p.fail(at, "expected CLIENT, SERVER, PRODUCER or CONSUMER")
			}
		case "name":
			s.Name = p.text()
		case "timestamp":
			if us := p.integer(0, maxMicros); us > 0 {
				s.Start = time.UnixMicro(us).UTC()
			}
		case "duration":
			s.Duration = time.Duration(p.integer(0, maxMicros)) * time.Microsecond
		case "shared":
			s.Shared = p.boolean()
		case "localEndpoint":
			e := p.endpoint()
			s.Service, s.IP = e.Service, e.IP
		case "remoteEndpoint":
			s.Remote = p.endpoint()
		case "annotations":
			b.annotations(p, s)
		case "tags":
			b.zipkinTags(p, s)
		default:
			p.skip(0)
		}
		if p.err != nil && p.err.Path == "" {
			p.err.Path = "." + name
		}
	}
	switch {
	case p.err != nil:
	case !hasTrace:
		p.fail(begin, "the span has no traceId")
	case !hasID:
		p.fail(begin, "the span has no id")
	}
	if s.Start.IsZero() && len(s.Events) > 0 {
		s.Start = s.Events[0].Time
	}
}

func zipkinKind(s string) span.Kind {
	switch s {
	case "CLIENT":
		return span.KindClient
	case "SERVER":
		return span.KindServer
	case "PRODUCER":
		return span.KindProducer
	case "CONSUMER":
		return span.KindConsumer
	}
	return span.KindUnspecified
}

func (p *scanner) endpoint() (e span.Endpoint) {
	p.take('{')
	for first := true; p.more('}', &first); {
		name := p.text()
		p.take(':')
		if p.null() {
			continue
		}
		p.peek()
		at := p.i
		switch name {
		case "serviceName":
			e.Service = p.text()
		case "ipv4", "ipv6":
			ip := p.text()
			if _, err := netip.ParseAddr(ip); err != nil && ip != "" && p.err == nil {
				p.fail(at, "%s: expected an IP address, found %.40q", name, ip)
			}
			if e.IP == "" || name == "ipv4" {
				e.IP = ip
			}
		case "port":
			e.Port = int(p.integer(0, 65535))
		default:
			p.skip(0)
		}
	}
	return e
}

func (b *Batch) annotations(p *scanner, s *span.Span) {
	start := len(b.events)
	p.take('[')
	for first := true; p.more(']', &first); {
		var e span.Event
		p.take('{')
		for firstField := true; p.more('}', &firstField); {
			name := p.text()
			p.take(':')
			switch name {
			case "value":
				e.Name = p.text()
			case "timestamp":
				e.Time = time.UnixMicro(p.integer(0, maxMicros)).UTC()
			default:
				p.skip(0)
			}
		}
		b.events = append(b.events, e)
	}
	s.Events = b.events[start:len(b.events):len(b.events)]
}

func (b *Batch) zipkinTags(p *scanner, s *span.Span) {
	start := len(b.tags)
	p.take('{')
next:
	for first := true; p.more('}', &first); {
		key := p.text()
		p.take(':')
		value := p.scalar()
		if key == "error" {
			s.Status = span.StatusError
		}
		for i := start; i < len(b.tags); i++ {
			if b.tags[i].Key == key {
				b.tags[i].Value = value // the last one wins, as in a map
				continue next
			}
		}
		// What will be cut anyway is not collected.
		if len(b.tags)-start <= b.limits.Tags {
			b.tags = append(b.tags, span.Tag{Key: key, Value: value})
		}
	}
	s.Tags = b.tags[start:len(b.tags):len(b.tags)]
}

// IsMalformed reports whether the sender's body is at fault.
func IsMalformed(err error) bool {
	var m *Malformed
	return errors.As(err, &m)
}
