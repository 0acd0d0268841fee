package propagation

// Family names the headers of one tracing format. FORWARD_HEADERS and [Parse] use the same words.
type Family string

// The families of the table.
const (
	RequestID     Family = "request-id"      // Envoy's id of a request, by which it decides on sampling
	B3            Family = "b3"              // B3 in several headers
	B3Single      Family = "b3-single"       // B3 in the one header b3
	W3C           Family = "w3c"             // W3C Trace Context
	Baggage       Family = "baggage"         // W3C Baggage
	OT            Family = "ot"              // LightStep's context as OpenTracing tracers send it
	Datadog       Family = "datadog"         // Datadog
	SkyWalking    Family = "skywalking"      // Apache SkyWalking, version 3 of its protocol
	Jaeger        Family = "jaeger"          // Jaeger's own format
	XRay          Family = "xray"            // AWS X-Ray
	GCP           Family = "gcp"             // Google Cloud Trace and the binary context of gRPC
	ClientTraceID Family = "client-trace-id" // forces a trace in Envoy
	identity      Family = "identity"
)

// Header is one row of the table.
type Header struct {
	Name   string // in lower case, as HTTP/2 and gRPC write it
	Family Family
}

// row is a header with what capturing needs to know about it.
type row struct {
	name   string
	key    string // name as http.Header spells it, so that no request pays for the conversion
	family Family
	join   string // what several lines are joined with; empty when the first line counts alone
}

// traceRows is the number of rows before those of identity.
const traceRows = 24

// rows is the table, in the order in which headers are listed and set. A [Set] is a mask of its indexes.
var rows = [...]row{
	{"x-request-id", "X-Request-Id", RequestID, ""},
	{"x-b3-traceid", "X-B3-Traceid", B3, ""},
	{"x-b3-spanid", "X-B3-Spanid", B3, ""},
	{"x-b3-parentspanid", "X-B3-Parentspanid", B3, ""},
	{"x-b3-sampled", "X-B3-Sampled", B3, ""},
	{"x-b3-flags", "X-B3-Flags", B3, ""},
	{"b3", "B3", B3Single, ""},
	{"traceparent", "Traceparent", W3C, ""},
	{"tracestate", "Tracestate", W3C, ","},
	{"baggage", "Baggage", Baggage, ""},
	{"x-ot-span-context", "X-Ot-Span-Context", OT, ""},
	{"x-datadog-trace-id", "X-Datadog-Trace-Id", Datadog, ""},
	{"x-datadog-parent-id", "X-Datadog-Parent-Id", Datadog, ""},
	{"x-datadog-sampling-priority", "X-Datadog-Sampling-Priority", Datadog, ""},
	{"x-datadog-origin", "X-Datadog-Origin", Datadog, ""},
	{"x-datadog-tags", "X-Datadog-Tags", Datadog, ""},
	{"sw8", "Sw8", SkyWalking, ""},
	{"sw8-correlation", "Sw8-Correlation", SkyWalking, ""},
	{"sw8-x", "Sw8-X", SkyWalking, ""},
	{"uber-trace-id", "Uber-Trace-Id", Jaeger, ""},
	{"x-amzn-trace-id", "X-Amzn-Trace-Id", XRay, ""},
	{"x-cloud-trace-context", "X-Cloud-Trace-Context", GCP, ""},
	{"grpc-trace-bin", "Grpc-Trace-Bin", GCP, ""},
	{"x-client-trace-id", "X-Client-Trace-Id", ClientTraceID, ""},
	{"end-user", "End-User", identity, ""},
	{"user-agent", "User-Agent", identity, ""},
	// RFC 9113, section 8.2.3: cookie lines that HTTP/2 split are joined again with a semicolon.
	{"cookie", "Cookie", identity, "; "},
	{"authorization", "Authorization", identity, ""},
	{"jwt", "Jwt", identity, ""},
}

// Table returns the trace headers that can be forwarded, with the family of each. It is a copy.
func Table() []Header { return All().Headers() }
