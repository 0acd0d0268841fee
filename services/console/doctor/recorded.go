package doctor

import (
	"strings"

	"example.com/bookinfo/services/console/span"
)

// Sidecars that record headers put them on their spans: what the proxy received and what it sent on. The
// application's part lies between what its inbound proxy sent and what its outbound proxy received.
const (
	receivedPrefix = "bookinfo.received."
	sentPrefix     = "bookinfo.sent."
)

// recorded returns the headers with the prefix, and whether the proxy recorded any.
func recorded(s *span.Span, prefix string) (map[string]string, bool) {
	headers := map[string]string{}
	any := false
	for _, t := range s.Tags {
		if strings.HasPrefix(t.Key, receivedPrefix) || strings.HasPrefix(t.Key, sentPrefix) {
			any = true
		}
		if name, ok := strings.CutPrefix(t.Key, prefix); ok {
			headers[name] = t.Value
		}
	}
	return headers, any
}

// lost compares what an application was given with what it sent on one call. kind is "" where the headers do not
// explain why the context was lost.
func (r *request) lost(server, call int) (kind Kind, headers []string) {
	if server < 0 {
		return "", nil
	}
	given, ok := recorded(&r.spans[server], sentPrefix)
	sent, also := recorded(&r.spans[call], receivedPrefix)
	if !ok || !also {
		return "", nil
	}
	var missing, kept []string
	for _, name := range contextHeaders(r.format(call)) {
		if given[name] == "" {
			continue
		}
		if sent[name] == "" {
			missing = append(missing, name)
		} else {
			kept = append(kept, name)
		}
	}
	other := ""
	for _, name := range []string{"traceparent", "b3", "x-b3-traceid"} {
		if sent[name] != "" && len(kept) == 0 {
			other = name
		}
	}
	switch {
	case len(missing) == 0:
		return "", nil
	case len(kept) > 0:
		return HalfContext, missing
	case other != "":
		return WrongFamily, missing
	case sent["x-request-id"] != "" && sent["x-request-id"] == given["x-request-id"]:
		return ContextLost, missing
	}
	return NothingForwarded, append([]string{"x-request-id"}, missing...)
}

// format tells which context the mesh's proxies read, by the ids that they make: the Zipkin tracer gives a root the
// right half of its trace id, the OpenTelemetry tracer an unrelated id.
func (r *request) format(near int) string {
	if s := &r.spans[near]; s.ParentID == 0 && fromProxy(s) {
		return formatOf(s)
	}
	for i := range r.spans {
		if s := &r.spans[i]; s.ParentID == 0 && fromProxy(s) {
			return formatOf(s)
		}
	}
	return ""
}

func formatOf(root *span.Span) string {
	if uint64(root.ID) == root.TraceID.Lo {
		return "b3"
	}
	return "w3c"
}

// contextHeaders are those without which a proxy of that format begins a new trace.
func contextHeaders(format string) []string {
	switch format {
	case "b3":
		return []string{"x-b3-traceid", "x-b3-spanid"}
	case "w3c":
		return []string{"traceparent"}
	}
	return []string{"x-b3-traceid", "x-b3-spanid", "traceparent"}
}
