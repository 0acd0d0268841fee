package trace

import (
	"strconv"
	"strings"

	"example.com/bookinfo/services/sidecar/header"
)

// Result is how an exchange ended.
type Result struct {
	Status        int    // of the response that went down; 0 without one
	Flags         string // Envoy's response flags, "UF,URX"; empty or "-" for none
	Cluster       *Cluster
	RequestBytes  int64 // bodies only
	ResponseBytes int64
	Header        header.Fields // of the response
	Trailer       header.Fields
}

// TryResult is how a try ended.
type TryResult struct {
	Status   int    // of the upstream's response; 0 without one
	Flags    string // flags of this try
	Protocol string // of the upstream connection, "-" when there was none; empty means HTTP/1.1
	Address  string // "10.0.0.7:9080" of the endpoint; empty when none was tried
	Reset    string // why the upstream failed, in Envoy's words: "connection termination"; empty when it did not
	Canceled bool   // the proxy gave the try up: retried after its answer, timed out, or the client left
	Header   header.Fields
	Trailer  header.Fields
}

// Finish ends the exchange and reports its span.
func (x *Exchange) Finish(r *Result) {
	if !x.Sampled() {
		return
	}
	t, s, h := x.t, &x.span, *x.r.Header
	s.Duration = elapsed(s.Start, t.now())
	s.tag("node_id", t.node.ID)
	s.tag("zone", t.node.Zone)
	if id, ok := h.Lookup(requestID); ok {
		s.tag("guid:x-request-id", id)
	}
	s.tag("http.url", x.url(h))
	s.tag("http.method", x.r.Method)
	s.tag("downstream_cluster", orDash(h.Get("x-envoy-downstream-service-cluster")))
	s.tag("user_agent", orDash(h.Get("user-agent")))
	s.tag("http.protocol", x.r.Protocol)
	s.tag("peer.address", x.peer())
	if id, ok := h.Lookup(clientTraceID); ok {
		s.tag("guid:x-client-trace-id", id)
	}
	if isGRPC(h.Get("content-type")) {
		s.tag("grpc.path", x.r.Path)
		s.tag("grpc.authority", x.r.Host)
		s.tag("grpc.content_type", h.Get("content-type"))
		if timeout, ok := h.Lookup("grpc-timeout"); ok {
			s.tag("grpc.timeout", timeout)
		}
	}
	s.tag("request_size", decimal(r.RequestBytes))
	s.tag("response_size", decimal(r.ResponseBytes))
	failed := r.Status == 0 || r.Status >= 500
	t.common(s, r.Cluster, r.Status, r.Flags)
	failed = s.grpcResponse(r.Header, r.Trailer) || failed
	if failed {
		s.tag("error", "true")
	}
	t.custom(s, h)
	s.Tags = append(append(s.Tags, x.received...), x.sent...)
	t.reporter.Report(s)
}

// Finish ends the try and reports its span, if it has one.
func (try *Try) Finish(r *TryResult) {
	if !try.alive || !try.span.sampled {
		return
	}
	t, s := try.x.t, &try.span
	s.Duration = elapsed(s.Start, t.now())
	if r.Canceled {
		s.tag("canceled", "true")
	}
	if r.Reset != "" {
		s.tag("error.reason", r.Reset)
	}
	protocol := r.Protocol
	if protocol == "" {
		protocol = "HTTP/1.1"
	}
	s.tag("http.protocol", protocol)
	if r.Address != "" {
		s.tag("upstream_address", r.Address)
		s.tag("peer.address", r.Address)
	}
	t.common(s, try.cluster, r.Status, r.Flags)
	failed := s.grpcResponse(r.Header, r.Trailer)
	if failed || r.Canceled || r.Reset != "" || r.Status == 0 || r.Status >= 500 {
		s.tag("error", "true")
	}
	if !try.mirror {
		t.custom(s, *try.x.r.Header)
	}
	s.Tags = append(s.Tags, try.sent...)
	t.reporter.Report(s)
}

// common sets what both kinds of span have (Envoy: setCommonTags in http_tracer_impl.cc), and the status that
// OpenTelemetry's tracer derives from it: ERROR from 500 on, for a client from 400 on, unset without a response.
func (t *Tracer) common(s *Span, cluster *Cluster, status int, flags string) {
	s.tag("component", "proxy")
	if cluster != nil {
		s.tag("upstream_cluster", cluster.name)
		s.tag("upstream_cluster.name", cluster.statName)
	}
	s.tag("http.status_code", decimal(int64(status)))
	s.tag("response_flags", orDash(flags))
	s.Failed = status >= 500 || s.Kind == Client && status >= 400
}

// grpcResponse sets the tags of a gRPC response and tells whether its status is an error of the upstream's making
// (envoy#18877).
func (s *Span) grpcResponse(head, trailer header.Fields) (failed bool) {
	h := head
	if !h.Has("grpc-status") {
		h = trailer
	}
	status, ok := h.Lookup("grpc-status")
	if !ok {
		return false
	}
	s.tag("grpc.status_code", status)
	if message, ok := h.Lookup("grpc-message"); ok {
		s.tag("grpc.message", message)
	}
	code, err := strconv.ParseUint(status, 10, 32)
	if err != nil {
		return false
	}
	switch code {
	// Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
	case 2, 4, 12, 13, 14, 15:
		s.Failed = true
		return true
	case 8: // resource exhausted: an error tag, but no failed SERVER span
		failed = true
	}
	s.Failed = s.Failed || s.Kind == Client && code != 0
	return failed
}

// custom sets Istio's tags and those of the configuration.
func (t *Tracer) custom(s *Span, h header.Fields) {
	s.Tags = append(s.Tags, t.static...)
	for i := range t.dynamic {
		value := h.Get(t.dynamic[i].Header)
		if value == "" {
			value = t.dynamic[i].Default
		}
		if value != "" {
			s.tag(t.dynamic[i].Name, value)
		}
	}
}

// url is the request's as the client sent it; its path is cut.
func (x *Exchange) url(h header.Fields) string {
	path := h.Get("x-envoy-original-path")
	if path == "" {
		path = x.r.Path
	}
	if len(path) > x.t.config.MaxPathTagLength {
		path = path[:x.t.config.MaxPathTagLength]
	}
	scheme := h.Get(forwardedProto)
	if scheme == "" {
		scheme = "http"
	}
	return scheme + "://" + x.r.Host + path
}

func (x *Exchange) peer() string {
	if x.r.Peer.Is4() && x.r.Peer.As4() == [4]byte{127, 0, 0, 1} {
		return "127.0.0.1" // the usual one here, without building the text
	}
	return x.r.Peer.String()
}

func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+')
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
