package ratings

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parseInt is ECMAScript's function of that name without a radix (ECMA-262, section 19.2.5): white space, a sign, then
// as many digits as there are, hexadecimal after 0x; what follows is ignored. It is NaN without a digit.
func parseInt(s string) float64 {
	s = strings.TrimLeftFunc(s, isSpace)
	negative := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		negative = s[0] == '-'
		s = s[1:]
	}
	isDigit := func(c byte) bool { return '0' <= c && c <= '9' }
	prefix, suffix := "", ""
	if len(s) >= 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		s = s[2:]
		isDigit = isHexDigit
		prefix, suffix = "0x", "p0"
	}
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	if n == 0 {
		return math.NaN()
	}
	// Beyond the largest float64 ParseFloat gives infinity, as parseInt does, and an error that says no more.
	value, _ := strconv.ParseFloat(prefix+s[:n]+suffix, 64)
	if negative {
		value = -value
	}
	return value
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// isSpace is WhiteSpace and LineTerminator of ECMA-262.
func isSpace(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF:
		return true
	}
	return 0x2000 <= r && r <= 0x200A
}

// AppendNumber writes a number as JSON.stringify does: by Number::toString (ECMA-262, section 6.1.6.1.20), with null for
// what JSON has no number for.
func AppendNumber(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return append(dst, "null"...)
	case f == 0: // minus zero too
		return append(dst, '0')
	case abs >= 1e21 || abs < 1e-6:
		dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
		// Go pads the exponent to two digits.
		if n := len(dst); dst[n-2] == '0' && (dst[n-3] == '+' || dst[n-3] == '-') {
			dst[n-2] = dst[n-1]
			dst = dst[:n-1]
		}
		return dst
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// arrayIndex tells whether an object's key is the decimal form of a number from 0 to 2^32-2. Such keys come first in an
// object of ECMAScript, in the order of the numbers.
func arrayIndex(key string) (uint32, bool) {
	if key == "" || len(key) > 10 || key[0] == '0' && key != "0" {
		return 0, false
	}
	n, err := strconv.ParseUint(key, 10, 32)
	if err != nil || n == math.MaxUint32 || key[0] == '+' {
		return 0, false
	}
	return uint32(n), true
}

// appendRune writes a character of a string as JSON.stringify does (ECMA-262, section 25.5.2.4).
func appendRune(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	if r < ' ' || isSurrogate(r) {
		return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
	}
	return utf8.AppendRune(dst, r)
}

func isSurrogate(r rune) bool { return 0xD800 <= r && r <= 0xDFFF }
