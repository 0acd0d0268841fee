// Package expr is the language in which traces are searched by tags:
//
//	http.status_code >= 500 and not (component = "proxy" or error)
//
// A comparison is a key, one of = != < <= > >=, and a value; a key alone asks whether the span has that tag. not
// binds tighter than and, and tighter than or; parentheses group. Keys and values that hold more than letters,
// digits and _ . : / @ - * stand in double or single quotes, with \ before a quote or a backslash.
//
// A value without quotes that is a number compares as a number, and then matches only tags that are numbers (= and
// != also those that are the same text); every other value compares as text. A comparison with a tag that the span
// lacks is false, also with !=.
package expr

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxLength bounds the text of an expression, in bytes; MaxDepth its nesting.
const (
	MaxLength = 4096
	MaxDepth  = 64
)

// Error is a mistake in an expression.
type Error struct {
	Pos int // byte offset, from 0
	Msg string
}

func (e *Error) Error() string {
	return fmt.Sprintf("tag expression, at character %d: %s", e.Pos+1, e.Msg)
}

// Lookup returns the value of a span's tag and whether it has one.
type Lookup func(key string) (value string, ok bool)

// Expr is a parsed expression. It may be used by several goroutines at once.
type Expr struct {
	root node
	keys []string
	must [][]Condition
}

// Condition is what a tag must be.
type Condition struct {
	Key   string
	Value string // with Equal
	Equal bool   // Key has exactly that text; otherwise Key exists
	cmp   *compare
}

// Holds reports whether a tag of that value meets the condition.
func (c *Condition) Holds(value string) bool { return c.cmp == nil || c.cmp.holds(value) }

// Match reports whether the expression holds for the tags behind get.
func (e *Expr) Match(get Lookup) bool { return e.root.match(get) }

// Keys are the tags that the expression looks at, each once.
func (e *Expr) Keys() []string { return e.keys }

// Must are clauses that follow from the expression, so that an index can rule out spans before matching them: of each
// clause at least one condition holds wherever the whole expression does.
func (e *Expr) Must() [][]Condition { return e.must }

// String gives the expression back in one spelling, with quotes and parentheses where they are needed.
func (e *Expr) String() string { return e.root.text(0) }

// Parse reads an expression. The error is an *Error.
func Parse(s string) (*Expr, error) {
	if len(s) > MaxLength {
		return nil, &Error{MaxLength, fmt.Sprintf("longer than %d bytes", MaxLength)}
	}
	p := &parser{s: s}
	p.next()
	root := p.or(0)
	if p.err == nil && p.tok.kind != end {
		p.fail(p.tok.pos, "expected and, or, or the end, found "+p.tok.String())
	}
	if p.err != nil {
		return nil, p.err
	}
	e := &Expr{root: root}
	seen := map[string]bool{}
	root.each(func(key string) {
		if !seen[key] {
			seen[key] = true
			e.keys = append(e.keys, key)
		}
	})
	e.must = root.must()
	return e, nil
}

type node interface {
	match(Lookup) bool
	each(func(key string))
	must() [][]Condition
	text(outer int) string
}

type (
	or      struct{ a, b node }
	and     struct{ a, b node }
	not     struct{ a node }
	exists  struct{ key string }
	compare struct {
		key, op, value string
		number         float64
		numeric        bool
	}
)

func (n or) match(get Lookup) bool       { return n.a.match(get) || n.b.match(get) }
func (n and) match(get Lookup) bool      { return n.a.match(get) && n.b.match(get) }
func (n not) match(get Lookup) bool      { return !n.a.match(get) }
func (n exists) match(get Lookup) bool   { _, ok := get(n.key); return ok }
func (n *compare) match(get Lookup) bool { v, ok := get(n.key); return ok && n.holds(v) }

func (n *compare) holds(v string) bool {
	var c int
	if n.numeric {
		number, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return n.op == "!=" && v != n.value
		}
		if number != number {
			return n.op == "!="
		}
		c = cmp.Compare(number, n.number)
	} else {
		c = strings.Compare(v, n.value)
	}
	switch n.op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func (n or) each(f func(string))       { n.a.each(f); n.b.each(f) }
func (n and) each(f func(string))      { n.a.each(f); n.b.each(f) }
func (n not) each(f func(string))      { n.a.each(f) }
func (n exists) each(f func(string))   { f(n.key) }
func (n *compare) each(f func(string)) { f(n.key) }

// must of either side is not known to hold, but a clause of one or a clause of the other is.
func (n or) must() [][]Condition {
	a, b := n.a.must(), n.b.must()
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	return [][]Condition{append(slices.Clone(a[0]), b[0]...)}
}
func (n and) must() [][]Condition    { return append(n.a.must(), n.b.must()...) }
func (n not) must() [][]Condition    { return nil }
func (n exists) must() [][]Condition { return [][]Condition{{{Key: n.key}}} }
func (n *compare) must() [][]Condition {
	if n.op == "=" && !n.numeric {
		return [][]Condition{{{Key: n.key, Value: n.value, Equal: true, cmp: n}}}
	}
	return [][]Condition{{{Key: n.key, cmp: n}}}
}

func group(inner, outer int, s string) string {
	if inner < outer {
		return "(" + s + ")"
	}
	return s
}

func (n or) text(outer int) string  { return group(1, outer, n.a.text(1)+" or "+n.b.text(2)) }
func (n and) text(outer int) string { return group(2, outer, n.a.text(2)+" and "+n.b.text(3)) }
func (n not) text(int) string       { return "not " + n.a.text(3) }
func (n exists) text(int) string    { return quote(n.key, false) }
func (n *compare) text(int) string {
	if n.numeric {
		return quote(n.key, false) + " " + n.op + " " + n.value
	}
	return quote(n.key, false) + " " + n.op + " " + quote(n.value, true)
}

func quote(s string, value bool) string {
	bare := s != "" && !isKeyword(s)
	for i := 0; i < len(s); i++ {
		bare = bare && isWord(s[i])
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil && value {
		bare = false
	}
	if bare && !value {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func isKeyword(s string) bool {
	switch strings.ToLower(s) {
	case "and", "or", "not":
		return true
	}
	return false
}
