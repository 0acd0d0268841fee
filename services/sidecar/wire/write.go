package wire

import (
	"strconv"

	"example.com/bookinfo/services/sidecar/header"
)

// AppendRequest appends the head of q with an origin-form target. What frames the body and is not among the fields
// stands at the end, as Envoy's codec writes it; every other field is written as it is in q.
func AppendRequest(dst []byte, q *Request, target string) []byte {
	dst = append(dst, q.Method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\nhost: "...)
	dst = append(dst, q.Host...)
	dst = append(dst, '\r', '\n')
	dst = appendLines(dst, q.Fields)
	switch {
	case q.Length == Chunked:
		dst = append(dst, "transfer-encoding: chunked\r\n"...)
	case q.Length == 0 && expectsBody(q.Method) && !q.Fields.Has("content-length"):
		dst = append(dst, "content-length: 0\r\n"...)
	}
	return append(dst, '\r', '\n')
}

// expectsBody tells whether a request with that method and no body says so by a length.
func expectsBody(method string) bool {
	switch method {
	case "GET", "HEAD", "DELETE", "TRACE", "CONNECT":
		return false
	}
	return true
}

// AppendResponse appends a head with the given status and fields, the reason phrase being Envoy's for that status.
func AppendResponse(dst []byte, status int, fields header.Fields) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, Reason(status)...)
	dst = append(dst, '\r', '\n')
	dst = appendLines(dst, fields)
	return append(dst, '\r', '\n')
}

func appendLines(dst []byte, fields header.Fields) []byte {
	for i := range fields {
		dst = append(dst, fields[i].Name...)
		dst = append(dst, ':', ' ')
		dst = append(dst, fields[i].Value...)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// ChunkOverhead is the most that a chunk's framing adds to its data.
const ChunkOverhead = 20

// AppendChunkSize appends the line that begins a chunk of n bytes.
func AppendChunkSize(dst []byte, n int) []byte {
	return append(strconv.AppendInt(dst, int64(n), 16), '\r', '\n')
}

// AppendLastChunk appends what ends a chunked body, with its trailers.
func AppendLastChunk(dst []byte, trailers header.Fields) []byte {
	dst = append(dst, '0', '\r', '\n')
	dst = appendLines(dst, trailers)
	return append(dst, '\r', '\n')
}

// Reason returns the phrase that Envoy writes for a status (source/common/http/codes.cc): "Unknown" for one that it
// does not know, such as 418.
func Reason(status int) string {
	if r, ok := reasons[status]; ok {
		return r
	}
	return "Unknown"
}

var reasons = map[int]string{
	100: "Continue", 101: "Switching Protocols",
	200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
	205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported", 226: "IM Used",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
	305: "Use Proxy", 307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Payload Too Large",
	414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
	421: "Misdirected Request", 422: "Unprocessable Entity", 423: "Locked", 424: "Failed Dependency",
	425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
	431: "Request Header Fields Too Large",
	500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Gateway Timeout", 505: "HTTP Version Not Supported", 506: "Variant Also Negotiates",
	507: "Insufficient Storage", 508: "Loop Detected", 510: "Not Extended", 511: "Network Authentication Required",
}
