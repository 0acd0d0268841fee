// Package pyjson reads JSON and writes it again in the spelling of Python's json.dumps, which clients of the original
// productpage see: ", " and ": " between the parts, everything outside ASCII escaped, keys in the order they came.
package pyjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Kind is the type of a Value.
type Kind int

// The kinds of JSON values.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// Value is a JSON value. The zero value is null.
type Value struct {
	kind   Kind
	text   string // of a string; the literal of a number; "true" or "false"
	items  []Value
	fields []field
}

type field struct {
	name  string
	value Value
}

// maxDepth bounds nesting, well below what would exhaust a stack.
const maxDepth = 200

// maxDigits is the longest whole number that Python converts from text.
const maxDigits = 4300

// Parse reads exactly one JSON value. Of a key that comes twice the last value counts, at the place of the first.
func Parse(data []byte) (Value, error) {
	if !json.Valid(data) {
		return Value{}, errors.New("not JSON")
	}
	r := reader{text: string(data)}
	return r.value(0)
}

// reader walks through text that is known to be valid JSON, so it need not look for mistakes.
type reader struct {
	text string
	at   int
}

// next skips white space, commas and colons and returns the byte behind them.
func (r *reader) next() byte {
	for {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\n', '\r', ',', ':':
			r.at++
		default:
			return c
		}
	}
}

func (r *reader) value(depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch r.next() {
	case '{':
		return r.object(depth)
	case '[':
		return r.array(depth)
	case '"':
		s, err := r.string()
		return Text(s), err
	case 't':
		r.at += len("true")
		return Value{kind: Bool, text: "true"}, nil
	case 'f':
		r.at += len("false")
		return Value{kind: Bool, text: "false"}, nil
	case 'n':
		r.at += len("null")
		return Value{}, nil
	}
	start := r.at
	for r.at < len(r.text) && strings.IndexByte("+-.0123456789Ee", r.text[r.at]) >= 0 {
		r.at++
	}
	return number(r.text[start:r.at])
}

func (r *reader) array(depth int) (Value, error) {
	array := Value{kind: Array}
	for r.at++; r.next() != ']'; {
		item, err := r.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		array.items = append(array.items, item)
	}
	r.at++
	return array, nil
}

func (r *reader) object(depth int) (Value, error) {
	object := Value{kind: Object, fields: make([]field, 0, 4)}
	var place map[string]int // of each name, once there are too many to look through
	for r.at++; r.next() != '}'; {
		name, err := r.string()
		if err != nil {
			return Value{}, err
		}
		value, err := r.value(depth + 1)
		if err != nil {
			return Value{}, err
		}
		if i := object.index(name, place); i >= 0 {
			object.fields[i].value = value
			continue
		}
		object.fields = append(object.fields, field{name, value})
		switch n := len(object.fields); {
		case n == fewFields:
			place = make(map[string]int, 2*n)
			for i, f := range object.fields {
				place[f.name] = i
			}
		case n > fewFields:
			place[name] = n - 1
		}
	}
	r.at++
	return object, nil
}

// fewFields is how many names are looked through one by one.
const fewFields = 16

// index returns the place of a field, or -1: by the map if there is one.
func (v Value) index(name string, place map[string]int) int {
	if place != nil {
		if i, seen := place[name]; seen {
			return i
		}
		return -1
	}
	return slices.IndexFunc(v.fields, func(f field) bool { return f.name == name })
}

func (r *reader) string() (string, error) {
	start := r.at
	plain := true
	for r.at++; r.text[r.at] != '"'; r.at++ {
		switch c := r.text[r.at]; {
		case c == '\\':
			plain = false
			r.at++
		case c >= utf8.RuneSelf:
			plain = false // may not be UTF-8
		}
	}
	r.at++
	literal := r.text[start:r.at]
	if plain {
		return literal[1 : len(literal)-1], nil
	}
	var s string
	err := json.Unmarshal([]byte(literal), &s)
	return s, err
}

// number keeps whole numbers digit by digit and spells others as Python's repr does.
func number(literal string) (Value, error) {
	if !strings.ContainsAny(literal, ".eE") {
		if len(literal) > maxDigits {
			return Value{}, fmt.Errorf("a number of %d digits", len(literal))
		}
		if literal == "-0" {
			literal = "0"
		}
		return Value{kind: Number, text: literal}, nil
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return Value{}, err
	}
	return Value{kind: Number, text: repr(f)}, nil
}

// repr is float.__repr__: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e16 on.
func repr(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	scientific := strconv.FormatFloat(f, 'e', -1, 64)
	exponent, _ := strconv.Atoi(scientific[strings.IndexByte(scientific, 'e')+1:])
	if exponent < -4 || exponent >= 16 {
		return scientific
	}
	plain := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(plain, ".") {
		plain += ".0"
	}
	return plain
}

// Text returns a string value.
func Text(s string) Value { return Value{kind: String, text: s} }

// Int returns a number value.
func Int(n int) Value { return Value{kind: Number, text: strconv.Itoa(n)} }

// List returns an array of the items.
func List(items ...Value) Value { return Value{kind: Array, items: items} }

// With returns the object with one more field at its end; any other value is taken for an empty object.
func (v Value) With(name string, value Value) Value {
	return Value{kind: Object, fields: append(v.fields[:len(v.fields):len(v.fields)], field{name, value})}
}

// Kind returns the type of the value.
func (v Value) Kind() Kind { return v.kind }

// Get returns a field of an object; found is false if there is none or the value is no object.
func (v Value) Get(name string) (value Value, found bool) {
	for _, f := range v.fields {
		if f.name == name {
			return f.value, true
		}
	}
	return Value{}, false
}

// Items returns the items of an array, and none for any other value.
func (v Value) Items() []Value { return v.items }

// Int returns the value as a whole number; ok is false for anything else, a number with a fraction too.
func (v Value) Int() (n int, ok bool) {
	if v.kind != Number {
		return 0, false
	}
	n, err := strconv.Atoi(v.text)
	return n, err == nil
}

// Plain is the value for people: a string without its quotes, nothing for null, JSON for the rest.
func (v Value) Plain() string {
	switch v.kind {
	case Null:
		return ""
	case String:
		return v.text
	}
	return string(v.Append(nil))
}

// Append appends the value as Python's json.dumps would write it.
func (v Value) Append(b []byte) []byte {
	switch v.kind {
	case Bool, Number:
		return append(b, v.text...)
	case String:
		return appendString(b, v.text)
	case Array:
		b = append(b, '[')
		for i, item := range v.items {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = item.Append(b)
		}
		return append(b, ']')
	case Object:
		b = append(b, '{')
		for i, f := range v.fields {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendString(b, f.name)
			b = append(b, ": "...)
			b = f.value.Append(b)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r < utf8.RuneSelf || utf16.RuneLen(r) == 1:
			b = appendUnit(b, r)
		default:
			high, low := utf16.EncodeRune(r)
			b = appendUnit(appendUnit(b, high), low)
		}
	}
	return append(b, '"')
}

func appendUnit(b []byte, unit rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[unit>>12&15], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}
