package expr

import (
	"strconv"
	"strings"
)

type kind int

const (
	end kind = iota
	word
	quoted
	operator // = != < <= > >=
	open
	closing
	keyword // and, or, not in lower case
)

type token struct {
	kind kind
	text string
	pos  int
}

func (t token) String() string {
	if t.kind == end {
		return "the end"
	}
	return strconv.Quote(t.text)
}

type parser struct {
	s   string
	at  int
	tok token
	err error
}

func (p *parser) fail(pos int, msg string) {
	if p.err == nil {
		p.err = &Error{pos, msg}
	}
	p.at, p.tok = len(p.s), token{kind: end, pos: len(p.s)}
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 ||
		strings.IndexByte("_.:/@-*+$%", c) >= 0
}

func (p *parser) next() {
	for p.at < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.at]) >= 0 {
		p.at++
	}
	start := p.at
	if start == len(p.s) {
		p.tok = token{kind: end, pos: start}
		return
	}
	rest := p.s[start:]
	for _, f := range [...]struct {
		text string
		kind kind
		is   string
	}{
		{"==", operator, "="}, {"!=", operator, "!="}, {"<=", operator, "<="}, {">=", operator, ">="},
		{"&&", keyword, "and"}, {"||", keyword, "or"},
		{"=", operator, "="}, {"<", operator, "<"}, {">", operator, ">"}, {"!", keyword, "not"},
		{"(", open, "("}, {")", closing, ")"},
	} {
		if strings.HasPrefix(rest, f.text) {
			p.at += len(f.text)
			p.tok = token{f.kind, f.is, start}
			return
		}
	}
	if c := rest[0]; c == '"' || c == '\'' {
		p.quoted(c)
		return
	}
	for p.at < len(p.s) && isWord(p.s[p.at]) {
		p.at++
	}
	if p.at == start {
		p.fail(start, "unexpected "+strconv.Quote(firstRune(rest))+"; put text with such characters in quotes")
		return
	}
	p.tok = token{word, p.s[start:p.at], start}
	if isKeyword(p.tok.text) {
		p.tok.kind, p.tok.text = keyword, strings.ToLower(p.tok.text)
	}
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

func (p *parser) quoted(quote byte) {
	start := p.at
	var b strings.Builder
	for p.at++; p.at < len(p.s); p.at++ {
		switch c := p.s[p.at]; {
		case c == quote:
			p.at++
			p.tok = token{quoted, b.String(), start}
			return
		case c == '\\' && p.at+1 < len(p.s):
			p.at++
			b.WriteByte(p.s[p.at])
		default:
			b.WriteByte(c)
		}
	}
	p.fail(start, "the text that begins with "+string(quote)+" here does not end")
}

func (p *parser) or(depth int) node {
	n := p.and(depth)
	for p.tok.kind == keyword && p.tok.text == "or" {
		p.next()
		n = or{n, p.and(depth)}
	}
	return n
}

func (p *parser) and(depth int) node {
	n := p.unary(depth)
	for p.tok.kind == keyword && p.tok.text == "and" {
		p.next()
		n = and{n, p.unary(depth)}
	}
	return n
}

func (p *parser) unary(depth int) node {
	t := p.tok
	switch {
	case depth > MaxDepth:
		p.fail(t.pos, "nested more than "+strconv.Itoa(MaxDepth)+" deep")
	case t.kind == keyword && t.text == "not":
		p.next()
		return not{p.unary(depth + 1)}
	case t.kind == open:
		p.next()
		n := p.or(depth + 1)
		if p.err == nil && p.tok.kind != closing {
			p.fail(p.tok.pos, "expected ) for the ( at character "+strconv.Itoa(t.pos+1)+", found "+p.tok.String())
			return n
		}
		p.next()
		return n
	case t.kind == word || t.kind == quoted:
		p.next()
		return p.comparison(t)
	default:
		p.fail(t.pos, "expected a tag's name, not or (, found "+t.String())
	}
	return exists{}
}

func (p *parser) comparison(key token) node {
	if key.text == "" {
		p.fail(key.pos, "a tag's name is empty")
		return exists{}
	}
	if p.tok.kind != operator {
		return exists{key.text}
	}
	n := &compare{key: key.text, op: p.tok.text}
	p.next()
	v := p.tok
	switch v.kind {
	case word:
		if f, err := strconv.ParseFloat(v.text, 64); err == nil && f == f {
			n.number, n.numeric = f, true
		}
	case quoted:
	default:
		p.fail(v.pos, "expected a value after "+n.op+", found "+v.String())
		return n
	}
	n.value = v.text
	p.next()
	return n
}
