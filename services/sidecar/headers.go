package sidecar

import (
	"strings"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// serverName is the Server field that Istio's proxies write over the application's.
func serverName(d trace.Direction) string {
	if d == trace.Outbound {
		return "envoy"
	}
	return "istio-envoy"
}

// dropHopByHop removes the fields that belong to one connection, before anything is read from the rest (RFC 9110
// section 7.6.1; envoy source/common/http/conn_manager_utility.cc). Of TE only "trailers" goes on, which gRPC needs.
// An upgrade keeps the fields that ask for it.
func dropHopByHop(fields *header.Fields, upgrade bool) {
	if connection, ok := fields.Lookup("connection"); ok && !upgrade {
		for name := range strings.SplitSeq(strings.ToLower(connection), ",") {
			switch name = strings.Trim(name, " \t"); name {
			case "", "close", "keep-alive", "te", "content-length", "transfer-encoding":
			default:
				fields.Del(name)
			}
		}
	}
	if te, ok := fields.Lookup("te"); ok {
		if hasToken(te, "trailers") {
			fields.Set("te", "trailers")
		} else {
			fields.Del("te")
		}
	}
	fields.DelFunc(func(name string) bool {
		switch name {
		case "keep-alive", "proxy-connection", "transfer-encoding", "http2-settings":
			return true
		case "connection", "upgrade":
			return !upgrade
		}
		return false
	})
}

// maxNominated is how many fields a Connection field may name, less one.
const maxNominated = 10

// nominated reads which fields a Connection field takes out of a request. ok is false for one that Envoy refuses
// (source/common/http/utility.cc, sanitizeConnectionHeader): taking out a field that says where a request came from
// would strip what the mesh set. host is true if it names Host.
func nominated(connection string) (host, ok bool) {
	n := 0
	for name := range strings.SplitSeq(strings.ToLower(connection), ",") {
		n++
		switch name = strings.Trim(name, " \t"); {
		case n >= maxNominated, strings.HasPrefix(name, ":"):
			return host, false
		case name == "x-forwarded-for", name == "x-forwarded-host", name == "x-forwarded-proto":
			return host, false
		case name == "host":
			host = true
		}
	}
	return host, true
}

// trailer tells whether a field may stand behind a body. Those that frame a message, route it, tell who sent it or are
// the mesh's own may not (RFC 9110 section 6.5.1): who joins trailers to the head would take a client's word for them.
func trailer(name string) bool {
	switch name {
	case "host", "content-length", "content-encoding", "content-type", "content-range", "connection", "upgrade",
		"keep-alive", "proxy-connection", "te", "trailer", "expect", "authorization", "proxy-authorization", "cookie",
		"set-cookie", "end-user", "jwt", "forwarded", "b3", "traceparent", "tracestate", "baggage", "x-request-id",
		"x-client-trace-id", "transfer-encoding", "cache-control", "max-forwards", "range":
		return false
	}
	for _, prefix := range [...]string{"x-forwarded-", "x-envoy-", "x-b3-", "if-", ":"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// trailersOf are the fields behind a body that go on. It leaves fields as they are, for another try.
func trailersOf(fields header.Fields) header.Fields {
	var kept header.Fields
	for _, f := range fields {
		if trailer(f.Name) {
			kept = append(kept, f)
		}
	}
	return kept
}

// dropAnswerHopByHop does the same to an answer, except for the answer that accepts an upgrade.
func dropAnswerHopByHop(fields *header.Fields, upgrade bool) {
	fields.DelFunc(func(name string) bool {
		switch name {
		case "keep-alive", "proxy-connection", "transfer-encoding":
			return true
		case "connection", "upgrade":
			return !upgrade
		}
		return false
	})
}

// asksUpgrade tells whether a request wants to leave HTTP/1.1 for another protocol.
func asksUpgrade(fields header.Fields) bool {
	return fields.Has("upgrade") && hasToken(fields.Get("connection"), "upgrade") &&
		!hasToken(fields.Get("upgrade"), "h2c") // answered in HTTP/1.1, as RFC 9113 section 3.1 wishes
}

func hasToken(list, token string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(item, " \t"), token) {
			return true
		}
	}
	return false
}
