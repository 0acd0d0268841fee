package trace

import (
	"strings"

	"example.com/bookinfo/services/sidecar/header"
)

// record appends a tag for each trace header of h, if the configuration asks for it. A header of several lines gives
// several lines, so that a reader can tell it from one line with a comma; an empty value is written as two quotation
// marks, since Zipkin drops empty tags. Headers of identity are not trace headers.
func (t *Tracer) record(tags []Tag, prefix string, h header.Fields) []Tag {
	for _, name := range t.recorded {
		if !h.Has(name) {
			continue
		}
		lines := h.Values(name)
		for i := range lines {
			if lines[i] == "" {
				lines[i] = `""`
			}
		}
		tags = append(tags, Tag{prefix + name, strings.Join(lines, "\n")})
	}
	return tags
}
