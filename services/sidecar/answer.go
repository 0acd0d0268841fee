package sidecar

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/wire"
)

// answerLocally sends an answer of the proxy's own, as Envoy's sendLocalReply forms it: a body makes it text/plain, a
// gRPC call gets its status in the header. first are fields that stand before the others.
func (x *exchange) answerLocally(status int, text string, first ...header.Field) {
	// Nobody will read the request's body any more. What came with the head is thrown away; if more is to come, the
	// connection ends, and the answer must say so, or the client sends its next request into nowhere.
	if _, ok := x.body.Ready(); !ok && !x.http2 {
		x.close, x.unread = true, true
	}
	fields := append(x.resp.Fields[:0], first...)
	body := text
	switch {
	case isGRPC(x.req.Fields):
		fields.Add("content-type", "application/grpc")
		fields.Add("grpc-status", strconv.Itoa(grpcStatus(status)))
		if text != "" {
			fields.Add("grpc-message", escapeGRPC(text))
		}
		status, body = http.StatusOK, ""
	case text != "":
		fields.Add("content-length", strconv.Itoa(len(text)))
		fields.Add("content-type", "text/plain")
	}
	x.resp = wire.Response{Status: status, Minor: 1, Fields: fields, Length: int64(len(body))}
	x.finishHead()
	x.started = true
	x.client.response(status, x.resp.Fields, x.resp.Length)
	if x.req.Method != http.MethodHead && body != "" {
		_ = x.client.data([]byte(body)) // a client that left shows at the flush
		x.sent = int64(len(body))
	}
	if x.client.end(nil) != nil {
		x.fail()
	}
}

// finishHead makes of x.resp's fields what Envoy's connection manager sends: date, server, request id, decorator, and
// the field that says how the body is framed, in its order (ActiveStream::encodeHeaders).
func (x *exchange) finishHead() {
	p := &x.resp
	if !p.Fields.Has("date") {
		p.Fields.Add("date", x.l.sidecar.date.now())
	}
	p.Fields.Set("server", serverName(x.l.direction))
	if p.Status == http.StatusNoContent {
		p.Fields.Del("content-length") // RFC 9110 section 8.6
	}
	if x.close {
		p.Fields.Set("connection", "close")
	}
	x.traceResponse()
	x.status = p.Status
	if p.Length == wire.UntilClose {
		p.Length = wire.Chunked
	}
	switch {
	case p.Length == wire.Chunked:
		p.Fields.Add("transfer-encoding", "chunked")
	case p.Length == 0 && p.Status >= 200 && p.Status != 204 && p.Status != 304 &&
		x.req.Method != http.MethodHead && !p.Fields.Has("content-length"):
		p.Fields.Add("content-length", "0")
	}
}

// refuse answers a request that is not HTTP/1.1 as it must be, and ends the connection.
func (x *exchange) refuse(err *wire.ProtocolError) {
	x.close, x.unread = true, true
	x.flag("DPE")
	switch err.Kind {
	case wire.HeadTooLarge:
		x.details = "http1.headers_too_large"
		x.answerLocally(431, "Request Header Fields Too Large")
	case wire.UnsupportedVersion:
		x.details = "low_version"
		x.answerLocally(426, "Upgrade Required")
		x.req.Method, x.req.Target = "", "" // what follows the version was not read: for the log there was no request
	case wire.UnsupportedCoding:
		x.details = "http1.invalid_transfer_encoding"
		x.answerLocally(501, "Not Implemented")
	default:
		x.details = "http1.codec_error"
		x.answerLocally(400, "Bad Request")
	}
}

func isGRPC(fields header.Fields) bool {
	t := fields.Get("content-type")
	return strings.HasPrefix(t, "application/grpc") && (len(t) == 16 || t[16] == '+' || t[16] == ';')
}

// grpcStatus is the gRPC project's mapping of an HTTP status (doc/http-grpc-status-mapping.md).
func grpcStatus(status int) int {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}

// escapeGRPC percent-encodes a grpc-message.
func escapeGRPC(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
