// Package format writes spans as the tools people have read them: Zipkin v2 JSON, OTLP JSON and Jaeger's JSON, and
// reads Jaeger's, which no ingest endpoint takes.
package format

import (
	"net/netip"

	"example.com/bookinfo/services/console/span"
)

// ZipkinSpan is a span of Zipkin's API v2 (openzipkin/zipkin-api, zipkin2-api.yaml).
type ZipkinSpan struct {
	TraceID        string             `json:"traceId"`
	ParentID       string             `json:"parentId,omitempty"`
	ID             string             `json:"id"`
	Kind           string             `json:"kind,omitempty"`
	Name           string             `json:"name,omitempty"`
	Timestamp      int64              `json:"timestamp,omitempty"` // µs since the epoch
	Duration       int64              `json:"duration,omitempty"`  // µs
	LocalEndpoint  *ZipkinEndpoint    `json:"localEndpoint,omitempty"`
	RemoteEndpoint *ZipkinEndpoint    `json:"remoteEndpoint,omitempty"`
	Annotations    []ZipkinAnnotation `json:"annotations,omitempty"`
	Tags           map[string]string  `json:"tags,omitempty"`
	Shared         bool               `json:"shared,omitempty"`
}

// ZipkinEndpoint is one side of a call.
type ZipkinEndpoint struct {
	ServiceName string `json:"serviceName,omitempty"`
	IPv4        string `json:"ipv4,omitempty"`
	IPv6        string `json:"ipv6,omitempty"`
	Port        int    `json:"port,omitempty"`
}

// ZipkinAnnotation is an event in µs since the epoch.
type ZipkinAnnotation struct {
	Timestamp int64  `json:"timestamp"`
	Value     string `json:"value"`
}

// TraceID gives 16 digits for an id whose left half is zero and 32 otherwise, as Zipkin does.
func TraceID(id span.TraceID) string {
	if id.Hi == 0 {
		return span.ID(id.Lo).String()
	}
	return id.String()
}

// Zipkin converts spans, in their order. Attributes of the resource become tags where the span has none of that key.
func Zipkin(spans []span.Span) []ZipkinSpan {
	out := make([]ZipkinSpan, len(spans))
	for i := range spans {
		out[i] = zipkinSpan(&spans[i])
	}
	return out
}

func zipkinSpan(s *span.Span) ZipkinSpan {
	z := ZipkinSpan{
		TraceID:       TraceID(s.TraceID),
		ID:            s.ID.String(),
		Kind:          s.Kind.String(),
		Name:          s.Name,
		Timestamp:     s.Start.UnixMicro(),
		Duration:      s.Duration.Microseconds(),
		LocalEndpoint: zipkinEndpoint(span.Endpoint{Service: s.Service, IP: s.IP}),
		Shared:        s.Shared,
	}
	if s.Duration > 0 && z.Duration == 0 {
		z.Duration = 1 // Zipkin reads 0 as unknown and asks for at least 1
	}
	if s.ParentID != 0 {
		z.ParentID = s.ParentID.String()
	}
	z.RemoteEndpoint = zipkinEndpoint(s.Remote)
	for _, e := range s.Events {
		z.Annotations = append(z.Annotations, ZipkinAnnotation{Timestamp: e.Time.UnixMicro(), Value: e.Name})
	}
	if len(s.Tags)+len(s.Resource) > 0 || s.Error() {
		z.Tags = make(map[string]string, len(s.Tags)+len(s.Resource))
		for _, t := range s.Resource {
			if t.Key != "service.name" {
				z.Tags[t.Key] = t.Value
			}
		}
		for _, t := range s.Tags {
			z.Tags[t.Key] = t.Value
		}
		if _, ok := z.Tags["error"]; s.Error() && !ok {
			z.Tags["error"] = s.StatusMessage
		}
	}
	return z
}

func zipkinEndpoint(e span.Endpoint) *ZipkinEndpoint {
	if e == (span.Endpoint{}) {
		return nil
	}
	z := &ZipkinEndpoint{ServiceName: e.Service, Port: e.Port}
	if ip, err := netip.ParseAddr(e.IP); err == nil {
		if ip.Is4() || ip.Is4In6() {
			z.IPv4 = ip.Unmap().String()
		} else {
			z.IPv6 = ip.String()
		}
	}
	return z
}
