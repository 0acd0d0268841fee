// Package wire reads and writes HTTP/1.1 messages strictly and in order, for a proxy's two sides.
//
// It exists because net/http and fasthttp both accept what a proxy in front of other people's servers must refuse
// (two lengths, a folded line, a bare line feed), and because both sort or rename header fields. Fields stay in the
// order of arrival with names in lower case, as Envoy keeps and sends them. Nothing here knows of proxying: which
// fields to drop, and what to answer, is the caller's.
package wire

import (
	"errors"
	"fmt"

	"example.com/bookinfo/services/sidecar/header"
)

// Limits of one message. Envoy's defaults: max_request_headers_kb 60 and max_headers_count 100.
const (
	MaxHead   = 60 << 10 // bytes of a request or response head, start line included
	MaxFields = 100      // header lines of a head, and of a trailer section
)

// Body lengths that are not a number of bytes.
const (
	Chunked    int64 = -1 // chunked transfer coding
	UntilClose int64 = -2 // a response that ends with its connection
)

// Request is the head of a request.
type Request struct {
	Method string
	Target string        // the request target as it came: origin form, absolute form, "*" or an authority
	Host   string        // value of the Host field, which is not among Fields
	HasOne bool          // whether a Host field came
	Minor  int           // 1 for HTTP/1.1, 0 for HTTP/1.0
	Fields header.Fields // the other fields, in order
	Length int64         // bytes of body, or Chunked
	Close  bool          // the connection ends with this exchange
}

// Response is the head of a response.
type Response struct {
	Status int
	Minor  int
	Fields header.Fields
	Length int64 // bytes of body, Chunked, or UntilClose
	Close  bool  // the connection ends with this exchange
}

// Kind sorts malformed messages by the answer they deserve.
type Kind int

// The kinds of a malformed message.
const (
	BadMessage         Kind = iota // not HTTP, or HTTP that two readers could understand in two ways
	HeadTooLarge                   // the head exceeds MaxHead or MaxFields
	UnsupportedVersion             // HTTP/1.0 or older
	UnsupportedCoding              // a transfer coding other than chunked
)

// ProtocolError says why a message is refused.
type ProtocolError struct {
	Kind   Kind
	Reason string
}

func (e *ProtocolError) Error() string { return "malformed HTTP/1.1 message: " + e.Reason }

// IsProtocol tells whether err is about what came, and not about the connection.
func IsProtocol(err error) bool {
	var p *ProtocolError
	return errors.As(err, &p)
}

func bad(format string, args ...any) error {
	return &ProtocolError{BadMessage, fmt.Sprintf(format, args...)}
}
