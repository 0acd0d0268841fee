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
			case "", "close", "keep-alive", "te", "host", "content-length", "transfer-encoding":
			default:
				// Naming a field here that says where a request came from would let a client strip what the mesh set.
				if !strings.HasPrefix(name, "x-forwarded-") {
					fields.Del(name)
				}
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
