package ingest

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/bookinfo/services/console/span"
)

// unknownService is the name that OpenTelemetry's resource semantic conventions give a process without service.name.
const unknownService = "unknown_service"

// OTLP reads an ExportTraceServiceRequest of opentelemetry/proto/collector/trace/v1 (or TracesData, which is the same
// on the wire). Field numbers are those of opentelemetry/proto/trace/v1/trace.proto.
func (b *Batch) OTLP(body string, received time.Time, l Limits) error {
	b.reset(l)
	w := &wire{s: body, end: len(body)}
	for {
		number, typ, ok := w.field()
		if !ok {
			break
		}
		if number != 1 {
			w.skip(typ)
			continue
		}
		if !w.want("resource_spans", typ, wireBytes) {
			break
		}
		outer := w.message()
		if err := b.resourceSpans(w, received); err != nil {
			return err
		}
		w.leave(outer)
	}
	if w.err != nil {
		b.Spans = b.Spans[:0]
		return w.err
	}
	return nil
}

// resourceSpans reads the resource before the spans, wherever it stands.
func (b *Batch) resourceSpans(w *wire, received time.Time) error {
	begin := w.i
	var resource span.Tags
	for {
		number, typ, ok := w.field()
		if !ok {
			break
		}
		if number != 1 {
			w.skip(typ)
			continue
		}
		if !w.want("resource", typ, wireBytes) {
			return nil
		}
		outer := w.message()
		start := len(b.tags)
		b.attributes(w, 1, nil)
		resource = b.tags[start:len(b.tags):len(b.tags)]
		w.leave(outer)
	}
	if w.err != nil {
		return nil
	}
	service := unknownService
	if v, ok := resource.Get("service.name"); ok && v != "" {
		service = v
	}
	for w.i = begin; ; {
		number, typ, ok := w.field()
		if !ok {
			return nil
		}
		if number != 2 {
			w.skip(typ)
			continue
		}
		if !w.want("scope_spans", typ, wireBytes) {
			return nil
		}
		outer := w.message()
		if err := b.scopeSpans(w, service, resource, received); err != nil {
			return err
		}
		w.leave(outer)
	}
}

func (b *Batch) scopeSpans(w *wire, service string, resource span.Tags, received time.Time) error {
	begin := w.i
	scope := ""
	for {
		number, typ, ok := w.field()
		if !ok {
			break
		}
		if number != 1 {
			w.skip(typ)
			continue
		}
		if !w.want("scope", typ, wireBytes) {
			return nil
		}
		name, version := "", ""
		outer := w.message()
		for {
			number, typ, ok := w.field()
			if !ok {
				break
			}
			switch {
			case number == 1 && w.want("scope.name", typ, wireBytes):
				name = w.text()
			case number == 2 && w.want("scope.version", typ, wireBytes):
				version = w.text()
			default:
				w.skip(typ)
			}
		}
		w.leave(outer)
		scope = scopeOf(name, version)
	}
	if w.err != nil {
		return nil
	}
	for w.i = begin; ; {
		number, typ, ok := w.field()
		if !ok {
			return nil
		}
		if number != 2 {
			w.skip(typ)
			continue
		}
		if !w.want("spans", typ, wireBytes) {
			return nil
		}
		s, err := b.next()
		if err != nil {
			return err
		}
		s.Service, s.Resource, s.Scope = service, resource, scope
		outer := w.message()
		b.otlpSpan(w, s)
		w.leave(outer)
		if w.err != nil {
			return nil
		}
		b.accept(s, received)
	}
}

// scopeOf names an instrumentation scope with its version.
func scopeOf(name, version string) string {
	if version == "" {
		return name
	}
	return name + " " + version
}

// accept finishes a span of OTLP, or leaves it out when its ids are invalid, as partial success reports.
func (b *Batch) accept(s *span.Span, received time.Time) {
	switch {
	case s.TraceID.IsZero():
		b.drop("a span without a valid trace_id: 16 bytes that are not all zero")
	case s.ID == 0:
		b.drop("a span without a valid span_id: 8 bytes that are not all zero")
	default:
		if s.Start.IsZero() {
			s.Start = received
		}
		b.finish(s, received)
	}
}

