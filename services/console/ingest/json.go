package ingest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds nesting in fields that are skipped.
const maxDepth = 64

// scanner reads JSON (RFC 8259) from a string, of which the text it returns is part wherever nothing is escaped.
type scanner struct {
	s   string
	i   int
	err *Malformed
}

// fail keeps the first error and moves to the end, so that every loop ends.
func (p *scanner) fail(at int, format string, args ...any) {
	if p.err == nil {
		p.err = &Malformed{Offset: at, Reason: fmt.Sprintf(format, args...)}
	}
	p.i = len(p.s)
}

func (p *scanner) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// peek returns the next byte that is no space, 0 at the end.
func (p *scanner) peek() byte {
	p.space()
	if p.i == len(p.s) {
		return 0
	}
	return p.s[p.i]
}

func (p *scanner) found() string {
	if p.i >= len(p.s) {
		return "the end of the body"
	}
	r, _ := utf8.DecodeRuneInString(p.s[p.i:])
	return strconv.QuoteRune(r)
}

// take reads one byte that must be c.
func (p *scanner) take(c byte) bool {
	if p.peek() != c || p.i == len(p.s) {
		p.fail(p.i, "expected %q, found %s", c, p.found())
		return false
	}
	p.i++
	return true
}

// more goes on in an array or object: true at the next element, false behind the closing byte. first is true once.
func (p *scanner) more(closing byte, first *bool) bool {
	if p.err != nil {
		return false
	}
	switch c := p.peek(); {
	case c == closing && p.i < len(p.s):
		p.i++
		return false
	case *first:
		*first = false
		if p.i == len(p.s) {
			p.fail(p.i, "expected %q, found the end of the body", closing)
			return false
		}
		return true
	case c == ',':
		p.i++
		if p.peek() == closing {
			p.fail(p.i, "expected a value after the comma, found %q", closing)
			return false
		}
		return true
	}
	p.fail(p.i, "expected ',' or %q, found %s", closing, p.found())
	return false
}

// plain tells the bytes of a string that need no second look.
var plain = func() (t [256]bool) {
	for c := range 256 {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

// text reads a string.
func (p *scanner) text() string {
	if !p.take('"') {
		return ""
	}
	start, s := p.i, p.s
	i := start
	for i < len(s) && plain[s[i]] {
		i++
	}
	if i < len(s) && s[i] == '"' {
		p.i = i + 1
		return s[start:i]
	}
	return p.escaped(start, i)
}

func (p *scanner) escaped(start, i int) string {
	b := append(make([]byte, 0, i-start+16), p.s[start:i]...)
	for i < len(p.s) {
		c := p.s[i]
		switch {
		case c == '"':
			p.i = i + 1
			return string(b)
		case c < 0x20:
			p.fail(i, "a control character %#02x in a string must be escaped", c)
			return ""
		case c != '\\':
			b = append(b, c)
			i++
			continue
		}
		if i+1 >= len(p.s) {
			break
		}
		if c = p.s[i+1]; c == 'u' {
			r, ok := hex4(p.s, i+2)
			if !ok {
				p.fail(i, `\u needs four hex digits`)
				return ""
			}
			i += 6
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if strings.HasPrefix(p.s[i:], `\u`) {
					low, ok = hex4(p.s, i+2)
				}
				if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
					r = pair
					i += 6
				} else {
					r = utf8.RuneError
				}
			}
			b = utf8.AppendRune(b, r)
			continue
		}
		at := strings.IndexByte(`"\/bfnrt`, c)
		if at < 0 {
			p.fail(i, "unknown escape \\%c", c)
			return ""
		}
		b = append(b, "\"\\/\b\f\n\r\t"[at])
		i += 2
	}
	p.fail(start-1, "the string that begins here does not end")
	return ""
}

func hex4(s string, i int) (r rune, ok bool) {
	if i+4 > len(s) {
		return 0, false
	}
	for _, c := range []byte(s[i : i+4]) {
		d, ok := hexDigit(c)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// number reads a number and returns its text.
func (p *scanner) number() string {
	p.space()
	start := p.i
	digits := func() bool {
		from := p.i
		for p.i < len(p.s) && p.s[p.i]-'0' <= 9 {
			p.i++
		}
		return p.i > from
	}
	next := func(c byte) bool {
		if p.i < len(p.s) && p.s[p.i] == c {
			p.i++
			return true
		}
		return false
	}
	next('-')
	ok := next('0') || digits()
	if ok && next('.') {
		ok = digits()
	}
	if ok && (next('e') || next('E')) {
		_ = next('+') || next('-')
		ok = digits()
	}
	if !ok {
		p.fail(p.i, "expected a number, found %s", p.found())
		return ""
	}
	return p.s[start:p.i]
}

// integer reads a whole number, also one in quotes as some senders write large ones.
func (p *scanner) integer(least, most int64) int64 {
	quoted := p.peek() == '"'
	at := p.i
	var s string
	if quoted {
		s = p.text()
	} else {
		s = p.number()
	}
	if p.err != nil {
		return 0
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		if f, ferr := strconv.ParseFloat(s, 64); ferr == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			v, err = int64(f), nil
		}
	}
	if err != nil || v < least || v > most {
		p.fail(at, "expected a whole number from %d to %d, found %.40s", least, most, s)
		return 0
	}
	return v
}

// null reads the word null, when it comes next.
func (p *scanner) null() bool {
	if p.peek() != 'n' {
		return false
	}
	p.word("null")
	return true
}

func (p *scanner) word(w string) {
	if !strings.HasPrefix(p.s[p.i:], w) {
		p.fail(p.i, "expected a value, found %s", p.found())
		return
	}
	p.i += len(w)
}

// boolean reads true or false.
func (p *scanner) boolean() bool {
	if p.peek() == 't' {
		p.word("true")
		return true
	}
	if p.peek() != 'f' {
		p.fail(p.i, "expected true or false, found %s", p.found())
		return false
	}
	p.word("false")
	return false
}

// scalar reads a string, a number or a boolean as text.
func (p *scanner) scalar() string {
	switch c := p.peek(); {
	case c == '"':
		return p.text()
	case c == 't' || c == 'f':
		return strconv.FormatBool(p.boolean())
	case c == '-' || c-'0' <= 9:
		return p.number()
	}
	p.fail(p.i, "expected a string, found %s", p.found())
	return ""
}

// skip reads any value.
func (p *scanner) skip(depth int) {
	if depth > maxDepth {
		p.fail(p.i, "nested more than %d deep", maxDepth)
		return
	}
	first := true
	switch p.peek() {
	case '{':
		for p.i++; p.more('}', &first); {
			p.text()
			p.take(':')
			p.skip(depth + 1)
		}
	case '[':
		for p.i++; p.more(']', &first); {
			p.skip(depth + 1)
		}
	case 'n':
		p.word("null")
	default:
		p.scalar()
	}
}
