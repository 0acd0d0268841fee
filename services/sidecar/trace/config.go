package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Direction tells where a listener stands, which decides on the kind of its span and on whom it trusts.
type Direction string

// The directions.
const (
	Inbound  Direction = "inbound"  // in front of the application: SERVER spans
	Outbound Direction = "outbound" // for the application's calls: CLIENT spans
	Gateway  Direction = "gateway"  // the edge: the peer's address is the client's, and clients are not trusted
)

// Format names the trace context that is read and written.
type Format string

// The formats.
const (
	B3    Format = "b3"     // Envoy's Zipkin tracer
	B3W3C Format = "b3+w3c" // the same with trace_context_option USE_B3_WITH_W3C_PROPAGATION
	W3C   Format = "w3c"    // Envoy's OpenTelemetry tracer
)

// Profile names the Envoy whose behaviour is imitated where versions differ.
type Profile string

// The profiles.
const (
	Envoy136 Profile = "1.36" // of Istio 1.28
	Envoy140 Profile = "1.40" // of Istio 1.31
)

// Config is what Envoy's connection manager, its tracing block and its request id extension are told, under the names
// that Envoy gives them. The zero value is not useful: start from [Defaults].
type Config struct {
	Direction Direction `json:"direction"`
	Format    Format    `json:"format"`
	Profile   Profile   `json:"profile"`

	// Tracing false leaves the tracing block out: no span, every trace header passes untouched.
	Tracing bool `json:"tracing"`
	// Sampling, ClientSampling and OverallSampling are percentages. Sampling counts in steps of 0.01, the others of 1.
	Sampling             float64 `json:"sampling"`
	ClientSampling       float64 `json:"client_sampling"`
	OverallSampling      float64 `json:"overall_sampling"`
	SpawnUpstreamSpan    bool    `json:"spawn_upstream_span"`
	NoContextPropagation bool    `json:"no_context_propagation"`

	SharedSpanContext bool `json:"shared_span_context"`
	TraceID128Bit     bool `json:"trace_id_128bit"`

	GenerateRequestID            bool           `json:"generate_request_id"`
	PreserveExternalRequestID    bool           `json:"preserve_external_request_id"`
	AlwaysSetRequestIDInResponse bool           `json:"always_set_request_id_in_response"`
	InternalRanges               []netip.Prefix `json:"internal_ranges"`
	UseRequestIDForTraceSampling bool           `json:"use_request_id_for_trace_sampling"`
	PackTraceReason              bool           `json:"pack_trace_reason"`

	// MaxPathTagLength is the number of characters of the path that the tag http.url keeps.
	MaxPathTagLength int `json:"max_path_tag_length"`
	// CustomTags stand on every span of the proxy behind Istio's own.
	CustomTags []CustomTag `json:"custom_tags"`
	// RecordHeaders puts the trace headers received and sent on the span: see docs/sidecar.md.
	RecordHeaders bool `json:"record_headers"`
}

// CustomTag is a tag of an Istio Telemetry resource. Exactly one source is set; without a value and without a default
// the tag is left out.
type CustomTag struct {
	Name        string `json:"name"`
	Literal     string `json:"literal,omitempty"`
	Header      string `json:"header,omitempty"`      // name of a request header, in lower case
	Environment string `json:"environment,omitempty"` // name of an environment variable of the proxy
	Default     string `json:"default,omitempty"`     // for Header and Environment
}

// Defaults returns what Istio configures for a sidecar or gateway with tracing at 100 percent.
func Defaults(direction Direction) Config {
	return Config{
		Direction: direction, Format: W3C, Profile: Envoy136,
		Tracing: true, Sampling: 100, ClientSampling: 100, OverallSampling: 100,
		SpawnUpstreamSpan: direction == Gateway, TraceID128Bit: true,
		GenerateRequestID: true, UseRequestIDForTraceSampling: true, PackTraceReason: true,
		MaxPathTagLength: 256,
	}
}

// Validate names the first setting that is wrong and what would be right.
func (c *Config) Validate() error {
	switch {
	case !slices.Contains([]Direction{Inbound, Outbound, Gateway}, c.Direction):
		return fmt.Errorf("direction %q: want inbound, outbound or gateway", c.Direction)
	case !slices.Contains([]Format{B3, B3W3C, W3C}, c.Format):
		return fmt.Errorf("format %q: want b3, b3+w3c or w3c", c.Format)
	case !slices.Contains([]Profile{Envoy136, Envoy140}, c.Profile):
		return fmt.Errorf("profile %q: want 1.36 or 1.40", c.Profile)
	case c.NoContextPropagation && c.Profile == Envoy136:
		return errors.New("no_context_propagation: Envoy 1.36 does not know it; want profile 1.40")
	case c.MaxPathTagLength < 0:
		return fmt.Errorf("max_path_tag_length %d: want 0 or more", c.MaxPathTagLength)
	}
	for _, p := range []struct {
		name  string
		value float64
	}{
		{"sampling", c.Sampling}, {"client_sampling", c.ClientSampling}, {"overall_sampling", c.OverallSampling},
	} {
		if !(p.value >= 0 && p.value <= 100) {
			return fmt.Errorf("%s %v: want a percentage from 0 to 100", p.name, p.value)
		}
	}
	for _, tag := range c.CustomTags {
		if err := tag.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (t CustomTag) validate() error {
	sources := 0
	for _, source := range []string{t.Literal, t.Header, t.Environment} {
		if source != "" {
			sources++
		}
	}
	switch {
	case t.Name == "":
		return errors.New("custom_tags: a tag without a name")
	case sources != 1:
		return fmt.Errorf("custom tag %q: want exactly one of literal, header, environment", t.Name)
	case t.Literal != "" && t.Default != "":
		return fmt.Errorf("custom tag %q: a literal takes no default", t.Name)
	case t.Header != strings.ToLower(t.Header):
		return fmt.Errorf("custom tag %q: header %q: want the name in lower case", t.Name, t.Header)
	}
	return nil
}

// Node is the identity of the proxy as its spans tell it.
type Node struct {
	ID      string     // node_id: "sidecar~10.0.0.7~reviews-v1-0.default~default.svc.cluster.local"
	Service string     // the service cluster: "reviews.default"
	Address netip.Addr // the pod's address: localEndpoint, and x-forwarded-for for a peer on the loopback
	Zone    string     // may be empty

	CanonicalService, CanonicalRevision, MeshID, Namespace, ClusterID string
}

// istioTags returns the tags that Istio's control plane configures as literals. Their fallbacks are those of its
// pilot/pkg/networking/core/tracing.go.
func (n *Node) istioTags() []Tag {
	or := func(value, fallback string) string {
		if value == "" {
			return fallback
		}
		return value
	}
	return []Tag{
		{"istio.canonical_revision", or(n.CanonicalRevision, "latest")},
		{"istio.canonical_service", or(n.CanonicalService, "unknown")},
		{"istio.cluster_id", or(n.ClusterID, "unknown")},
		{"istio.mesh_id", or(n.MeshID, "unknown")},
		{"istio.namespace", or(n.Namespace, "default")},
	}
}