func nanos(v uint64) time.Time {
	if v == 0 || v > math.MaxInt64 {
		return time.Time{}
	}
	return time.Unix(0, int64(v)).UTC()
}

func (b *Batch) otlpSpan(w *wire, s *span.Span) {
	var start, end uint64
	tagsFrom := len(b.tags)
	var events, links []string // read after the attributes, which must stand together
	eventsAt, linksAt := 0, 0
	for {
		number, typ, ok := w.field()
		if !ok {
			break
		}
		at := w.i
		switch number {
		case 1:
			if w.want("trace_id", typ, wireBytes) {
				s.TraceID = w.traceID(at)
			}
		case 2:
			if w.want("span_id", typ, wireBytes) {
				s.ID = w.spanID(at)
			}
		case 3:
			if w.want("trace_state", typ, wireBytes) {
				s.TraceState = w.text()
			}
		case 4:
			if w.want("parent_span_id", typ, wireBytes) {
				s.ParentID = w.spanID(at)
			}
		case 5:
			if w.want("name", typ, wireBytes) {
				s.Name = w.text()
			}
		case 6:
			if w.want("kind", typ, wireVarint) {
				s.Kind = otlpKind(int64(w.varint()))
			}
		case 7:
			if w.want("start_time_unix_nano", typ, wire64) {
				start = w.fixed64()
			}
		case 8:
			if w.want("end_time_unix_nano", typ, wire64) {
				end = w.fixed64()
			}
		case 9:
			if w.want("attributes", typ, wireBytes) {
				b.attribute(w, tagsFrom)
			}
		case 11:
			if w.want("events", typ, wireBytes) {
				eventsAt = max(eventsAt, at)
				events = append(events, w.bytes())
			}
		case 13:
			if w.want("links", typ, wireBytes) {
				linksAt = max(linksAt, at)
				links = append(links, w.bytes())
			}
		case 15:
			if w.want("status", typ, wireBytes) {
				outer := w.message()
				w.status(s)
				w.leave(outer)
			}
		default:
			w.skip(typ)
		}
	}
	s.Tags = b.tags[tagsFrom:len(b.tags):len(b.tags)]
	s.Start = nanos(start)
	if end > start && end <= math.MaxInt64 {
		s.Duration = time.Duration(end - start)
	}
	b.otlpEvents(w, s, events, eventsAt)
	b.otlpLinks(w, s, links, linksAt)
}

func otlpKind(v int64) span.Kind {
	if v < 0 || v > int64(span.KindConsumer) {
		return span.KindUnspecified
	}
	return span.Kind(v)
}

func (w *wire) traceID(at int) (id span.TraceID) {
	switch v := w.bytes(); len(v) {
	case 0:
	case 16:
		id = span.TraceID{Hi: bigEndian(v[:8]), Lo: bigEndian(v[8:])}
	default:
		w.fail(at, "trace_id: %d bytes, want 16", len(v))
	}
	return id
}

func (w *wire) spanID(at int) (id span.ID) {
	switch v := w.bytes(); len(v) {
	case 0:
	case 8:
		id = span.ID(bigEndian(v))
	default:
		w.fail(at, "span id: %d bytes, want 8", len(v))
	}
	return id
}

func bigEndian(s string) (v uint64) {
	for i := range 8 {
		v = v<<8 | uint64(s[i])
	}
	return v
}

func (w *wire) status(s *span.Span) {
	for {
		number, typ, ok := w.field()
		if !ok {
			return
		}
		switch {
		case number == 2 && w.want("status.message", typ, wireBytes):
			s.StatusMessage = w.text()
		case number == 3 && w.want("status.code", typ, wireVarint):
			s.Status = otlpStatus(int64(w.varint()))
		default:
			w.skip(typ)
		}
	}
}

func otlpStatus(v int64) span.Status {
	if v < 0 || v > int64(span.StatusError) {
		return span.StatusUnset
	}
	return span.Status(v)
}

