package ingest

import (
	"math"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"example.com/bookinfo/services/console/span"
)

// OTLPJSON reads an ExportTraceServiceRequest in OTLP's JSON encoding, in which ids are hexadecimal.
func (b *Batch) OTLPJSON(body string, received time.Time, l Limits) error {
	b.reset(l)
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalJSON([]byte(body)); err != nil {
		return &Malformed{Offset: -1, Reason: "OTLP JSON: " + err.Error()}
	}
	if err := b.traces(req.Traces(), received); err != nil {
		b.Spans = b.Spans[:0]
		return err
	}
	return nil
}

func (b *Batch) traces(traces ptrace.Traces, received time.Time) error {
	for _, rs := range traces.ResourceSpans().All() {
		resource := b.pdataTags(rs.Resource().Attributes())
		service := unknownService
		if v, ok := resource.Get("service.name"); ok && v != "" {
			service = v
		}
		for _, ss := range rs.ScopeSpans().All() {
			scope := scopeOf(validUTF8(ss.Scope().Name()), validUTF8(ss.Scope().Version()))
			for _, in := range ss.Spans().All() {
				s, err := b.next()
				if err != nil {
					return err
				}
				s.Service, s.Resource, s.Scope = service, resource, scope
				b.pdataSpan(in, s)
				b.accept(s, received)
			}
		}
	}
	return nil
}

func (b *Batch) pdataSpan(in ptrace.Span, s *span.Span) {
	trace, id, parent := in.TraceID(), in.SpanID(), in.ParentSpanID()
	s.TraceID = span.TraceID{Hi: bigEndian(string(trace[:8])), Lo: bigEndian(string(trace[8:]))}
	s.ID, s.ParentID = span.ID(bigEndian(string(id[:]))), span.ID(bigEndian(string(parent[:])))
	s.TraceState, s.Name = validUTF8(in.TraceState().AsRaw()), validUTF8(in.Name())
	s.Kind = otlpKind(int64(in.Kind()))
	s.Status, s.StatusMessage = otlpStatus(int64(in.Status().Code())), validUTF8(in.Status().Message())
	start, end := uint64(in.StartTimestamp()), uint64(in.EndTimestamp())
	s.Start = nanos(start)
	if end > start && end <= math.MaxInt64 {
		s.Duration = time.Duration(end - start)
	}
	s.Tags = b.pdataTags(in.Attributes())
	for _, e := range in.Events().All() {
		ev := span.Event{Time: nanos(uint64(e.Timestamp())), Name: validUTF8(e.Name()), Tags: b.pdataTags(e.Attributes())}
		if ev.Time.IsZero() {
			ev.Time = s.Start
		}
		s.Events = append(s.Events, ev)
	}
	for _, l := range in.Links().All() {
		trace, id := l.TraceID(), l.SpanID()
		s.Links = append(s.Links, span.Link{
			TraceID: span.TraceID{Hi: bigEndian(string(trace[:8])), Lo: bigEndian(string(trace[8:]))},
			SpanID:  span.ID(bigEndian(string(id[:]))), Tags: b.pdataTags(l.Attributes()),
		})
	}
}

func (b *Batch) pdataTags(m pcommon.Map) span.Tags {
	start := len(b.tags)
	for k, v := range m.All() {
		if len(b.tags)-start > b.limits.Tags {
			break
		}
		b.tags = append(b.tags, span.Tag{Key: validUTF8(k), Value: pdataText(v)})
	}
	return b.tags[start:len(b.tags):len(b.tags)]
}

func pdataText(v pcommon.Value) string {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return validUTF8(v.Str())
	case pcommon.ValueTypeInt:
		return strconv.FormatInt(v.Int(), 10)
	case pcommon.ValueTypeDouble:
		return doubleText(v.Double())
	case pcommon.ValueTypeMap, pcommon.ValueTypeSlice:
		return jsonText(pdataJSON(v))
	}
	return v.AsString()
}

func pdataJSON(v pcommon.Value) any {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return validUTF8(v.Str())
	case pcommon.ValueTypeInt:
		return v.Int()
	case pcommon.ValueTypeBool:
		return v.Bool()
	case pcommon.ValueTypeDouble:
		if f := v.Double(); math.IsNaN(f) || math.IsInf(f, 0) {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
		return v.Double()
	case pcommon.ValueTypeBytes:
		return v.AsString()
	case pcommon.ValueTypeSlice:
		list := []any{}
		for _, e := range v.Slice().All() {
			list = append(list, pdataJSON(e))
		}
		return list
	case pcommon.ValueTypeMap:
		object := map[string]any{}
		for k, e := range v.Map().All() {
			object[validUTF8(k)] = pdataJSON(e)
		}
		return object
	}
	return nil
}
