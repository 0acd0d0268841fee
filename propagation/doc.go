// Package propagation forwards trace headers: those of an incoming request leave, byte for byte, on every outgoing
// request that it causes.
//
// A service mesh's sidecars make the spans, but a sidecar cannot know which outgoing request belongs to which incoming
// one. Only the application knows, and it says so by forwarding the headers of the trace. Two lines are enough:
//
//	server := propagation.Handler(propagation.All(), mux)
//	client := &http.Client{Transport: propagation.Transport{}}
//
// provided that each outgoing request is made with the context of the incoming one
// ([http.NewRequestWithContext] with [http.Request.Context]).
//
// # Rules
//
// Only headers that came are sent, and only those with a value: an empty x-b3-parentspanid stops a trace. A header is
// set and never added, since two lines, or one line with a comma, stop a trace as well. Of a header that came on
// several lines the first counts, as in Envoy; lines of tracestate are joined in order (W3C Trace Context 3.3.1).
// Nothing is parsed, made up or repaired.
//
// # When not to use it
//
// An application that makes its own spans with an SDK lets the SDK alone write the trace context. Raw headers copied
// beside it win in the next proxy and cut the application's spans out of the trace. Narrow the set then:
//
//	propagation.All().Only(propagation.RequestID, propagation.ClientTraceID)
//
// # Identity
//
// Who the caller is (end-user, user-agent, cookie, authorization, jwt) travels the same way, but it is a separate table
// with separate functions, because a host that may see a trace id may not see a session: [Identity],
// [IdentityHandler], [IdentityTransport].
//
// The package needs the standard library only and its module requires no other.
package propagation
