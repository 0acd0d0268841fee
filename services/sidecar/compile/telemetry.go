package compile

import (
	"slices"

	telemetry "istio.io/api/telemetry/v1alpha1"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

// tracing merges the Telemetry resources for this workload: that of the root namespace, overridden field by field by
// that of the workload's namespace, and this by one whose selector chooses the workload. Of several in one place the
// oldest counts. It is nil if none says anything.
func (b *builder) tracing(direction string) *route.Tracing {
	// A sidecar's outbound listener and a gateway are clients of what they call; inbound is the server (istio:
	// pilot/pkg/model/telemetry.go).
	mode := telemetry.WorkloadMode_CLIENT
	if direction == "inbound" {
		mode = telemetry.WorkloadMode_SERVER
	}
	all := mesh.Of[*telemetry.Telemetry](b.s)
	oldest := func(namespace string, selecting bool) *telemetry.Telemetry {
		for _, t := range all {
			labels := t.Spec.GetSelector().GetMatchLabels()
			if t.Namespace == namespace && (len(labels) > 0) == selecting && mesh.Subsumes(labels, b.w.Labels) {
				return t.Spec
			}
		}
		return nil
	}
	levels := []*telemetry.Telemetry{oldest(b.s.RootNamespace, false)}
	if b.w.Namespace != b.s.RootNamespace {
		levels = append(levels, oldest(b.w.Namespace, false))
	}
	levels = append(levels, oldest(b.w.Namespace, true))

	var out *route.Tracing
	for _, level := range levels {
		for _, rule := range level.GetTracing() {
			if m := rule.GetMatch().GetMode(); m != telemetry.WorkloadMode_CLIENT_AND_SERVER && m != mode {
				continue
			}
			if out == nil {
				out = &route.Tracing{}
			}
			overrideTracing(out, rule)
		}
	}
	return out
}

func overrideTracing(out *route.Tracing, rule *telemetry.Tracing) {
	if len(rule.Providers) > 0 {
		out.Provider = rule.Providers[0].GetName()
	}
	if s := rule.RandomSamplingPercentage; s != nil {
		percent := s.Value
		out.Sampling = &percent
	}
	if d := rule.DisableSpanReporting; d != nil {
		out.Disabled = d.Value
	}
	if len(rule.CustomTags) == 0 {
		return
	}
	out.Tags = nil
	for _, name := range sortedKeys(rule.CustomTags) {
		tag := route.CustomTag{Name: name}
		switch kind := rule.CustomTags[name].GetType().(type) {
		case *telemetry.Tracing_CustomTag_Literal:
			tag.Literal = kind.Literal.GetValue()
		case *telemetry.Tracing_CustomTag_Header:
			tag.Header, tag.Default = kind.Header.GetName(), kind.Header.GetDefaultValue()
		case *telemetry.Tracing_CustomTag_Environment:
			tag.Environment, tag.Default = kind.Environment.GetName(), kind.Environment.GetDefaultValue()
		default:
			continue
		}
		out.Tags = append(out.Tags, tag)
	}
	out.Tags = slices.Clip(out.Tags)
}
