package format

import (
	"slices"
	"strconv"

	"example.com/bookinfo/services/console/span"
)

// OTLPTraces is the JSON form of an OTLP export request (opentelemetry-proto, OTLP/HTTP JSON: ids are hex, 64-bit
// numbers are text).
type OTLPTraces struct {
	ResourceSpans []OTLPResourceSpans `json:"resourceSpans"`
}

// OTLPResourceSpans are the spans of one process.
type OTLPResourceSpans struct {
	Resource   OTLPResource     `json:"resource"`
	ScopeSpans []OTLPScopeSpans `json:"scopeSpans"`
}

// OTLPResource describes a process.
type OTLPResource struct {
	Attributes []OTLPAttribute `json:"attributes"`
}

// OTLPScopeSpans are the spans of one instrumentation library.
type OTLPScopeSpans struct {
	Scope OTLPScope  `json:"scope"`
	Spans []OTLPSpan `json:"spans"`
}

// OTLPScope names an instrumentation library.
type OTLPScope struct {
	Name string `json:"name,omitempty"`
}

// OTLPSpan is one span.
type OTLPSpan struct {
	TraceID      string          `json:"traceId"`
	SpanID       string          `json:"spanId"`
	TraceState   string          `json:"traceState,omitempty"`
	ParentSpanID string          `json:"parentSpanId,omitempty"`
	Name         string          `json:"name"`
	Kind         int             `json:"kind"`
	Start        string          `json:"startTimeUnixNano"`
	End          string          `json:"endTimeUnixNano"`
	Attributes   []OTLPAttribute `json:"attributes,omitempty"`
	Events       []OTLPEvent     `json:"events,omitempty"`
	Links        []OTLPLink      `json:"links,omitempty"`
	Status       OTLPStatus      `json:"status"`
}

// OTLPEvent is something that happened during a span.
type OTLPEvent struct {
	Time       string          `json:"timeUnixNano"`
	Name       string          `json:"name"`
	Attributes []OTLPAttribute `json:"attributes,omitempty"`
}

// OTLPLink refers to another span.
type OTLPLink struct {
	TraceID    string          `json:"traceId"`
	SpanID     string          `json:"spanId"`
	Attributes []OTLPAttribute `json:"attributes,omitempty"`
}

// OTLPStatus is how a span ended.
type OTLPStatus struct {
	Message string `json:"message,omitempty"`
	Code    int    `json:"code,omitempty"`
}

// OTLPAttribute is a key with a value.
type OTLPAttribute struct {
	Key   string    `json:"key"`
	Value OTLPValue `json:"value"`
}

// OTLPValue is always text: the console keeps values as text, as Envoy sends them.
type OTLPValue struct {
	String string `json:"stringValue"`
}

// OTLP groups spans by the process and the library that made them, both in order of first appearance.
func OTLP(spans []span.Span) OTLPTraces {
	out := OTLPTraces{ResourceSpans: []OTLPResourceSpans{}}
	var resources []span.Tags
	for i := range spans {
		s := &spans[i]
		resource := otlpResource(s)
		at := slices.IndexFunc(resources, func(r span.Tags) bool { return slices.Equal(r, resource) })
		if at < 0 {
			at = len(resources)
			resources = append(resources, resource)
			out.ResourceSpans = append(out.ResourceSpans, OTLPResourceSpans{Resource: OTLPResource{Attributes: otlpAttributes(resource)}})
		}
		group := &out.ResourceSpans[at]
		scope := slices.IndexFunc(group.ScopeSpans, func(s2 OTLPScopeSpans) bool { return s2.Scope.Name == s.Scope })
		if scope < 0 {
			scope = len(group.ScopeSpans)
			group.ScopeSpans = append(group.ScopeSpans, OTLPScopeSpans{Scope: OTLPScope{Name: s.Scope}})
		}
		group.ScopeSpans[scope].Spans = append(group.ScopeSpans[scope].Spans, otlpSpan(s))
	}
	return out
}

// otlpResource is the span's resource with at least service.name, which a Zipkin span tells by its endpoint.
func otlpResource(s *span.Span) span.Tags {
	resource := slices.Clone(s.Resource)
	if _, ok := resource.Get("service.name"); !ok && s.Service != "" {
		resource = slices.Insert(resource, 0, span.Tag{Key: "service.name", Value: s.Service})
	}
	if _, ok := resource.Get("host.ip"); !ok && s.IP != "" && len(s.Resource) == 0 {
		resource = append(resource, span.Tag{Key: "host.ip", Value: s.IP})
	}
	return resource
}

func otlpSpan(s *span.Span) OTLPSpan {
	o := OTLPSpan{
		TraceID:    s.TraceID.String(),
		SpanID:     s.ID.String(),
		TraceState: s.TraceState,
		Name:       s.Name,
		Kind:       int(s.Kind),
		Start:      strconv.FormatInt(s.Start.UnixNano(), 10),
		End:        strconv.FormatInt(s.End().UnixNano(), 10),
		Attributes: otlpAttributes(s.Tags),
		Status:     OTLPStatus{Message: s.StatusMessage, Code: int(s.Status)},
	}
	if s.ParentID != 0 {
		o.ParentSpanID = s.ParentID.String()
	}
	for _, e := range s.Events {
		o.Events = append(o.Events, OTLPEvent{Time: strconv.FormatInt(e.Time.UnixNano(), 10), Name: e.Name, Attributes: otlpAttributes(e.Tags)})
	}
	for _, l := range s.Links {
		o.Links = append(o.Links, OTLPLink{TraceID: l.TraceID.String(), SpanID: l.SpanID.String(), Attributes: otlpAttributes(l.Tags)})
	}
	return o
}

func otlpAttributes(tags span.Tags) []OTLPAttribute {
	attributes := make([]OTLPAttribute, len(tags))
	for i, t := range tags {
		attributes[i] = OTLPAttribute{Key: t.Key, Value: OTLPValue{String: t.Value}}
	}
	return attributes
}
