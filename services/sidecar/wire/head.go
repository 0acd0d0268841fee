package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"example.com/bookinfo/services/sidecar/header"
)

// ReadRequest reads the next head into q, whose field storage is used again. The error is io.EOF when the connection
// ended between two messages, io.ErrUnexpectedEOF when it ended within a head, a *ProtocolError, or the source's.
// A head that is refused leaves in q what could be told of it, for the log.
func (r *Reader) ReadRequest(q *Request) error {
	*q = Request{Fields: q.Fields[:0]}
	if err := r.skipEmptyLines(); err != nil {
		return err
	}
	raw, err := r.head(MaxHead)
	if err != nil {
		return r.unexpected(err)
	}
	text, err := lowerNames(raw, bytes.IndexByte(raw, '\n')+1)
	if err != nil {
		return err
	}
	line, rest, _ := strings.Cut(text, "\r\n")
	if err := q.parseLine(line); err != nil {
		return err
	}
	if q.Fields, err = appendFields(q.Fields, rest); err != nil {
		return err
	}
	r.shrink()
	return q.frame()
}

// ReadResponse reads the next head into p. method is the request's, since HEAD and CONNECT decide on the body.
// Errors are those of ReadRequest.
func (r *Reader) ReadResponse(p *Response, method string) error {
	*p = Response{Fields: p.Fields[:0]}
	raw, err := r.head(MaxHead)
	if err != nil {
		return r.unexpected(err)
	}
	text, err := lowerNames(raw, bytes.IndexByte(raw, '\n')+1)
	if err != nil {
		return err
	}
	line, rest, _ := strings.Cut(text, "\r\n")
	if err := p.parseLine(line); err != nil {
		return err
	}
	if p.Fields, err = appendFields(p.Fields, rest); err != nil {
		return err
	}
	r.shrink()
	return p.frame(method)
}

// skipEmptyLines drops CR LF before a request line, which RFC 9112 section 2.2 asks servers to ignore.
func (r *Reader) skipEmptyLines() error {
	for skipped := 0; ; skipped++ {
		for r.w-r.r < 2 {
			if r.w-r.r == 1 && r.buf[r.r] != '\r' {
				return r.begins()
			}
			if err := r.Fill(); err != nil {
				return err
			}
		}
		if r.buf[r.r] != '\r' || r.buf[r.r+1] != '\n' {
			return r.begins()
		}
		if skipped == 8 {
			return bad("empty lines before the request line")
		}
		r.r += 2
	}
}

// begins refuses at once what is no request, such as the greeting of TLS: it may never have an end of line.
func (r *Reader) begins() error {
	if c := r.buf[r.r]; !isToken[c] {
		return bad("the request line begins with the byte %#02x", c)
	}
	return nil
}

func (r *Reader) unexpected(err error) error {
	if errors.Is(err, io.EOF) && r.w > r.r {
		return io.ErrUnexpectedEOF
	}
	return err
}

// lowerNames puts the field names of a head in lower case where they lie, the fields beginning at start, and returns
// the whole head as one string, of which every part of the message is then a piece: one allocation a message.
func lowerNames(raw []byte, start int) (string, error) {
	for start < len(raw) {
		colon := bytes.IndexByte(raw[start:], ':')
		if colon <= 0 {
			return "", bad("a header line without a name")
		}
		name := raw[start : start+colon]
		for i, c := range name {
			switch {
			case c >= 'A' && c <= 'Z':
				name[i] = c + ('a' - 'A')
			case !isToken[c]:
				return "", bad("a field name holds the byte %#02x", c)
			}
		}
		end := bytes.IndexByte(raw[start:], '\n')
		start += end + 1
	}
	return string(raw), nil
}

func appendFields(fields header.Fields, text string) (header.Fields, error) {
	for text != "" {
		line, rest, _ := strings.Cut(text, "\r\n")
		text = rest
		name, value, _ := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		for i := 0; i < len(value); i++ {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				return fields, bad("the value of %s holds the byte %#02x", name, c)
			}
		}
		if len(fields) == MaxFields {
			return fields, &ProtocolError{HeadTooLarge, "more than 100 header lines"}
		}
		fields = append(fields, header.Field{Name: name, Value: value})
	}
	return fields, nil
}

func (q *Request) parseLine(line string) error {
	method, rest, ok := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 {
		return bad("the request line is not METHOD TARGET HTTP/1.1")
	}
	if !methods[method] {
		return bad("unknown method")
	}
	q.Method = method
	for i := 0; i < len(target); i++ {
		if c := target[i]; c <= ' ' || c >= 0x7f {
			return bad("the request target holds the byte %#02x", c)
		}
	}
	if target == "" {
		return bad("the request target is empty")
	}
	q.Target = target
	number, ok := strings.CutPrefix(version, "HTTP/")
	switch {
	case number == "1.1":
		q.Minor = 1
	case ok && len(number) == 3 && number[1] == '.' && digits(number[:1]) && digits(number[2:]):
		return &ProtocolError{UnsupportedVersion, version}
	default:
		return bad("the version is not HTTP/1.1")
	}
	return nil
}

