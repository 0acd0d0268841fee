package sidecar

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/trace"
	"example.com/bookinfo/services/sidecar/upstream"
	"example.com/bookinfo/services/sidecar/wire"
)

// mirrorTimeout bounds a mirrored request whose route has no timeout: nobody waits for it, but it holds memory.
const mirrorTimeout = 30 * time.Second

// mirror sends copies to the clusters that the route names. Their answers are read and thrown away, and nothing that
// happens to them touches the request. A body that did not come with its head is mirrored once it was read, if it is
// no longer than maxSaved.
func (x *exchange) mirror() {
	if len(x.choice.Mirrors) == 0 || x.mirrored || x.http2 || !x.body.Done() || x.unsaved {
		return
	}
	x.mirrored = true
	for _, cluster := range x.choice.Mirrors {
		m := &mirrored{
			l: x.l, cluster: x.force.clusters[cluster], name: x.force.names[cluster], path: x.path,
			body: bytes.Clone(x.saved), tracing: x.tracing, timeout: x.choice.Route.Timeout,
		}
		m.req = x.req
		m.req.Fields = x.req.Fields.Clone()
		m.req.Host = shadowHost(x.req.Host)
		x.tracing.exchange.StartMirror(&m.try, m.name, &m.req.Fields)
		m.sentByProxy(x)
		x.l.sidecar.done.Go(m.run)
	}
}

// mirrored is one copy of a request. It outlives the exchange.
type mirrored struct {
	l       *listener
	cluster *upstream.Cluster
	name    *trace.Cluster
	req     wire.Request
	path    string
	body    []byte
	tracing *tracing // kept from being used again
	try     trace.Try
	timeout time.Duration
}

// sentByProxy marks the copy as Envoy's asynchronous client does: a request of the proxy's own, from within the mesh.
func (m *mirrored) sentByProxy(x *exchange) {
	m.req.Fields.Set("x-envoy-internal", "true")
	from := x.l.sidecar.config.PodIP
	if came := m.req.Fields.Get("x-forwarded-for"); came != "" {
		from = came + "," + from
	}
	m.req.Fields.Set("x-forwarded-for", from)
}

// shadowHost adds "-shadow" to the name, before a port.
func shadowHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i] + "-shadow" + host[i:]
	}
	return host + "-shadow"
}

func (m *mirrored) run() {
	timeout := m.timeout
	if timeout <= 0 {
		timeout = mirrorTimeout
	}
	host := m.cluster.Pick(m.l.sidecar.dice, 0, false, nil)
	if host == nil {
		m.try.Finish(&trace.TryResult{Flags: "UH", Protocol: "-"})
		return
	}
	result := trace.TryResult{Reset: "overflow", Flags: "UO", Protocol: "-"}
	until := time.Now().Add(timeout)
	switch admission, turn := m.cluster.Begin(); admission {
	case upstream.Admitted:
		result = m.ask(host.Endpoint, until)
		m.cluster.End()
	case upstream.Queued:
		m.cluster.Leave(turn) // a copy is not worth waiting for
	}
	m.cluster.Done(host, result.Status)
	m.try.Finish(&result)
}

func (m *mirrored) ask(endpoint *route.Endpoint, until time.Time) trace.TryResult {
	s := m.l.sidecar
	target := upstream.TargetOf(m.cluster.Route, endpoint)
	conn := s.pools.Idle(target, 0)
	if conn == nil {
		ctx, cancel := context.WithDeadline(context.Background(), until)
		defer cancel()
		var err error
		if conn, err = s.pools.Dial(ctx, target, defaultConnectTimeout); err != nil {
			return trace.TryResult{Reset: "remote connection failure", Flags: "UF", Protocol: "-", Address: endpoint.Address}
		}
	}
	conn.SetReadDeadline(until)
	if m.req.Length == wire.Chunked {
		m.req.Length = int64(len(m.body))
		m.req.Fields.Set("content-length", strconv.Itoa(len(m.body)))
	}
	conn.W.Request(&m.req, m.path)
	_ = conn.W.Data(m.body) // a mirror that fails is nobody's loss
	_ = conn.W.End(nil)
	var resp wire.Response
	for {
		err := conn.R.ReadResponse(&resp, m.req.Method)
		if err != nil {
			conn.Close()
			return trace.TryResult{Reset: "connection termination", Flags: "UC", Address: endpoint.Address}
		}
		if resp.Status >= 200 || resp.Status == http.StatusSwitchingProtocols {
			break
		}
	}
	body := conn.R.Body(resp.Length)
	_, err := io.Copy(io.Discard, struct{ io.Reader }{&body})
	result := trace.TryResult{Status: resp.Status, Address: endpoint.Address, Header: resp.Fields, Trailer: body.Trailers()}
	if err != nil || resp.Close {
		conn.Close()
	} else {
		conn.Release()
	}
	return result
}
