package propagation

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func names(s Set) string {
	var list []string
	for _, h := range s.Headers() {
		list = append(list, h.Name)
	}
	return strings.Join(list, " ")
}

const everything = "x-request-id x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled x-b3-flags b3 " +
	"traceparent tracestate baggage x-ot-span-context x-datadog-trace-id x-datadog-parent-id " +
	"x-datadog-sampling-priority x-datadog-origin x-datadog-tags sw8 sw8-correlation sw8-x uber-trace-id " +
	"x-amzn-trace-id x-cloud-trace-context grpc-trace-bin x-client-trace-id"

func TestTable(t *testing.T) {
	if got := names(All()); got != everything {
		t.Errorf("the table holds %q, want %q", got, everything)
	}
	if got, want := names(Identity()), "end-user user-agent cookie authorization jwt"; got != want {
		t.Errorf("identity is %q, want %q", got, want)
	}
	for _, r := range rows {
		if want := http.CanonicalHeaderKey(r.name); r.key != want {
			t.Errorf("%s has the key %s, want %s", r.name, r.key, want)
		}
	}
	Table()[0].Name = "changed"
	if Table()[0].Name != "x-request-id" {
		t.Error("a change of what Table returned reached the table")
	}
	if reflect.DeepEqual(Table(), IdentityTable()) {
		t.Error("both tables are the same")
	}
}

func TestParse(t *testing.T) {
	without := func(words ...string) string {
		var kept []string
	next:
		for _, name := range strings.Fields(everything) {
			for _, word := range words {
				if name == word {
					continue next
				}
			}
			kept = append(kept, name)
		}
		return strings.Join(kept, " ")
	}
	for _, tt := range []struct{ list, want string }{
		{"", everything},
		{" , ", everything},
		{"none", ""},
		{" NONE ", ""},
		{"request-id", "x-request-id"},
		{"b3", "x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled x-b3-flags"},
		{"b3-single", "b3"},
		{"w3c", "traceparent tracestate"},
		{"baggage", "baggage"},
		{"ot", "x-ot-span-context"},
		{"datadog", "x-datadog-trace-id x-datadog-parent-id x-datadog-sampling-priority x-datadog-origin x-datadog-tags"},
		{"skywalking", "sw8 sw8-correlation sw8-x"},
		{"jaeger", "uber-trace-id"},
		{"xray", "x-amzn-trace-id"},
		{"gcp", "x-cloud-trace-context grpc-trace-bin"},
		{"client-trace-id", "x-client-trace-id"},
		{"traceparent", "traceparent"},
		{"X-B3-TraceId, x-b3-spanid", "x-b3-traceid x-b3-spanid"},
		{"w3c,request-id", "x-request-id traceparent tracestate"},
		{"w3c w3c,tracestate", "traceparent tracestate"},
		{"b3,-x-b3-sampled", "x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-flags"},
		{"-x-b3-sampled,b3", "x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-flags"},
		{"w3c,-w3c", ""},
		{"-b3-single", without("b3")},
		{"-b3", without("x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags")},
		{"-x-request-id, -tracestate", without("x-request-id", "tracestate")},
	} {
		set, err := Parse(tt.list)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.list, err)
		} else if got := names(set); got != tt.want {
			t.Errorf("Parse(%q) = %q, want %q", tt.list, got, tt.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ list, want string }{
		{"zipkin", `unknown header or family "zipkin"; known: none, request-id, b3, b3-single, w3c, baggage, ot,`},
		{"w3c,-tracparent", `unknown header or family "tracparent"`},
		{"-", `unknown header or family ""`},
		{"--b3", `unknown header or family "-b3"`},
		{"none,b3", `"none" stands alone`},
		{"b3,x-forwarded-for", `"x-forwarded-for" is not a trace header`},
		{"X-Envoy-Attempt-Count", `"x-envoy-attempt-count" is not a trace header`},
		{"cookie", `"cookie" says who the caller is`},
		{"-end-user", `"end-user" says who the caller is`},
		{"identity", `unknown header or family "identity"`},
	} {
		set, err := Parse(tt.list)
		if err == nil {
			t.Errorf("Parse(%q) = %v, want an error", tt.list, set)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Parse(%q): error %q, want one line with %q", tt.list, err, tt.want)
		}
	}
	_, err := Parse("zipkin")
	for _, name := range strings.Fields(everything) {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not list %s: %v", name, err)
		}
	}
}

func TestSetString(t *testing.T) {
	for _, tt := range []struct {
		set  Set
		want string
	}{
		{All(), "request-id,b3,b3-single,w3c,baggage,ot,datadog,skywalking,jaeger,xray,gcp,client-trace-id"},
		{Set{}, "none"},
		{All().Only(B3).Without("x-b3-flags"), "x-b3-traceid,x-b3-spanid,x-b3-parentspanid,x-b3-sampled"},
		{All().Only(W3C, RequestID), "request-id,w3c"},
		{Identity().Without("End-User"), "user-agent,cookie,authorization,jwt"},
	} {
		if got := tt.set.String(); got != tt.want {
			t.Errorf("String() = %q, want %q", got, tt.want)
		}
	}
}

func TestSetNarrowing(t *testing.T) {
	if got, want := names(All().Only(RequestID, ClientTraceID)), "x-request-id x-client-trace-id"; got != want {
		t.Errorf("beside an SDK %q is forwarded, want %q", got, want)
	}
	b3, err := Parse("b3")
	if err != nil {
		t.Fatal(err)
	}
	if got := b3.Only(RequestID); got != (Set{}) {
		t.Errorf("Only added %v", got)
	}
	if got := All().Without("b3"); !got.Has("B3") || got.Has("x-b3-traceid") {
		t.Errorf("Without(b3) is %v, want the header b3 kept and x-b3-* gone", got)
	}
	if got := All().Without("nothing of the kind", ""); got != All() {
		t.Errorf("an unknown name changed the set to %v", got)
	}
	if Identity().Has("traceparent") || All().Has("cookie") {
		t.Error("the two tables overlap")
	}
}

// FuzzParse checks that whatever is read can be written and read again, and that errors stay on one line.
func FuzzParse(f *testing.F) {
	for _, list := range []string{"", "none", "b3,-x-b3-sampled", "-w3c", "all", "x-forwarded-for", "W3C\tbaggage", "a\nb", "-,-,"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		set, err := Parse(list)
		if err != nil {
			if set != (Set{}) {
				t.Errorf("Parse(%q) failed and yet returned %v", list, set)
			}
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("Parse(%q): the error has several lines: %q", list, err)
			}
			return
		}
		if set.mask&^traceMask != 0 {
			t.Errorf("Parse(%q) = %v, beyond the trace headers", list, set)
		}
		again, err := Parse(set.String())
		if err != nil || again != set {
			t.Errorf("Parse(%q) = %v, which reads back as %v, %v", list, set, again, err)
		}
	})
}
