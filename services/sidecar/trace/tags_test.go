package trace_test

import (
	"strconv"
	"testing"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// answered returns the spans of a gateway's request, its own last, that was answered so.
func answered(t *testing.T, request header.Fields, result trace.Result) (own, try trace.Span) {
	t.Helper()
	var reported collected
	tracer, err := trace.New(trace.Defaults(trace.Gateway), node(), &reported, trace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := trace.Request{Method: "POST", Path: "/a.B/C", Host: "a", Protocol: "HTTP/2", Header: &request, Peer: loopback}
	var x trace.Exchange
	x.Receive(tracer, &r)
	x.Start(trace.Operation{Name: "op"})
	var attempt trace.Try
	x.StartTry(&attempt, 1, trace.NewCluster("c"), &request)
	attempt.Finish(&trace.TryResult{Status: result.Status, Header: result.Header, Trailer: result.Trailer})
	x.Finish(&result)
	if len(reported.spans) != 2 {
		t.Fatalf("%d spans, want 2", len(reported.spans))
	}
	return reported.spans[1], reported.spans[0]
}

// Which gRPC status is an error, and whose: as Envoy 1.40.0 was seen to report all of them, in both formats.
func TestGRPCStatus(t *testing.T) {
	for code := range 19 {
		fault := map[int]bool{2: true, 4: true, 8: true, 12: true, 13: true, 14: true, 15: true}[code]
		failedServer := fault && code != 8
		check(t, strconv.Itoa(code), fault, failedServer, code != 0)
	}
	for _, odd := range []string{"x", "-1", ""} {
		check(t, odd, false, false, false)
	}
	check(t, "007", false, false, true)
}

func check(t *testing.T, status string, fault, failedServer, failedClient bool) {
	t.Helper()
	request := lines("content-type", "application/grpc+proto", "grpc-timeout", "1S")
	for _, place := range []string{"head", "trailer"} {
		fields := lines("grpc-status", status, "grpc-message", "m")
		result := trace.Result{Status: 200, Header: fields}
		if place == "trailer" {
			result.Header, result.Trailer = lines("content-type", "application/grpc"), fields
		}
		own, try := answered(t, request.Clone(), result)
		for _, s := range []struct {
			trace.Span
			failed bool
		}{{own, failedServer}, {try, failedClient}} {
			if got := tags(s.Span, "error")["error"] == "true"; got != fault {
				t.Errorf("status %q in the %s: %s span has error %v, want %v", status, place, s.Kind, got, fault)
			}
			if s.Failed != s.failed {
				t.Errorf("status %q in the %s: %s span failed %v, want %v", status, place, s.Kind, s.Failed, s.failed)
			}
			if got := tags(s.Span, "grpc.status_code")["grpc.status_code"]; got != status {
				t.Errorf("grpc.status_code is %q, want %q", got, status)
			}
		}
		if got := tags(own, "grpc."); got["grpc.path"] != "/a.B/C" || got["grpc.timeout"] != "1S" || got["grpc.message"] != "m" {
			t.Errorf("the tags of gRPC are %v", got)
		}
	}
}

func TestWhatIsGRPC(t *testing.T) {
	for contentType, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc-web": false,
		"application/grpcx": false, "application/grpc;a=b": false, "application/GRPC": false, "": false,
	} {
		own, _ := answered(t, lines("content-type", contentType), trace.Result{Status: 200})
		if got := len(tags(own, "grpc.path")) == 1; got != want {
			t.Errorf("%q counts as gRPC: %v, want %v", contentType, got, want)
		}
	}
}
