// Package header holds the header fields of one message in the order of arrival, names in lower case, as Envoy keeps
// them: net/http's map forgets the order and renames fields, and what a learner sees on the wire shall be what a
// real sidecar sends.
package header

import (
	"slices"
	"strings"
)

// Field is one header line. Name is in lower case; Value is without the white space around it.
type Field struct{ Name, Value string }

// Fields is a message's header in order. A name may occur more than once. Lookups take the name in lower case and
// allocate nothing: a request has some twenty fields, and walking them is cheaper than keeping an index.
type Fields []Field

// Get returns the value of the first line with that name, or "".
func (f Fields) Get(name string) string {
	if i := f.index(name); i >= 0 {
		return f[i].Value
	}
	return ""
}

// Lookup is Get that tells an empty value from an absent line.
func (f Fields) Lookup(name string) (value string, ok bool) {
	if i := f.index(name); i >= 0 {
		return f[i].Value, true
	}
	return "", false
}

// Has tells whether a line with that name is there.
func (f Fields) Has(name string) bool { return f.index(name) >= 0 }

// Values returns the values of every line with that name, in order; nil if there is none.
func (f Fields) Values(name string) []string {
	var values []string
	for i := range f {
		if f[i].Name == name {
			values = append(values, f[i].Value)
		}
	}
	return values
}

// Joined returns the values of every line with that name joined by "," without a blank, empty ones included.
func (f Fields) Joined(name string) string {
	i := f.index(name)
	if i < 0 {
		return ""
	}
	if f[i+1:].index(name) < 0 {
		return f[i].Value
	}
	return strings.Join(f.Values(name), ",")
}

// Join makes the lines with that name one line, at the place of the first: their values joined by ",", empty ones left
// out, as Envoy does with fields that it reads as one.
func (f *Fields) Join(name string) {
	i := f.index(name)
	if i < 0 || (*f)[i+1:].index(name) < 0 {
		return
	}
	values := slices.DeleteFunc(f.Values(name), func(value string) bool { return value == "" })
	f.Set(name, strings.Join(values, ","))
}

// Set gives the first line with that name the value and drops the others; without one it appends a line.
func (f *Fields) Set(name, value string) {
	i := f.index(name)
	if i < 0 {
		*f = append(*f, Field{name, value})
		return
	}
	(*f)[i].Value = value
	rest := (*f)[i+1:]
	*f = append((*f)[:i+1], rest.without(name)...)
}

// Add appends a line.
func (f *Fields) Add(name, value string) { *f = append(*f, Field{name, value}) }

// Del removes every line with that name.
func (f *Fields) Del(name string) { *f = f.without(name) }

// DelFunc removes every line whose name drop answers true to.
func (f *Fields) DelFunc(drop func(name string) bool) {
	kept := (*f)[:0]
	for _, field := range *f {
		if !drop(field.Name) {
			kept = append(kept, field)
		}
	}
	*f = kept
}

// Clone returns a copy that shares no memory with f, with room for a few more lines.
func (f Fields) Clone() Fields {
	if f == nil {
		return nil
	}
	return append(make(Fields, 0, len(f)+8), f...)
}

func (f Fields) index(name string) int {
	for i := range f {
		if f[i].Name == name {
			return i
		}
	}
	return -1
}

// without moves the lines that stay to the front of f and returns them.
func (f Fields) without(name string) Fields {
	i := f.index(name)
	if i < 0 {
		return f
	}
	kept := f[:i]
	for _, field := range f[i+1:] {
		if field.Name != name {
			kept = append(kept, field)
		}
	}
	return kept
}
