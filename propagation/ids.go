package propagation

import (
	"encoding/base64"
	"strings"
)

// IDs returns the id of the trace and of the calling span as the captured headers give them, for a log line. The formats
// are asked in the order in which Envoy's tracers prefer them: b3, x-b3-*, traceparent; then uber-trace-id,
// x-datadog-*, x-amzn-trace-id, x-cloud-trace-context and sw8. Both are empty when none of these came or could be read.
// The ids are written as in the header: a Datadog id is decimal, an X-Ray one has dashes.
//
// A service that forwards only some of the headers finds the ids all the same with All().Capture(r.Header).IDs().
func (c Captured) IDs() (trace, span string) {
	for _, read := range [...]func(Captured) (string, string){
		b3Single, b3Multi, traceparent, uber, datadog, xray, cloudTrace, skywalking,
	} {
		if trace, span = read(c); trace != "" {
			return trace, span
		}
	}
	return "", ""
}

func b3Single(c Captured) (string, string) {
	trace, rest, found := strings.Cut(c.Get("b3"), "-")
	if !found { // "b3: 0" holds a decision and no ids
		return "", ""
	}
	span, _, _ := strings.Cut(rest, "-")
	return trace, span
}

func b3Multi(c Captured) (string, string) { return c.Get("x-b3-traceid"), c.Get("x-b3-spanid") }

func traceparent(c Captured) (string, string) {
	part := strings.SplitN(c.Get("traceparent"), "-", 4)
	if len(part) < 4 {
		return "", ""
	}
	return part[1], part[2]
}

func uber(c Captured) (string, string) {
	part := strings.Split(c.Get("uber-trace-id"), ":")
	if len(part) != 4 {
		return "", ""
	}
	return part[0], part[1]
}

func datadog(c Captured) (string, string) {
	return c.Get("x-datadog-trace-id"), c.Get("x-datadog-parent-id")
}

func xray(c Captured) (trace, span string) {
	for part := range strings.SplitSeq(c.Get("x-amzn-trace-id"), ";") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
		case "Root":
			trace = value
		case "Parent":
			span = value
		}
	}
	return trace, span
}

func cloudTrace(c Captured) (string, string) {
	trace, rest, _ := strings.Cut(c.Get("x-cloud-trace-context"), "/")
	span, _, _ := strings.Cut(rest, ";")
	return trace, span
}

func skywalking(c Captured) (string, string) {
	part := strings.Split(c.Get("sw8"), "-")
	if len(part) != 8 {
		return "", ""
	}
	trace, err := base64.StdEncoding.DecodeString(part[1])
	if err != nil {
		return "", ""
	}
	segment, err := base64.StdEncoding.DecodeString(part[2])
	if err != nil {
		return "", ""
	}
	return string(trace), string(segment)
}
