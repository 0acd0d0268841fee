package trace

import (
	"net/netip"
	"strings"

	"example.com/bookinfo/services/sidecar/header"
)

// sanitize decides who the client is and takes away what it may not say (Envoy: mutateRequestHeaders and
// cleanInternalHeaders in conn_manager_utility.cc). It tells whether the request is an edge request.
func (t *Tracer) sanitize(r *Request) (edge bool) {
	h := r.Header
	joinLines(h)
	gateway := t.config.Direction == Gateway
	internal := t.internal(r, gateway)
	if gateway {
		t.appendForwardedFor(r)
		h.Set(forwardedProto, "http")
	} else if !h.Has(forwardedProto) {
		h.Add(forwardedProto, "http")
	}
	edge = gateway && !internal
	if internal {
		h.Del("x-envoy-internal")
		h.Add("x-envoy-internal", "true")
		return false
	}
	h.DelFunc(func(name string) bool { return untrusted(name, edge) })
	if edge {
		h.Set("x-envoy-external-address", r.Peer.String())
	}
	return edge
}

// joinLines makes one line of those headers that Envoy keeps in a field of their own, and therefore reads so.
func joinLines(h *header.Fields) {
	for i := 0; i < len(*h); i++ {
		switch name := (*h)[i].Name; name {
		case forwardedFor, forwardedProto, requestID, clientTraceID, decorator, forceTrace, "user-agent",
			"x-forwarded-host", "x-forwarded-port", "x-forwarded-client-cert", "x-envoy-attempt-count",
			"x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-external-address",
			"x-envoy-internal", "x-envoy-original-path":
			h.Join(name)
		}
	}
}

const (
	forwardedFor   = "x-forwarded-for"
	forwardedProto = "x-forwarded-proto"
)

// internal tells whether the request comes from within: at a gateway by the peer's address, at a sidecar by an
// x-forwarded-for of exactly one address. Without internal ranges, Envoy's default since 1.33, none does.
func (t *Tracer) internal(r *Request, gateway bool) bool {
	if len(t.config.InternalRanges) == 0 {
		return false
	}
	came, has := r.Header.Lookup(forwardedFor)
	if gateway {
		return !has && t.inRanges(r.Peer)
	}
	address, err := netip.ParseAddr(strings.TrimSpace(came))
	return err == nil && t.inRanges(address)
}

func (t *Tracer) inRanges(address netip.Addr) bool {
	for _, prefix := range t.config.InternalRanges {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// appendForwardedFor adds the peer, or the proxy itself for a peer on the loopback.
func (t *Tracer) appendForwardedFor(r *Request) {
	address := r.Peer
	if address.IsLoopback() && t.node.Address.IsValid() {
		address = t.node.Address
	}
	value := address.String()
	if came := r.Header.Get(forwardedFor); came != "" {
		value = came + "," + value
	}
	r.Header.Set(forwardedFor, value)
}

// untrusted tells whether a header from outside is removed; an edge removes some more.
func untrusted(name string, edge bool) bool {
	const prefix = "x-envoy-"
	if !strings.HasPrefix(name, prefix) {
		return false
	}
	switch name[len(prefix):] {
	case "internal", "force-trace", "retry-on", "retry-grpc-on", "max-retries", "retriable-status-codes",
		"retriable-header-names", "upstream-alt-stat-name", "upstream-rq-timeout-ms",
		"upstream-rq-per-try-timeout-ms", "upstream-rq-timeout-alt-response",
		"upstream-stream-duration-ms", "expected-rq-timeout-ms", "ip-tags",
		"original-url", "hedge-on-per-try-timeout":
		return true
	case "decorator-operation", "downstream-service-cluster", "downstream-service-node", "original-path",
		"original-host":
		return edge
	}
	return false
}
