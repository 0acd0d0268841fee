// Package pyjson reads JSON and writes it again in the spelling of Python's json.dumps, which clients of the original
// productpage see: ", " and ": " between the parts, everything outside ASCII escaped, keys in the order they came.
package pyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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
	if !json.Valid(data) { // Decoder.Token alone overlooks some errors between tokens
		return Value{}, errors.New("not JSON")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return parse(decoder, 0)
}

func parse(decoder *json.Decoder, depth int) (Value, error) {
	if depth > maxDepth {
		return Value{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	token, err := decoder.Token()
	if err != nil {
		return Value{}, err
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return parseArray(decoder, depth)
		}
		return parseObject(decoder, depth)
	case string:
		return Text(token), nil
	case json.Number:
		return number(token.String())
	case bool:
		return Value{kind: Bool, text: strconv.FormatBool(token)}, nil
	}
	return Value{}, nil
}

func parseArray(decoder *json.Decoder, depth int) (Value, error) {
	array := Value{kind: Array}
	for decoder.More() {
		item, err := parse(decoder, depth+1)
		if err != nil {
			return Value{}, err
		}
		array.items = append(array.items, item)
	}
	_, err := decoder.Token()
	return array, err
}

func parseObject(decoder *json.Decoder, depth int) (Value, error) {
	object := Value{kind: Object}
	place := map[string]int{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return Value{}, err
		}
		name, ok := token.(string)
		if !ok {
			return Value{}, io.ErrUnexpectedEOF
		}
		value, err := parse(decoder, depth+1)
		if err != nil {
			return Value{}, err
		}
		if i, seen := place[name]; seen {
			object.fields[i].value = value
			continue
		}
		place[name] = len(object.fields)
		object.fields = append(object.fields, field{name, value})
	}
	_, err := decoder.Token()
	return object, err
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
