package check

// The rules, by the names that reports use.
const (
	ruleNotCalled         = "not-called"
	ruleRejected          = "rejected"
	ruleNothing           = "nothing-forwarded"
	ruleRequestIDOnly     = "request-id-only"
	ruleRequestIDLost     = "request-id-lost"
	ruleRequestIDReplaced = "request-id-replaced"
	ruleHalf              = "half-context"
	ruleSampledLost       = "sampled-lost"
	ruleSampledChanged    = "sampled-changed"
	ruleLost              = "header-lost"
	ruleChanged           = "header-changed"
	ruleInvented          = "header-invented"
	ruleEmpty             = "empty-forwarded"
	ruleDuplicated        = "duplicated"
	ruleLastLine          = "last-line"
	ruleMalformed         = "malformed"
	ruleTruncated         = "truncated"
	ruleWrongFamily       = "wrong-family"
	ruleTwoContexts       = "two-contexts"
	ruleNewTrace          = "new-trace"
	ruleOwnSpans          = "own-spans"
	ruleWrongSpan         = "wrong-span"
	ruleCase              = "case-sensitive"
	ruleAsync             = "lost-at-once"
	ruleLeak              = "leak"
	ruleLostAfterError    = "lost-after-error"
	ruleLostOnRedirect    = "lost-on-redirect"
	ruleLostOnPost        = "lost-on-post"
	ruleLostOnH2C         = "lost-on-h2c"
	ruleHop               = "hop-header"
	ruleNoContext         = "no-context"
	ruleRaw               = "raw-context"
	ruleNoTrace           = "no-trace"
	ruleServiceMissing    = "service-missing"
	ruleOrphan            = "orphan-spans"
)

// rule is what a report says of a finding.
type rule struct {
	message string
	mend    map[string]string
}

// rules lists what is said of each rule.
func rules() map[string]rule {
	copying, setting, looking, perRequest, async, everyCall, sdkOff, sdk, tolerant := mends()
	return map[string]rule{
		ruleNotCalled:         {"the service made no call to its upstream, so there is nothing to see; does the URL make it call, and does it read its upstream's address from the variable?", copying},
		ruleRejected:          {"the service answers otherwise because of trace headers; a context that cannot be read is to be ignored, not refused", tolerant},
		ruleNothing:           {"no trace header leaves: every hop begins a trace of its own", copying},
		ruleRequestIDOnly:     {"only x-request-id leaves: the hops can be found by it but are traces of their own", copying},
		ruleRequestIDLost:     {"x-request-id is not forwarded: Envoy decides on sampling anew, and traces below 100 % have holes", copying},
		ruleRequestIDReplaced: {"x-request-id is replaced by another: Envoy's decision on sampling is lost, and logs cannot be joined", copying},
		ruleHalf:              {"only one of the two ids leaves: half a context is none, and the next proxy begins a new trace", copying},
		ruleSampledLost:       {"the decision x-b3-sampled stays behind: below 100 % each proxy decides again, and traces are partial", copying},
		ruleSampledChanged:    {"the sampling decision is changed on the way: what is below disappears from the trace, or appears unasked", sdkOff},
		ruleLost:              {"headers that came do not leave", copying},
		ruleChanged:           {"headers leave with another value: forward them byte for byte", copying},
		ruleInvented:          {"headers leave that did not come", perRequest},
		ruleEmpty:             {"headers leave without a value: an empty id cannot be read, and the next proxy makes no span", setting},
		ruleDuplicated:        {"values leave twice or joined with a comma: the context cannot be read, and every hop below stays silent; take the first line and set it", setting},
		ruleLastLine:          {"of several lines the last leaves: Envoy reads the first", setting},
		ruleMalformed:         {"ids leave that are not 16 or 32 hexadecimal digits: the next proxy makes no span", copying},
		ruleTruncated:         {"trace ids of 128 bits are cut to 64: the halves of the trace are two traces", copying},
		ruleWrongFamily:       {"the context leaves in another format than it came in: proxies that read the first lose the trace", sdk},
		ruleTwoContexts:       {"formats that leave together name different spans: which one is the parent depends on who reads; an SDK writes one while raw headers are copied beside it", sdkOff},
		ruleNewTrace:          {"the service begins a new trace though a context came", sdk},
		ruleOwnSpans:          {"the service writes span ids of its own: right for one that exports its spans (check it with --profile sdk), a missing parent for one that does not", sdkOff},
		ruleWrongSpan:         {"x-b3-spanid leaves with the parent's id: spans hang one level too high, or under themselves", copying},
		ruleCase:              {"headers are only found in one spelling: names are case-insensitive, and HTTP/2 writes them in lower case", looking},
		ruleAsync:             {"headers are lost when two requests are served at once: the context does not follow the work to its thread or task", async},
		ruleLeak:              {"headers of one request leave with another: they are kept in a client's defaults, a global or a thread that serves the next request", perRequest},
		ruleLostAfterError:    {"calls after an error of the upstream go without the headers: retries and fallbacks belong to the trace too", everyCall},
		ruleLostOnRedirect:    {"the call that follows a redirect goes without the headers", everyCall},
		ruleLostOnPost:        {"calls of a POST go without the headers", everyCall},
		ruleLostOnH2C:         {"requests over HTTP/2 lose the headers, those over HTTP/1.1 do not", looking},
		ruleHop:               {"headers of one hop are forwarded: x-envoy-* belong to the proxies; forward a list and not everything", copying},
		ruleNoContext:         {"calls carry no trace context: the SDK's client instrumentation or its propagator is missing", sdk},
		ruleNoTrace:           {"the backend has no span of any of the traces: is the mesh's format that of the request, is anything sampled, does the collector accept spans?", copying},
		ruleServiceMissing:    {"services that were called are in none of the traces: who calls them forwards nothing, or they have no sidecar", copying},
		ruleOrphan:            {"spans hang under a parent that never arrived: an application writes ids of spans that it does not export", sdkOff},
		ruleRaw:               {"the caller's context is copied as it came beside the SDK's: let the SDK alone write it", sdkOff},
	}
}

