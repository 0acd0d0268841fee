package sidecar

import (
	"strings"

	"example.com/bookinfo/services/sidecar/trace"
)

// clientCert carries the caller's principal. A real mesh takes it from the certificate of mutual TLS; here there is
// none, so it is the word of the caller's sidecar, and of anybody who reaches the inbound port past it.
const clientCert = "x-forwarded-client-cert"

// identify says who the caller is: a gateway and an outbound listener replace what came with their own workload, so
// that no application or client can speak for another.
func (x *exchange) identify() {
	if x.l.direction == trace.Inbound {
		return
	}
	if principal := x.l.sidecar.config.principal(); principal != "" {
		x.req.Fields.Set(clientCert, "URI="+principal)
	} else {
		x.req.Fields.Del(clientCert)
	}
}

// principalOf reads the URI of the last element of an x-forwarded-client-cert, without its scheme.
func principalOf(value string) string {
	if i := strings.LastIndexByte(value, ','); i >= 0 {
		value = value[i+1:]
	}
	for pair := range strings.SplitSeq(value, ";") {
		if uri, ok := strings.CutPrefix(pair, "URI="); ok {
			return strings.TrimPrefix(strings.Trim(uri, `"`), "spiffe://")
		}
	}
	return ""
}
