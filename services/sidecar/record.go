package sidecar

import (
	"strings"
	"time"

	"example.com/bookinfo/services/sidecar/access"
	"example.com/bookinfo/services/sidecar/stats"
	"example.com/bookinfo/services/sidecar/trace"
)

// record writes the log line and counts.
func (x *exchange) record() {
	c := &x.l.sidecar.config
	if c.AccessLog == nil && c.Stats == nil {
		return
	}
	took := time.Since(x.start)
	if c.AccessLog != nil {
		x.log(c.AccessLog, took)
	}
	if c.Stats != nil {
		x.count(c.Stats, took)
	}
}

func (x *exchange) log(log *access.Log, took time.Duration) {
	h := x.req.Fields
	e := access.Entry{
		Start: x.start, Method: x.req.Method, Path: h.Get("x-envoy-original-path"), Protocol: x.protocol(),
		Status: x.status, Flags: x.flags, Details: x.details, TransportFailure: x.transport,
		BytesReceived: x.received, BytesSent: x.sent, Duration: took,
		UpstreamServiceTime: x.resp.Fields.Get("x-envoy-upstream-service-time"),
		ForwardedFor:        h.Get("x-forwarded-for"), UserAgent: h.Get("user-agent"), RequestID: h.Get("x-request-id"),
		Authority: x.req.Host, DownstreamLocal: x.l.ln.Addr().String(), DownstreamRemote: x.peer.String(),
		UpstreamLocal: x.local,
	}
	if e.Path == "" {
		e.Path = x.path
	}
	if e.Path == "" {
		e.Path = x.req.Target
	}
	if x.endpoint != nil {
		e.UpstreamHost = x.endpoint.Address
	}
	if x.choice.Cluster != nil {
		e.UpstreamCluster = x.choice.Cluster.Name
	}
	if x.choice.Route != nil {
		e.RouteName = x.choice.Route.Name
	}
	log.Write(&e)
}

func (x *exchange) protocol() string {
	switch {
	case x.http2:
		return "HTTP/2"
	case x.req.Method == "":
		return ""
	}
	return "HTTP/1.1"
}

func (x *exchange) count(s *stats.Stats, took time.Duration) {
	if x.req.Method == "" { // not a request
		return
	}
	r := stats.Request{
		Reporter: stats.Source, From: x.l.sidecar.self, Status: x.status, Flags: x.flags, Duration: took,
		RequestBytes: x.received, ResponseBytes: x.sent, GRPC: isGRPC(x.req.Fields),
	}
	if r.GRPC {
		r.GRPCStatus = x.resp.Fields.Get("grpc-status")
		if r.GRPCStatus == "" {
			r.GRPCStatus = x.trailers.Get("grpc-status")
		}
	}
	if x.l.direction == trace.Inbound {
		r.Reporter, r.From, r.To = stats.Destination, x.caller, x.l.sidecar.self
	} else if x.endpoint != nil && x.cluster != nil {
		r.To = x.force.workload(x.endpoint, x.l.sidecar.config.ClusterID)
	}
	if c := x.choice.Cluster; c != nil && c.Host != "" {
		r.Service = c.Host
		var rest string
		r.ServiceName, rest, _ = strings.Cut(c.Host, ".")
		r.ServiceNamespace, _, _ = strings.Cut(rest, ".")
	}
	s.Count(&r)
}
