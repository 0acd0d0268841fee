package details

import (
	"math/big"
	"strings"
)

// parseID reads an integer as Ruby's Kernel#Integer does: white space around it, a sign, a prefix for the base (0x, 0b,
// 0o or a bare 0 for octal, 0d), and single underscores between digits. Size does not matter.
func parseID(s string) (*big.Int, bool) {
	s = strings.Trim(s, " \t\n\v\f\r")
	digits := strings.TrimPrefix(s, "-")
	negative := digits != s
	if !negative {
		digits = strings.TrimPrefix(s, "+")
	}
	base := 10
	if len(digits) > 1 && digits[0] == '0' {
		base, digits = prefixed(digits)
	}
	number, ok := join(digits)
	if !ok {
		return nil, false
	}
	id, ok := new(big.Int).SetString(number, base)
	if !ok {
		return nil, false
	}
	if negative {
		id.Neg(id)
	}
	return id, true
}

// prefixed takes the prefix off digits that begin with 0, of which there are at least two.
func prefixed(digits string) (base int, rest string) {
	switch digits[1] {
	case 'x', 'X':
		return 16, digits[2:]
	case 'b', 'B':
		return 2, digits[2:]
	case 'o', 'O':
		return 8, digits[2:]
	case 'd', 'D':
		return 10, digits[2:]
	}
	return 8, digits // the 0 itself is a digit: 0_7 is right
}

// join takes out underscores, each of which must stand between two digits.
func join(digits string) (string, bool) {
	if digits == "" || digits[0] == '_' || digits[len(digits)-1] == '_' || strings.Contains(digits, "__") {
		return "", false
	}
	// SetString would take another sign.
	if digits[0] == '+' || digits[0] == '-' {
		return "", false
	}
	return strings.ReplaceAll(digits, "_", ""), true
}
