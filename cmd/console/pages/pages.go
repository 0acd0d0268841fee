// Package pages joins the console's pages to its engine, and to the sidecar's tracer, which answers what a sidecar
// would do with the headers of a request. Services do not import each other; commands and the demo import this.
package pages

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"example.com/bookinfo/docs/lessons"
	"example.com/bookinfo/propagation"
	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/web"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// Of makes the pages of a console; it fits console.Config.Pages.
func Of(p console.Parts) (http.Handler, error) { return With()(p) }

// With makes pages that also have the given entries in their navigation.
func With(links ...web.Link) func(console.Parts) (http.Handler, error) {
	return func(p console.Parts) (http.Handler, error) {
		config := web.Config{Backend: p.Backend, Admin: p.Admin, Now: p.Now, Log: p.Log, Examine: p.Examine, Import: p.Import,
			Decide: decide, Links: links, Note: p.Note}
		for _, e := range []web.Link{{Name: "Zipkin", URL: p.Zipkin}, {Name: "OTLP over HTTP", URL: p.OTLPHTTP}, {Name: "OTLP over gRPC", URL: p.OTLPGRPC}} {
			if e.URL != "" {
				config.Endpoints = append(config.Endpoints, e)
			}
		}
		all, err := lessons.All(p.Backend, p.Admin)
		if err != nil {
			return nil, err
		}
		for _, l := range all {
			config.Lessons = append(config.Lessons, web.Lesson(l))
		}
		return web.New(config)
	}
}

// decide sends a request's headers through a sidecar's tracer.
func decide(p web.Probe) (web.Verdict, error) {
	var out web.Verdict
	directions := []string{"inbound", "outbound", "gateway"}
	if !slices.Contains(directions, p.Direction) {
		return out, fmt.Errorf("direction %q: want inbound, outbound or gateway", p.Direction)
	}
	config := trace.Defaults(trace.Direction(p.Direction))
	config.Format, config.Profile = trace.Format(p.Format), trace.Profile(p.Profile)
	tracer, err := trace.New(config, trace.Node{Service: "service.default", Address: netip.MustParseAddr("10.0.0.7")}, trace.Discard{}, trace.Options{})
	if err != nil {
		return out, err
	}
	var fields header.Fields
	for _, h := range p.Headers {
		fields.Add(strings.ToLower(h[0]), h[1])
	}
	var x trace.Exchange
	x.Receive(tracer, &trace.Request{Method: http.MethodGet, Path: "/", Host: "service.default.svc.cluster.local",
		Protocol: "HTTP/1.1", Header: &fields, Peer: netip.MustParseAddr("10.0.0.8")})
	x.Start(trace.Operation{Name: "service.default.svc.cluster.local:9080/*"})
	var try trace.Try
	x.StartTry(&try, 1, trace.NewCluster("outbound|9080||service.default.svc.cluster.local"), &fields)
	try.Finish(&trace.TryResult{Status: http.StatusOK})
	traced := propagation.Table()
	for _, f := range fields {
		if slices.ContainsFunc(traced, func(h propagation.Header) bool { return h.Name == f.Name }) {
			out.Sent = append(out.Sent, [2]string{f.Name, f.Value})
		}
	}
	out.Sampled = x.Sampled()
	return out, nil
}