// mends are the things to change, in each language.
func mends() (copying, setting, looking, perRequest, async, everyCall, sdkOff, sdk, tolerant map[string]string) {
	in := func(golang, java, python, node, ruby string) map[string]string {
		return map[string]string{"go": golang, "java": java, "python": python, "node": node, "ruby": ruby}
	}
	copying = in(
		"wrap the handler in propagation.Handler(propagation.All(), mux), give the client propagation.Transport{}, and make calls with r.Context()",
		"for (String n : NAMES) { String v = request.getHeader(n); if (v != null && !v.isEmpty()) call.setHeader(n, v); }",
		"headers = {n: v for n in NAMES if (v := request.headers.get(n))}; requests.get(url, headers=headers)",
		"const headers = Object.fromEntries(NAMES.map(n => [n, req.headersDistinct[n]?.[0]]).filter(([, v]) => v)); fetch(url, { headers })",
		"headers = NAMES.to_h { |n| [n, request.get_header(\"HTTP_#{n.upcase.tr('-', '_')}\")] }.reject { |_, v| v.to_s.empty? }")
	setting = in(
		"if v := r.Header.Get(name); v != \"\" { call.Header.Set(name, v) }: Set and not Add",
		"take request.getHeader(n), skip null and \"\", and use setHeader or HttpHeaders.set, never addHeader",
		"if v := request.headers.get(name): headers[name] = v; not a list of pairs, and the first of headers.get_all(name)",
		"use req.headersDistinct[name]?.[0] (req.headers joins lines with a comma) and skip ''",
		"request[name] = value unless value.to_s.empty?; add_field appends")
	looking = in(
		"use r.Header.Get, or http.CanonicalHeaderKey for a key of the map",
		"use request.getHeader(n) of the servlet API, or a TreeMap with String.CASE_INSENSITIVE_ORDER",
		"look up in request.headers itself (it ignores case), not in dict(request.headers)",
		"look up lower-case names: Node gives all header names in lower case",
		"Rack: request.get_header(\"HTTP_X_B3_TRACEID\"); Net::HTTP ignores case by itself")
	perRequest = in(
		"keep captured headers in the request's context and never in a client, a global or a default header",
		"clear the ThreadLocal or MDC in finally, and never set headers on a shared client's defaults",
		"pass headers= with each call instead of session.headers.update(...), and use a ContextVar instead of a global",
		"use AsyncLocalStorage or pass the headers as an argument; never axios.defaults.headers",
		"pass the headers as an argument; Thread.current outlives the request in a pool")
	async = in(
		"hand ctx to the goroutine, and context.WithoutCancel(ctx) to work that outlives the request",
		"wrap executors (ContextSnapshot, DelegatingExecutor) or capture the headers before submit",
		"contextvars.copy_context().run in a thread pool; asyncio carries ContextVars by itself",
		"bind the callback with AsyncLocalStorage.bind or AsyncResource",
		"pass the captured headers into Thread.new or the job's arguments")
	everyCall = in(
		"set the headers in a RoundTripper (propagation.Transport), which sees retries and redirects too",
		"set them in an interceptor of the client, which also sees retries and redirects",
		"build the headers once and pass them to every call; requests keeps headers= across redirects",
		"pass the same headers to each fetch; follow redirects with redirect: 'follow'",
		"Net::HTTP follows nothing by itself: pass the headers again in the loop that does")
	sdkOff = in(
		"one mode only: either remove the SDK's propagator (otelforward.New passes the context verbatim) or stop copying raw headers",
		"either run the agent with its propagators alone, or -Dotel.javaagent.enabled=false and forward; sampler parentbased_always_on",
		"either OTEL_PROPAGATORS alone or OTEL_SDK_DISABLED=true and forward; OTEL_TRACES_SAMPLER=parentbased_always_on",
		"either the SDK's propagators alone or OTEL_SDK_DISABLED=true and forward; OTEL_TRACES_SAMPLER=parentbased_always_on",
		"either OpenTelemetry's propagators alone or OTEL_SDK_DISABLED=true and forward")
	sdk = in(
		"otelhttp.NewHandler and otelhttp.NewTransport with OTEL_PROPAGATORS=tracecontext,baggage,b3multi (contrib autoprop)",
		"-Dotel.propagators=tracecontext,baggage,b3multi for the agent",
		"OTEL_PROPAGATORS=tracecontext,baggage,b3multi with opentelemetry-propagator-b3, and instrument server and client",
		"OTEL_PROPAGATORS=tracecontext,baggage,b3multi, and register the SDK before http is loaded",
		"OTEL_PROPAGATORS=tracecontext,baggage,b3multi with opentelemetry-propagator-b3, and use_all instrumentation")
	tolerant = in(
		"ignore what cannot be parsed; never answer 400 for it",
		"do not validate trace headers in filters; catch the parser's exception and go on",
		"wrap parsing in try/except and go on without a context",
		"wrap parsing in try/catch and go on without a context",
		"rescue the parser's error and go on without a context")
	return copying, setting, looking, perRequest, async, everyCall, sdkOff, sdk, tolerant
}
