package doctor

import "strings"

// advice is what to do about a kind of finding, and the lesson (docs/lessons) that shows it.
type advice struct{ mend, lesson string }

// mends gives the mend of each kind; HEADERS stands for the headers at fault.
func mends() map[Kind]advice {
	return map[Kind]advice{
		NothingForwarded: {"Copy HEADERS of each incoming request to every request that it causes.", "nothing-forwarded"},
		ContextLost:      {"Copy HEADERS too: x-request-id alone joins no spans.", "nothing-forwarded"},
		HalfContext:      {"Forward HEADERS as well: with half a context a proxy begins a new trace.", "half-a-context"},
		WrongFamily:      {"Forward HEADERS, which this mesh's proxies read, or forward both formats.", "b3-and-w3c"},
		PartlyForwarded:  {"Hand the request's context to every call, also to those made in other goroutines, threads or callbacks: HEADERS is lost on some.", "nothing-forwarded"},
		RequestIDDropped: {"Forward x-request-id too, in every format: the sampling decision is read from it.", "request-id-and-sampling"},
		TraceStops:       {"Forward HEADERS exactly as they came, once, neither joined with commas nor with sampling switched off; an SDK in the application must sample as its parent does.", "request-id-and-sampling"},
		StaleB3:          {"Send one context: inside a mesh of Envoy up to 1.36 forward x-b3-* and leave the single b3 header out, or remove b3 at the gateway.", "gateway-and-client-contexts"},
		WrongParent:      {"Copy HEADERS as it came; the proxy makes the new span id and the parent.", "half-a-context"},
		HiddenSpans:      {"Export the application's spans to the same backend, or only forward headers and make none.", "sdk-and-sidecars"},
		NewTrace:         {"Set the SDK's propagators to the format of the mesh (OTEL_PROPAGATORS) so that it reads HEADERS before it starts a span.", "sdk-and-sidecars"},
		Leak:             {"Take HEADERS from the request at hand each time; never keep them in a client's default headers or a thread's storage.", "nothing-forwarded"},
		Cycle:            {"Copy HEADERS as they came and set none of them yourself.", "half-a-context"},
		DuplicateID:      {"Let the proxy or the SDK make span ids; the application must not choose them.", "sdk-and-sidecars"},
		MixedWidth:       {"Forward all 32 digits of x-b3-traceid, and let SDKs make 128-bit ids.", "b3-and-w3c"},
		NoSidecar:        {"See that the pod has a sidecar: label the namespace istio-injection=enabled, restart the pod, and name its Service port http.", "one-request"},
		MessagingLost:    {"Put the context into the message's headers and link the consumer's span to the producer's.", "nothing-forwarded"},
		ClockSkew:        {"Synchronise the hosts' clocks (NTP); the trace itself is whole.", "one-request"},
	}
}

// advise fills in what follows from the kind.
func advise(f *Finding, r *request) {
	a := mends()[f.Kind]
	headers := joined(f.Headers)
	if len(f.Headers) == 0 {
		headers = "the trace headers"
	}
	f.Mend, f.Lesson = strings.ReplaceAll(a.mend, "HEADERS", headers), a.lesson
	for _, e := range f.Evidence {
		for _, i := range r.byID[key{e.TraceID.Lo, e.SpanID}] {
			if _, grpc := r.spans[i].Tags.Get("grpc.path"); grpc && (f.Kind == NothingForwarded || f.Kind == ContextLost) {
				f.Mend = "Copy " + headers + " from the incoming to the outgoing metadata, in lower case, in an interceptor."
			}
		}
	}
}

// Title is the kind in words, for headings.
func (k Kind) Title() string {
	title := map[Kind]string{
		NothingForwarded: "Nothing forwarded", ContextLost: "Trace context not forwarded", HalfContext: "Half a context forwarded",
		WrongFamily: "Another format forwarded", PartlyForwarded: "Some calls lost the context", RequestIDDropped: "x-request-id not forwarded",
		TraceStops: "Trace stops", StaleB3: "Stale b3 header", WrongParent: "Wrong span id sent", HiddenSpans: "Spans not exported",
		NewTrace: "SDK began a new trace", Leak: "Context of another request", Cycle: "Cycle", DuplicateID: "Duplicate span id",
		MixedWidth: "Trace id cut to 64 bits", NoSidecar: "No sidecar", MessagingLost: "Message without context", ClockSkew: "Clock skew",
	}[k]
	if title == "" {
		return string(k)
	}
	return title
}