func (b *Batch) otlpEvents(outer *wire, s *span.Span, events []string, at int) {
	if len(events) == 0 {
		return
	}
	s.Events = make([]span.Event, 0, len(events))
	for _, e := range events {
		w := &wire{s: e, end: len(e)}
		var ev span.Event
		from := len(b.tags)
		b.attributes(w, 3, func(number int, typ byte) {
			switch {
			case number == 1 && w.want("time_unix_nano", typ, wire64):
				ev.Time = nanos(w.fixed64())
			case number == 2 && w.want("event.name", typ, wireBytes):
				ev.Name = w.text()
			default:
				w.skip(typ)
			}
		})
		if ev.Time.IsZero() {
			ev.Time = s.Start
		}
		ev.Tags = b.tags[from:len(b.tags):len(b.tags)]
		s.Events = append(s.Events, ev)
		if w.err != nil {
			outer.fail(at, "events: %s", w.err.Reason)
			return
		}
	}
}

func (b *Batch) otlpLinks(outer *wire, s *span.Span, links []string, at int) {
	for _, l := range links {
		w := &wire{s: l, end: len(l)}
		var link span.Link
		from := len(b.tags)
		b.attributes(w, 4, func(number int, typ byte) {
			switch {
			case number == 1 && w.want("link.trace_id", typ, wireBytes):
				link.TraceID = w.traceID(w.i)
			case number == 2 && w.want("link.span_id", typ, wireBytes):
				link.SpanID = w.spanID(w.i)
			default:
				w.skip(typ)
			}
		})
		link.Tags = b.tags[from:len(b.tags):len(b.tags)]
		s.Links = append(s.Links, link)
		if w.err != nil {
			outer.fail(at, "links: %s", w.err.Reason)
			return
		}
	}
}

// attributes reads a message whose field of that number is a repeated KeyValue; other handles the rest, nil skips it.
func (b *Batch) attributes(w *wire, field int, other func(number int, typ byte)) {
	from := len(b.tags)
	for {
		number, typ, ok := w.field()
		switch {
		case !ok:
			return
		case number == field:
			if w.want("attributes", typ, wireBytes) {
				b.attribute(w, from)
			}
		case other != nil:
			other(number, typ)
		default:
			w.skip(typ)
		}
	}
}

// attribute reads one KeyValue into the tags that begin at from.
func (b *Batch) attribute(w *wire, from int) {
	begin := w.i
	if key, value, ok := plainAttribute(w.bytes()); ok {
		if len(b.tags)-from <= b.limits.Tags {
			b.tags = append(b.tags, span.Tag{Key: key, Value: value})
		}
		return
	}
	w.i = begin
	outer := w.message()
	key, value := "", ""
	for {
		number, typ, ok := w.field()
		if !ok {
			break
		}
		switch {
		case number == 1 && w.want("key", typ, wireBytes):
			key = w.text()
		case number == 2 && w.want("value", typ, wireBytes):
			inner := w.message()
			value = w.anyText()
			w.leave(inner)
		default:
			w.skip(typ)
		}
	}
	w.leave(outer)
	if len(b.tags)-from <= b.limits.Tags {
		b.tags = append(b.tags, span.Tag{Key: key, Value: value})
	}
}

// plainAttribute reads a KeyValue whose value is a string and whose fields stand once, as nearly all do: key first as
// most senders write, or value first as the OpenTelemetry Collector does. Others are left to the reader of all forms.
func plainAttribute(m string) (key, value string, ok bool) {
	const keyTag, valueTag, stringTag = 1<<3 | wireBytes, 2<<3 | wireBytes, 1<<3 | wireBytes
	first, rest, ok := shortField(m)
	if !ok {
		return "", "", false
	}
	second, after, ok := shortField(rest)
	if !ok || after != "" {
		return "", "", false
	}
	key, value = first, second
	switch {
	case m[0] == keyTag && rest[0] == valueTag:
	case m[0] == valueTag && rest[0] == keyTag:
		key, value = second, first
	default:
		return "", "", false
	}
	text, after, ok := shortField(value)
	if !ok || after != "" || value[0] != stringTag {
		return "", "", false
	}
	return key, text, utf8.ValidString(key) && utf8.ValidString(text)
}

