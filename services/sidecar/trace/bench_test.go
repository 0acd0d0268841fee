package trace_test

import (
	"testing"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// BenchmarkExchange makes the calls for one proxied request with a sampled context, spans discarded.
func BenchmarkExchange(b *testing.B) {
	for _, direction := range []trace.Direction{trace.Inbound, trace.Outbound, trace.Gateway} {
		for _, format := range []trace.Format{trace.B3, trace.W3C} {
			b.Run(string(direction)+"/"+string(format), func(b *testing.B) { benchmark(b, direction, format) })
		}
	}
}

func benchmark(b *testing.B, direction trace.Direction, format trace.Format) {
	config := trace.Defaults(direction)
	config.Format = format
	tracer, err := trace.New(config, node(), trace.Discard{}, trace.Options{})
	if err != nil {
		b.Fatal(err)
	}
	came := lines(
		"user-agent", "Go-http-client/1.1", "accept", "*/*", "accept-encoding", "gzip", "end-user", "jason",
		"x-request-id", "3f1a9c20-7b1d-9e44-8a51-0c2f6d7e8b90", "x-forwarded-proto", "http",
		"x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124", "x-b3-spanid", "a2fb4a1d1a96d312",
		"x-b3-sampled", "1", "traceparent", "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01",
		"tracestate", "",
	)
	cluster := trace.NewCluster("outbound|9080||details.default.svc.cluster.local")
	operation := trace.Operation{Name: "details.default.svc.cluster.local:9080/*", Propagate: true}
	response := lines("content-type", "application/json", "date", "Sun, 22 Nov 2026 22:00:00 GMT")
	fields := make(header.Fields, 0, 32)
	answer := make(header.Fields, 0, 32)
	var x trace.Exchange
	var try trace.Try
	request := trace.Request{
		Method: "GET", Path: "/details/0", Host: "details:9080", Protocol: "HTTP/1.1", Header: &fields, Peer: loopback,
	}
	b.ReportAllocs()
	for b.Loop() {
		fields, answer = append(fields[:0], came...), append(answer[:0], response...)
		x.Receive(tracer, &request)
		x.Start(operation)
		x.StartTry(&try, 1, cluster, &fields)
		try.Finish(&trace.TryResult{Status: 200, Address: "10.0.0.9:9080"})
		x.Respond(&answer)
		x.Finish(&trace.Result{Status: 200, Cluster: cluster, ResponseBytes: 178, Header: answer})
	}
}
