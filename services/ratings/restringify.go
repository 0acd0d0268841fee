package ratings

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep posted JSON may be nested; it is not ECMAScript's limit, which depends on its stack.
const maxDepth = 200

var (
	errNotJSON = errors.New("not JSON")
	errTooDeep = errors.New("nested deeper than " + strconv.Itoa(maxDepth))
)

// restringify returns what JSON.stringify(JSON.parse(text)) gives in ECMAScript: without white space, numbers as float64,
// the last of duplicate keys in the place of the first, and keys that are array indexes in front.
func restringify(text []byte) ([]byte, error) {
	if !json.Valid(text) {
		return nil, errNotJSON
	}
	r := reader{text: text}
	return r.value(make([]byte, 0, len(text)), 0)
}

// reader walks over text that is known to be valid JSON.
type reader struct {
	text []byte
	at   int
}

// next skips white space and returns the byte after it, without passing it.
func (r *reader) next() byte {
	for {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return c
		}
	}
}

func (r *reader) value(dst []byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errTooDeep
	}
	switch r.next() {
	case '{':
		return r.object(dst, depth)
	case '[':
		return r.array(dst, depth)
	case '"':
		return r.string(dst), nil
	case 't', 'n':
		r.at += len("true")
		return append(dst, r.text[r.at-len("true"):r.at]...), nil
	case 'f':
		r.at += len("false")
		return append(dst, "false"...), nil
	}
	return r.number(dst), nil
}

func (r *reader) number(dst []byte) []byte {
	start := r.at
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case '0' <= c && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			r.at++
			continue
		}
		break
	}
	// Too large a number is infinity, for which AppendNumber writes null.
	f, _ := strconv.ParseFloat(string(r.text[start:r.at]), 64)
	return AppendNumber(dst, f)
}

func (r *reader) array(dst []byte, depth int) ([]byte, error) {
	r.at++
	dst = append(dst, '[')
	for first := true; ; first = false {
		switch r.next() {
		case ']':
			r.at++
			return append(dst, ']'), nil
		case ',':
			r.at++
		}
		if !first {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = r.value(dst, depth+1); err != nil {
			return nil, err
		}
	}
}

// member is one key of an object with its value, both as they are written.
type member struct {
	key, value string
}

func (r *reader) object(dst []byte, depth int) ([]byte, error) {
	r.at++
	var members []member
	place := map[string]int{}
	for done := false; !done; {
		switch r.next() {
		case '}':
			done = true
			r.at++
			continue
		case ',':
			r.at++
			r.next()
		}
		key := string(r.string(nil))
		r.next()
		r.at++ // the colon
		value, err := r.value(nil, depth+1)
		if err != nil {
			return nil, err
		}
		if i, seen := place[key]; seen {
			members[i].value = string(value)
			continue
		}
		place[key] = len(members)
		members = append(members, member{key, string(value)})
	}
	slices.SortStableFunc(members, byIndex)

	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, m.key...), ':'), m.value...)
	}
	return append(dst, '}'), nil
}

// byIndex puts array indexes first, by number, and leaves other keys as they came.
func byIndex(a, b member) int {
	i, isIndex := arrayIndex(a.key[1 : len(a.key)-1])
	j, isIndexToo := arrayIndex(b.key[1 : len(b.key)-1])
	switch {
	case isIndex && isIndexToo:
		return int(int64(i) - int64(j))
	case isIndex:
		return -1
	case isIndexToo:
		return 1
	}
	return 0
}

// string reads a string and writes it in the one form that JSON.stringify has for it. Strings of ECMAScript are UTF-16:
// half a surrogate pair can stand alone in them and is written as an escape.
func (r *reader) string(dst []byte) []byte {
	r.at++
	dst = append(dst, '"')
	for {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			return append(dst, '"')
		case c == '\\':
			dst = appendRune(dst, r.escape())
		case c < utf8.RuneSelf:
			r.at++
			dst = append(dst, c)
		default:
			char, size := utf8.DecodeRune(r.text[r.at:])
			r.at += size
			dst = utf8.AppendRune(dst, char)
		}
	}
}

// escape reads an escape sequence, and the second one of a surrogate pair with the first.
func (r *reader) escape() rune {
	c := r.text[r.at+1]
	if c != 'u' {
		r.at += 2
		switch c {
		case 'b':
			return '\b'
		case 'f':
			return '\f'
		case 'n':
			return '\n'
		case 'r':
			return '\r'
		case 't':
			return '\t'
		}
		return rune(c)
	}
	char := r.unit()
	if isSurrogate(char) && r.text[r.at] == '\\' && r.text[r.at+1] == 'u' {
		back := r.at
		if pair := utf16.DecodeRune(char, r.unit()); pair != utf8.RuneError {
			return pair
		}
		r.at = back
	}
	return char
}

// unit reads \uXXXX.
func (r *reader) unit() rune {
	n, _ := strconv.ParseUint(string(r.text[r.at+2:r.at+6]), 16, 16) // valid JSON has four hexadecimal digits here
	r.at += 6
	return rune(n)
}