// shortField reads a field with a tag of one byte and a length of one or two.
func shortField(m string) (content, rest string, ok bool) {
	if len(m) < 2 || m[0] >= 0x80 {
		return "", "", false
	}
	n, at := int(m[1]), 2
	if n >= 0x80 {
		if len(m) < 3 || m[2] >= 0x80 {
			return "", "", false
		}
		n, at = n&0x7f|int(m[2])<<7, 3
	}
	if n > len(m)-at {
		return "", "", false
	}
	return m[at : at+n], m[at+n:], true
}

// anyText reads an AnyValue as text: strings as they are, bytes in base64, everything else as JSON.
func (w *wire) anyText() (text string) {
	for {
		number, typ, ok := w.field()
		if !ok {
			return text
		}
		switch {
		case number == 1 && w.want("string_value", typ, wireBytes):
			text = w.text()
		case number == 2 && w.want("bool_value", typ, wireVarint):
			text = strconv.FormatBool(w.varint() != 0)
		case number == 3 && w.want("int_value", typ, wireVarint):
			text = strconv.FormatInt(int64(w.varint()), 10)
		case number == 4 && w.want("double_value", typ, wire64):
			text = doubleText(math.Float64frombits(w.fixed64()))
		case number == 5 && w.want("array_value", typ, wireBytes),
			number == 6 && w.want("kvlist_value", typ, wireBytes):
			outer := w.message()
			v := w.list(number == 6, 0)
			w.leave(outer)
			text = jsonText(v)
		case number == 7 && w.want("bytes_value", typ, wireBytes):
			text = base64.StdEncoding.EncodeToString([]byte(w.bytes()))
		default:
			w.skip(typ)
		}
	}
}

func doubleText(f float64) string {
	if text, err := json.Marshal(f); err == nil {
		return string(text)
	}
	return strconv.FormatFloat(f, 'g', -1, 64) // NaN and infinities, which JSON lacks
}

func jsonText(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// list reads an ArrayValue or KeyValueList.
func (w *wire) list(named bool, depth int) any {
	if depth > maxDepth {
		w.fail(w.i, "a value nested more than %d deep", maxDepth)
		return nil
	}
	array, object := []any{}, map[string]any{}
	for {
		number, typ, ok := w.field()
		if !ok {
			break
		}
		if number != 1 {
			w.skip(typ)
			continue
		}
		if !w.want("values", typ, wireBytes) {
			break
		}
		outer := w.message()
		if !named {
			array = append(array, w.anyValue(depth))
			w.leave(outer)
			continue
		}
		key := ""
		var value any
		for {
			number, typ, ok := w.field()
			if !ok {
				break
			}
			switch {
			case number == 1 && w.want("key", typ, wireBytes):
				key = w.text()
			case number == 2 && w.want("value", typ, wireBytes):
				inner := w.message()
				value = w.anyValue(depth)
				w.leave(inner)
			default:
				w.skip(typ)
			}
		}
		object[key] = value
		w.leave(outer)
	}
	if named {
		return object
	}
	return array
}

// anyValue reads an AnyValue inside another as what JSON can hold.
func (w *wire) anyValue(depth int) (v any) {
	for {
		number, typ, ok := w.field()
		if !ok {
			return v
		}
		switch {
		case number == 1 && w.want("string_value", typ, wireBytes):
			v = w.text()
		case number == 2 && w.want("bool_value", typ, wireVarint):
			v = w.varint() != 0
		case number == 3 && w.want("int_value", typ, wireVarint):
			v = int64(w.varint())
		case number == 4 && w.want("double_value", typ, wire64):
			f := math.Float64frombits(w.fixed64())
			v = f
			if math.IsNaN(f) || math.IsInf(f, 0) {
				v = strconv.FormatFloat(f, 'g', -1, 64)
			}
		case number == 5 && w.want("array_value", typ, wireBytes),
			number == 6 && w.want("kvlist_value", typ, wireBytes):
			outer := w.message()
			v = w.list(number == 6, depth+1)
			w.leave(outer)
		case number == 7 && w.want("bytes_value", typ, wireBytes):
			v = base64.StdEncoding.EncodeToString([]byte(w.bytes()))
		default:
			w.skip(typ)
		}
	}
}
