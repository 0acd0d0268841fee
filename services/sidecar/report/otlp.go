package report

import (
	"context"
	"encoding/binary"
	"net/url"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"example.com/bookinfo/services/sidecar/trace"
)

// otlp writes OTLP's protobuf by the field numbers of opentelemetry-proto (trace/v1/trace.proto, common/v1/common.proto,
// resource/v1/resource.proto). Generated types would cost some 70 allocations a span; here a span is written once, on
// the goroutine of its request, into the batch.
type otlp struct {
	http *poster
	grpc *caller

	resource []byte // field 1 of ResourceSpans
	scope    []byte // field 1 of ScopeSpans
	flags    bool   // since 1.40 Envoy writes the flags of a span
}

func newOTLP(o *Options) (*otlp, error) {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	w := &otlp{flags: o.Profile == trace.Envoy140}
	if o.Collector != "" {
		u, err := parseCollector(o.Collector, "", "http", "https", "grpc", "grpcs")
		if err != nil {
			return nil, err
		}
		userAgent := "OTel-OTLP-Exporter-Envoy/" + o.Version
		if isGRPC(u) {
			if w.grpc, err = newCaller(u, userAgent, o); err != nil {
				return nil, err
			}
		} else {
			if u.Path == "" {
				u.Path = "/v1/traces"
			}
			w.http = newPoster(u, "application/x-protobuf", userAgent, o)
		}
	}
	// What a real Envoy says of itself, so that a viewer shows the same.
	var attributes []byte
	for _, a := range []trace.Tag{
		{Key: "telemetry.sdk.language", Value: "cpp"}, {Key: "telemetry.sdk.name", Value: "envoy"},
		{Key: "telemetry.sdk.version", Value: o.Version}, {Key: "service.name", Value: o.Service},
	} {
		attributes = appendAttribute(attributes, 1, a)
	}
	w.resource = appendBytes(nil, 1, attributes)
	var scope []byte
	scope = appendText(scope, 1, "envoy")
	scope = appendText(scope, 2, o.Version)
	w.scope = appendBytes(nil, 1, scope)
	return w, nil
}

func isGRPC(u *url.URL) bool {
	return u.Scheme == "grpc" || u.Scheme == "grpcs" || u.Port() == "4317" && u.Path == ""
}

func (w *otlp) send(ctx context.Context, batch []byte) error {
	switch head := w.head(len(batch)); {
	case w.grpc != nil:
		return w.grpc.call(ctx, head, batch)
	case w.http != nil:
		return w.http.post(ctx, func(status int) bool { return status/100 == 2 }, head, batch)
	}
	return errNoCollector
}

func (w *otlp) close() error {
	w.http.close()
	return w.grpc.close()
}

// head returns what stands before the spans of an ExportTraceServiceRequest: one ResourceSpans with one ScopeSpans.
func (w *otlp) head(spans int) []byte {
	inner := len(w.scope) + spans
	b := make([]byte, 0, len(w.resource)+len(w.scope)+24)
	b = protowire.AppendTag(b, 1, protowire.BytesType) // resource_spans
	b = protowire.AppendVarint(b, uint64(len(w.resource)+1+protowire.SizeBytes(inner)))
	b = append(b, w.resource...)
	b = protowire.AppendTag(b, 2, protowire.BytesType) // scope_spans
	b = protowire.AppendVarint(b, uint64(inner))
	return append(b, w.scope...)
}

func (w *otlp) appendSpan(b []byte, _ int, s *trace.Span) []byte {
	b = protowire.AppendTag(b, 2, protowire.BytesType) // spans
	at := len(b)
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], s.TraceHigh)
	binary.BigEndian.PutUint64(id[8:], s.TraceLow)
	b = appendBytes(b, 1, id[:])
	binary.BigEndian.PutUint64(id[:8], s.ID)
	b = appendBytes(b, 2, id[:8])
	if s.State != "" {
		b = appendText(b, 3, s.State)
	}
	if s.HasParent {
		binary.BigEndian.PutUint64(id[:8], s.Parent)
		b = appendBytes(b, 4, id[:8])
	}
	b = appendText(b, 5, s.Name)
	b = protowire.AppendTag(b, 6, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(spanKind(s.Kind)))
	start := uint64(s.Start.UnixNano())
	b = protowire.AppendFixed64(protowire.AppendTag(b, 7, protowire.Fixed64Type), start)
	b = protowire.AppendFixed64(protowire.AppendTag(b, 8, protowire.Fixed64Type), start+uint64(s.Duration))
	for i := range s.Tags {
		b = appendAttribute(b, 9, s.Tags[i])
	}
	if s.Failed {
		b = appendBytes(b, 15, []byte{3 << 3, 2}) // status {code: ERROR}
	}
	if w.flags {
		b = protowire.AppendFixed32(protowire.AppendTag(b, 16, protowire.Fixed32Type), spanFlags(s))
	}
	return insertLength(b, at)
}

// spanKind returns the number of SPAN_KIND_SERVER or SPAN_KIND_CLIENT.
func spanKind(k trace.Kind) int {
	if k == trace.Client {
		return 3
	}
	return 2
}

// spanFlags are the trace flags (sampled, or there were no span), and whether the parent is remote, with the bit that
// tells that this is known.
func spanFlags(s *trace.Span) uint32 {
	if s.RemoteParent {
		return 0x301
	}
	return 0x101
}

// appendAttribute appends a KeyValue with a string value, the only type that Envoy uses.
func appendAttribute(b []byte, field protowire.Number, tag trace.Tag) []byte {
	value := 1 + protowire.SizeBytes(len(tag.Value))
	size := 1 + protowire.SizeBytes(len(tag.Key)) + 1 + protowire.SizeBytes(value)
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendText(b, 1, tag.Key)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(value))
	return appendText(b, 1, tag.Value)
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

// insertLength puts the length of b[at:] in front of it.
func insertLength(b []byte, at int) []byte {
	size := len(b) - at
	width := protowire.SizeVarint(uint64(size))
	var room [10]byte
	b = append(b, room[:width]...)
	copy(b[at+width:], b[at:at+size])
	protowire.AppendVarint(b[:at], uint64(size))
	return b
}
