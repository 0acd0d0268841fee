package forward

import (
	"encoding/binary"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/journal"
	"example.com/bookinfo/services/console/span"
)

// resourceSpans reads a post. OTLP stays as it came, with every attribute's type; other formats become OTLP by way of
// the console's own form.
func resourceSpans(p journal.Frame, limits ingest.Limits) ([]*tracepb.ResourceSpans, error) {
	body := []byte(p.Body)
	switch ingest.Format(p.Format) {
	case ingest.OTLPJSON:
		req := ptraceotlp.NewExportRequest()
		if err := req.UnmarshalJSON(body); err != nil {
			return nil, err
		}
		var err error
		if body, err = req.MarshalProto(); err != nil {
			return nil, err
		}
		fallthrough
	case ingest.OTLPProto, ingest.OTLPGRPC:
		// TracesData has the fields of ExportTraceServiceRequest (opentelemetry-proto, trace.proto).
		var data tracepb.TracesData
		err := proto.Unmarshal(body, &data)
		return data.ResourceSpans, err
	}
	var b ingest.Batch
	if err := b.Decode(ingest.Format(p.Format), p.Body, p.Received, limits); err != nil {
		return nil, err
	}
	return fromSpans(b.Spans), nil
}

// fromSpans puts each process under one resource.
func fromSpans(spans []span.Span) []*tracepb.ResourceSpans {
	type process struct{ service, ip, host, scope string }
	var out []*tracepb.ResourceSpans
	groups := map[process]*tracepb.ScopeSpans{}
	for i := range spans {
		s := &spans[i]
		key := process{s.Service, s.IP, s.Host, s.Scope}
		group := groups[key]
		if group == nil {
			attributes := keyValues(s.Resource)
			add := func(name, value string) {
				if _, ok := s.Resource.Get(name); !ok && value != "" {
					attributes = append(attributes, keyValue(name, value))
				}
			}
			add("service.name", s.Service)
			add("host.ip", s.IP)
			add("host.name", s.Host)
			group = &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: s.Scope}}
			groups[key] = group
			out = append(out, &tracepb.ResourceSpans{Resource: &resourcepb.Resource{Attributes: attributes}, ScopeSpans: []*tracepb.ScopeSpans{group}})
		}
		group.Spans = append(group.Spans, fromSpan(s))
	}
	return out
}

func fromSpan(s *span.Span) *tracepb.Span {
	o := &tracepb.Span{
		TraceId: traceID(s.TraceID), SpanId: spanID(s.ID), TraceState: s.TraceState, Name: s.Name, Kind: tracepb.Span_SpanKind(s.Kind),
		StartTimeUnixNano: uint64(s.Start.UnixNano()), EndTimeUnixNano: uint64(s.End().UnixNano()), Attributes: keyValues(s.Tags),
		Status: &tracepb.Status{Code: tracepb.Status_StatusCode(s.Status), Message: s.StatusMessage},
	}
	if s.ParentID != 0 {
		o.ParentSpanId = spanID(s.ParentID)
	}
	if _, ok := s.Tags.Get("peer.service"); !ok && s.Remote.Service != "" {
		o.Attributes = append(o.Attributes, keyValue("peer.service", s.Remote.Service))
	}
	for _, e := range s.Events {
		o.Events = append(o.Events, &tracepb.Span_Event{TimeUnixNano: uint64(e.Time.UnixNano()), Name: e.Name, Attributes: keyValues(e.Tags)})
	}
	for _, l := range s.Links {
		o.Links = append(o.Links, &tracepb.Span_Link{TraceId: traceID(l.TraceID), SpanId: spanID(l.SpanID), Attributes: keyValues(l.Tags)})
	}
	return o
}

func traceID(id span.TraceID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, id.Hi), id.Lo)
}

func spanID(id span.ID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

func keyValues(tags span.Tags) []*commonpb.KeyValue {
	out := make([]*commonpb.KeyValue, len(tags))
	for i, t := range tags {
		out[i] = keyValue(t.Key, t.Value)
	}
	return out
}

func keyValue(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}
