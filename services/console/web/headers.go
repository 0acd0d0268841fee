package web

import (
	"cmp"
	"slices"
	"strings"

	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

// Sidecars that record headers put each trace header of a request on their span twice: as it came and as it left.
const (
	receivedPrefix = "bookinfo.received."
	sentPrefix     = "bookinfo.sent."
	emptyValue     = `""` // how they write a header without a value
)

// headerLine lays one header of two sides of a hop next to each other.
type headerLine struct {
	Name, Before, After string
	Change              string // "kept", "changed", "dropped" or "added"
	Notes               []string
	Harmless            bool // what was dropped said nothing
}

// headerHop is a place that headers pass: a sidecar, or the application between two sidecars.
type headerHop struct {
	Level               int
	Who, What, SpanID   string
	BeforeName, AfterIs string
	Lines               []headerLine
	Lost                int
	Application         bool
}

func headersOf(s *span.Span, prefix string) map[string]string {
	var out map[string]string
	for _, tag := range s.Tags {
		if name, ok := strings.CutPrefix(tag.Key, prefix); ok {
			if out == nil {
				out = make(map[string]string)
			}
			out[name] = tag.Value
		}
	}
	return out
}

func headerLines(before, after map[string]string) []headerLine {
	var out []headerLine
	for _, name := range headerNames(before, after) {
		b, had := before[name]
		a, has := after[name]
		line := headerLine{Name: name, Before: b, After: a, Change: "kept"}
		switch {
		case had && !has:
			line.Change = "dropped"
		case !had && has:
			line.Change = "added"
		case a != b:
			line.Change = "changed"
		}
		line.Notes = parseHeader(name, cmp.Or(a, b))
		if line.Change == "dropped" && (b == "" || b == emptyValue) {
			line.Harmless, line.Notes = true, []string{"it was empty, so leaving it out loses nothing"}
		}
		out = append(out, line)
	}
	return out
}

// headerNames sorts the names of both maps: request id, B3, W3C, the rest by name.
func headerNames(maps ...map[string]string) []string {
	var names []string
	for _, m := range maps {
		for name := range m {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	rank := func(name string) int {
		known := []string{"x-request-id", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "b3",
			"traceparent", "tracestate", "baggage"}
		if at := slices.Index(known, name); at >= 0 {
			return at
		}
		return len(known)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	return names
}

// parseHeader takes a value apart, or says why it cannot be read.
func parseHeader(name, value string) []string {
	if value == emptyValue {
		return []string{"empty value"}
	}
	if lines := strings.Split(value, "\n"); len(lines) > 1 {
		return []string{count(len(lines)) + " lines of this header; a sidecar uses the first"}
	}
	if strings.Contains(value, ",") && (strings.HasPrefix(name, "x-b3-") || name == "traceparent" || name == "b3") {
		return []string{"two values joined with a comma: no sidecar can read this"}
	}
	switch name {
	case "traceparent":
		parts := strings.Split(value, "-")
		if len(parts) < 4 || len(parts[1]) != 32 || len(parts[2]) != 16 {
			return []string{"not of the form 00-<32 digits>-<16 digits>-<2 digits>"}
		}
		sampled := "not sampled"
		if strings.HasSuffix(parts[3], "1") {
			sampled = "sampled"
		}
		return []string{"trace " + parts[1], "parent " + parts[2], sampled}
	case "b3":
		parts := strings.Split(value, "-")
		if len(parts) < 2 {
			return []string{map[string]string{"0": "not sampled", "1": "sampled", "d": "debug"}[value]}
		}
		return []string{"trace " + parts[0], "span " + parts[1]}
	case "x-b3-sampled":
		return []string{map[string]string{"0": "not sampled", "1": "sampled"}[value]}
	case "x-request-id":
		if len(value) == 36 {
			why := map[byte]string{'9': "sampled at random", 'a': "forced by the server", 'b': "forced by the client", '4': "no decision packed"}[value[14]]
			if why != "" {
				return []string{"digit 15 is " + value[14:15] + ": " + why}
			}
		}
	}
	return nil
}

// headerHops follows the headers down the tree: what each sidecar did with them, and between a sidecar's server span
// and the calls below it what the application did.
func headerHops(t *tree.Tree) []headerHop {
	var out []headerHop
	for i := range t.Nodes {
		n := &t.Nodes[i]
		for _, s := range [...]*span.Span{n.Span, n.Server} {
			if s == nil {
				continue
			}
			received, sent := headersOf(s, receivedPrefix), headersOf(s, sentPrefix)
			if received == nil && sent == nil {
				continue
			}
			// A call's headers came from the application, whose own incoming ones its server's span sent on.
			if app := serverAbove(t, i, s); app != nil {
				if gave := headersOf(app, sentPrefix); gave != nil {
					hop := headerHop{Level: n.Depth, Who: s.Service, What: "the application, from its request to its call of " + s.Name,
						SpanID: s.ID.String(), BeforeName: "received", AfterIs: "sent on", Application: true, Lines: headerLines(gave, received)}
					for _, line := range hop.Lines {
						if line.Change == "dropped" && !line.Harmless {
							hop.Lost++
						}
					}
					out = append(out, hop)
				}
			}
			what := "its outbound sidecar"
			switch {
			case gateway(s):
				what = "the gateway"
			case s.Kind == span.KindServer:
				what = "its inbound sidecar"
			}
			out = append(out, headerHop{Level: n.Depth, Who: s.Service, What: what, SpanID: s.ID.String(),
				BeforeName: "received", AfterIs: "sent", Lines: headerLines(received, sent)})
		}
	}
	return out
}

// gateway reports whether a proxy that stands alone made the span, as its node id says (Envoy's node_id tag: router or
// sidecar before the first ~).
func gateway(s *span.Span) bool {
	node, _ := s.Tags.Get("node_id")
	return strings.HasPrefix(node, "router~")
}

// serverAbove finds the server's span of the application that made call s, by the tree or, where the tree is broken,
// by the same service having the only server span that ran around it.
func serverAbove(t *tree.Tree, at int, s *span.Span) *span.Span {
	if s.Kind != span.KindClient {
		return nil
	}
	if p := t.Nodes[at].Parent; p >= 0 && t.Nodes[p].Span != nil {
		above := t.Nodes[p].Span
		if t.Nodes[p].Server != nil {
			above = t.Nodes[p].Server
		}
		// A gateway's own two spans have no application between them.
		if _, own := s.Tags.Get("guid:x-request-id"); above.Service == s.Service && above.Kind == span.KindServer && own {
			return above
		}
		return nil
	}
	var found *span.Span
	for i := range t.Nodes {
		o := t.Nodes[i].Span
		if o == nil || o.Service != s.Service || o.Kind != span.KindServer || o.Start.After(s.Start) || o.End().Before(s.End()) {
			continue
		}
		if found != nil {
			return nil
		}
		found = o
	}
	return found
}
