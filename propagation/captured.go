package propagation

import (
	"iter"
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

// All yields name, in lower case, and value of each header in the order of the table.
func (c Captured) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, f := range c.fields {
			if !yield(rows[f.row].name, f.value) {
				return
			}
		}
	}
}

// Only narrows what was captured to the headers of set.
func (c Captured) Only(set Set) Captured {
	return newCaptured(slices.DeleteFunc(slices.Clone(c.fields), func(f field) bool { return set.mask&(1<<f.row) == 0 }))
}
