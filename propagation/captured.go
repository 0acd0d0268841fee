package propagation

import (
	"math/bits"
	"net/http"
	"slices"
	"strings"
)

// Captured holds the headers that came with one request. It does not change and may be used by several goroutines. The
// zero value holds none.
type Captured struct {
	fields []field // in the order of the table
}

type field struct {
	row   int
	value string
}

// Capture takes the headers of the set from those of a request. The names in h must be in canonical form, as net/http
// makes them. Nothing of h is kept but the values.
func (s Set) Capture(h http.Header) Captured {
	// The loop of CaptureFunc again, without the call of a function for each row: this runs for every request.
	var found [len(rows)]field
	n := 0
	for rest := s.mask; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if lines := h[rows[i].key]; len(lines) > 0 {
			if value := merge(lines, rows[i].join); value != "" {
				found[n] = field{i, value}
				n++
			}
		}
	}
	return newCaptured(found[:n])
}

// CaptureFunc does the same with anything that can tell the values of a header by its name in lower case, for example
// the metadata of gRPC. No value, or a first one that is empty, means that the header did not come.
func (s Set) CaptureFunc(values func(name string) []string) Captured {
	var found [len(rows)]field
	n := 0
	for rest := s.mask; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if value := merge(values(rows[i].name), rows[i].join); value != "" {
			found[n] = field{i, value}
			n++
		}
	}
	return newCaptured(found[:n])
}

// merge makes one value of the lines of a header. Without join the first line counts, as in Envoy
// (source/common/tracing/trace_context_impl.cc).
func merge(lines []string, join string) string {
	switch {
	case len(lines) == 0:
		return ""
	case len(lines) == 1 || join == "":
		return lines[0]
	}
	return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return line == "" }), join)
}

func newCaptured(found []field) Captured {
	if len(found) == 0 {
		return Captured{}
	}
	return Captured{slices.Clone(found)}
}

// Apply sets the captured headers on h, each on one line, in place of any that h has under the same name.
func (c Captured) Apply(h http.Header) {
	// One array for all values, cut so that an append to one of them cannot reach its neighbour.
	values := make([]string, len(c.fields))
	for i, f := range c.fields {
		values[i] = f.value
		h[rows[f.row].key] = values[i : i+1 : i+1]
	}
}

// Get returns the value of a header by its name in any case, or "" when it did not come.
func (c Captured) Get(name string) string {
	for _, f := range c.fields {
		if strings.EqualFold(rows[f.row].name, name) {
			return f.value
		}
	}
	return ""
}

// Len returns the number of headers.
func (c Captured) Len() int { return len(c.fields) }

// All calls yield with name, in lower case, and value of each header in the order of the table, until yield returns
// false. From Go 1.23 on it can be ranged over: for name, value := range c.All { … }.
func (c Captured) All(yield func(name, value string) bool) {
	for _, f := range c.fields {
		if !yield(rows[f.row].name, f.value) {
			return
		}
	}
}

// Only narrows what was captured to the headers of set.
func (c Captured) Only(set Set) Captured {
	return newCaptured(slices.DeleteFunc(slices.Clone(c.fields), func(f field) bool { return set.mask&(1<<f.row) == 0 }))
}