// frame finds where the body ends (RFC 9112 section 6.3), refusing every message of which two readers could think
// differently, and takes the Host field out.
func (q *Request) frame() error {
	kept := q.Fields[:0]
	for _, f := range q.Fields {
		if f.Name != "host" {
			kept = append(kept, f)
			continue
		}
		if q.HasOne {
			return bad("two Host fields")
		}
		q.Host, q.HasOne = f.Value, true
	}
	q.Fields = kept
	length, coding, closing, err := framing(q.Fields)
	switch {
	case err != nil:
		return err
	case coding:
		q.Length = Chunked
	case length > 0:
		q.Length = length
	}
	q.Close = closing
	return nil
}

func (p *Response) parseLine(line string) error {
	version, rest, _ := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(rest, " ")
	switch version {
	case "HTTP/1.1":
		p.Minor = 1
	case "HTTP/1.0":
	default:
		return bad("the status line does not begin with HTTP/1.1")
	}
	if len(code) != 3 || code[0] < '1' || code[0] > '9' || !digits(code) {
		return bad("the status is not three digits")
	}
	p.Status = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	if strings.IndexFunc(reason, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) >= 0 {
		return bad("the reason phrase holds a control character")
	}
	return nil
}

func (p *Response) frame(method string) error {
	length, coding, closing, err := framing(p.Fields)
	if err != nil {
		return err
	}
	p.Close = closing || p.Minor == 0 && !keepAlive(p.Fields)
	switch {
	case p.Status < 200 || p.Status == 204 || p.Status == 304 || method == "HEAD":
		p.Length = 0
	case coding:
		p.Length = Chunked
	case length >= 0:
		p.Length = length
	default:
		p.Length, p.Close = UntilClose, true
	}
	return nil
}

// framing reads the fields that bound a body. length is -1 when there is none.
func framing(fields header.Fields) (length int64, chunked, closing bool, err error) {
	length = -1
	var unknown error // refused last: with a length beside it the message has both, whatever the coding is
	coded := false
	for _, f := range fields {
		switch f.Name {
		case "content-length":
			if length >= 0 {
				return 0, false, false, bad("two Content-Length fields")
			}
			if length, err = parseLength(f.Value); err != nil {
				return 0, false, false, err
			}
		case "transfer-encoding":
			switch {
			case coded:
				unknown = &ProtocolError{UnsupportedCoding, "two Transfer-Encoding fields"}
			case !strings.EqualFold(f.Value, "chunked"):
				unknown = &ProtocolError{UnsupportedCoding, "a transfer coding other than chunked"}
			}
			coded = true
		case "connection":
			closing = closing || hasToken(f.Value, "close")
		}
	}
	switch {
	case coded && length >= 0:
		return 0, false, false, bad("both Content-Length and Transfer-Encoding")
	case unknown != nil:
		return 0, false, false, unknown
	}
	return length, coded, closing, nil
}

func parseLength(s string) (int64, error) {
	if s == "" || len(s) > 18 || !digits(s) {
		return 0, bad("Content-Length is not a number")
	}
	var n int64
	for _, c := range s {
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func keepAlive(fields header.Fields) bool {
	for _, f := range fields {
		if f.Name == "connection" && hasToken(f.Value, "keep-alive") {
			return true
		}
	}
	return false
}

// hasToken tells whether a comma list holds the token, in any case.
func hasToken(list, token string) bool {
	for list != "" {
		var item string
		item, list, _ = strings.Cut(list, ",")
		if strings.EqualFold(strings.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}

// isToken marks the bytes of a field name (RFC 9110 section 5.6.2).
var isToken = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()

// methods are those that Envoy's HTTP/1 parser knows (source/common/http/http1/balsa_parser.cc); it refuses others.
var methods = map[string]bool{
	"ACL": true, "BIND": true, "CHECKOUT": true, "CONNECT": true, "COPY": true, "DELETE": true, "GET": true,
	"HEAD": true, "LINK": true, "LOCK": true, "MERGE": true, "MKACTIVITY": true, "MKCALENDAR": true, "MKCOL": true,
	"MOVE": true, "MSEARCH": true, "M-SEARCH": true, "NOTIFY": true, "OPTIONS": true, "PATCH": true, "POST": true,
	"PROPFIND": true, "PROPPATCH": true, "PURGE": true, "PUT": true, "REBIND": true, "REPORT": true, "SEARCH": true,
	"SOURCE": true, "SUBSCRIBE": true, "TRACE": true, "UNBIND": true, "UNLINK": true, "UNLOCK": true,
	"UNSUBSCRIBE": true,
}
