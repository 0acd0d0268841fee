package check

import (
	"slices"
	"strings"

	"example.com/bookinfo/propagation"
)

// Finding is one thing that the service does wrong.
type Finding struct {
	Rule    string            `json:"rule"`    // what, in a word that stays the same
	Level   string            `json:"level"`   // error, or note for what breaks no trace that the run requires
	Headers []string          `json:"headers"` // at fault
	Cases   []string          `json:"cases"`   // that showed it
	Message string            `json:"message"` // what was seen and what follows from it
	Mend    map[string]string `json:"mend"`    // go, java, python, node and ruby: what to change
}

// findings collects without saying anything twice.
type findings struct {
	required propagation.Set
	list     []Finding
}

// add notes that rule was broken by a header in a case. Headers outside the required set make it a note.
func (f *findings) add(rule, header, name string) {
	level := "note"
	if f.required.Has(header) || header == "" || slices.Contains(alwaysErrors(), rule) {
		level = "error"
	}
	if header == "x-b3-parentspanid" || header == "x-b3-flags" {
		if rule == ruleLost { // no proxy reads them
			level = "note"
		}
	}
	i := slices.IndexFunc(f.list, func(have Finding) bool { return have.Rule == rule && have.Level == level })
	if i < 0 {
		f.list = append(f.list, Finding{Rule: rule, Level: level, Headers: []string{}, Message: rules()[rule].message, Mend: rules()[rule].mend})
		i = len(f.list) - 1
	}
	if header != "" && !slices.Contains(f.list[i].Headers, header) {
		f.list[i].Headers = append(f.list[i].Headers, header)
	}
	if !slices.Contains(f.list[i].Cases, name) {
		f.list[i].Cases = append(f.list[i].Cases, name)
	}
}

func (f *findings) has(rule string) bool {
	return slices.ContainsFunc(f.list, func(have Finding) bool { return have.Rule == rule })
}

// alwaysErrors are the rules that harm whatever the headers are.
func alwaysErrors() []string { return []string{ruleLeak, ruleHop, ruleEmpty, ruleTwoContexts} }

// hasError tells whether anything but notes was found.
func hasError(list []Finding) bool {
	return slices.ContainsFunc(list, func(f Finding) bool { return f.Level == "error" })
}

// changed names what a changed value means.
func changed(header, sent, got string, all map[string][]string) string {
	if strings.Contains(got, ",") && header != "tracestate" && header != "baggage" {
		return ruleDuplicated
	}
	switch header {
	case "x-request-id":
		return ruleRequestIDReplaced
	case "x-b3-sampled", "x-datadog-sampling-priority":
		return ruleSampledChanged
	case "x-b3-traceid":
		switch {
		case len(sent) == 32 && len(got) == 16 && strings.HasSuffix(sent, got):
			return ruleTruncated
		case !isID(got, 16) && !isID(got, 32):
			return ruleMalformed
		case strings.TrimLeft(got, "0") == strings.TrimLeft(sent, "0"):
			return ruleChanged
		}
		return ruleNewTrace
	case "x-b3-spanid":
		switch {
		case slices.Contains(all["x-b3-parentspanid"], got):
			return ruleWrongSpan
		case !isID(got, 16):
			return ruleMalformed
		}
		return ruleOwnSpans
	case "traceparent":
		return changedContext(sent, got, parseTraceparent)
	case "b3":
		return changedContext(sent, got, parseB3)
	}
	return ruleChanged
}

func changedContext(sent, got string, parse func(string) (spanContext, bool)) string {
	was, _ := parse(sent)
	is, ok := parse(got)
	switch {
	case !ok:
		return ruleMalformed
	case is.trace != was.trace && len(is.trace) == 16 && strings.HasSuffix(was.trace, is.trace):
		return ruleTruncated
	case is.trace != was.trace:
		return ruleNewTrace
	case is.span != was.span:
		return ruleOwnSpans
	case is.sampled != was.sampled:
		return ruleSampledChanged
	}
	return ruleChanged
}

// spanContext is what one format says.
type spanContext struct {
	format      string // b3, b3-single or w3c
	trace, span string
	sampled     string // 1, 0 or empty for an open decision
}

func isID(s string, length int) bool {
	if len(s) != length || strings.Trim(s, "0") == "" {
		return false
	}
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// parseTraceparent reads version 00 (https://www.w3.org/TR/trace-context/#traceparent-header).
func parseTraceparent(v string) (spanContext, bool) {
	part := strings.Split(v, "-")
	if len(v) != 55 || len(part) != 4 || part[0] != "00" || !isID(part[1], 32) || !isID(part[2], 16) || v != strings.ToLower(v) {
		return spanContext{}, false
	}
	sampled := "0"
	if last := part[3][1]; last == '1' || last == '3' {
		sampled = "1"
	}
	return spanContext{"w3c", part[1], part[2], sampled}, true
}

// parseB3 reads the header b3 (https://github.com/openzipkin/b3-propagation#single-header).
func parseB3(v string) (spanContext, bool) {
	part := strings.Split(v, "-")
	if len(part) < 2 || len(part) > 4 || !isID(part[0], 16) && !isID(part[0], 32) || !isID(part[1], 16) {
		return spanContext{}, false
	}
	c := spanContext{format: "b3-single", trace: part[0], span: part[1]}
	if len(part) > 2 {
		c.sampled = strings.Replace(part[2], "d", "1", 1)
	}
	return c, true
}

// contexts reads every format in a set of headers. malformed lists headers that are there and cannot be read.
func contexts(h map[string][]string) (found []spanContext, malformed []string) {
	first := func(name string) string {
		if len(h[name]) == 0 {
			return ""
		}
		return h[name][0]
	}
	if trace, span := first("x-b3-traceid"), first("x-b3-spanid"); trace != "" || span != "" {
		if (isID(trace, 16) || isID(trace, 32)) && isID(span, 16) {
			found = append(found, spanContext{"b3", trace, span, first("x-b3-sampled")})
		} else {
			malformed = append(malformed, "x-b3-traceid", "x-b3-spanid")
		}
	}
	for name, parse := range map[string]func(string) (spanContext, bool){"traceparent": parseTraceparent, "b3": parseB3} {
		if v := first(name); v != "" && v != "0" && v != "1" && v != "d" {
			if c, ok := parse(v); ok {
				found = append(found, c)
			} else {
				malformed = append(malformed, name)
			}
		}
	}
	slices.SortFunc(found, func(a, b spanContext) int { return strings.Compare(a.format, b.format) })
	return found, malformed
}

// sameTrace compares ids of 64 and 128 bits by the right half when one of them has no other.
func sameTrace(a, b string) bool { return padded(a) == padded(b) }

func padded(id string) string {
	return strings.Repeat("0", max(0, 32-len(id))) + strings.ToLower(id)
}

// headerOf is the header that names the span in a format.
func headerOf(format string) string {
	switch format {
	case "b3":
		return "x-b3-spanid"
	case "b3-single":
		return "b3"
	}
	return "traceparent"
}
