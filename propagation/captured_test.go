package propagation

import (
	"bufio"
	"bytes"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// fullB3 is what a sidecar hands an application in a B3 mesh, among headers that are nobody's business.
func fullB3() http.Header {
	return http.Header{
		"Accept":            {"*/*"},
		"User-Agent":        {"curl/8.0"},
		"X-Forwarded-For":   {"10.0.0.7"},
		"X-Forwarded-Proto": {"http"},
		"X-Request-Id":      {"5d0ea6bd-5ae5-4a5d-9f1c-3d6c2b9d1e55"},
		"X-B3-Traceid":      {"463ac35c9f6413ad48485a3953bb6124"},
		"X-B3-Spanid":       {"a2fb4a1d1a96d312"},
		"X-B3-Parentspanid": {"0020000000000001"},
		"X-B3-Sampled":      {"1"},
		"X-B3-Flags":        {"1"},
	}
}

func TestCapture(t *testing.T) {
	for _, tt := range []struct {
		name     string
		set      Set
		in, want http.Header
	}{
		{"nothing came", All(), http.Header{}, http.Header{}},
		{"no headers at all", All(), nil, http.Header{}},
		{"only what is in the table", All(), fullB3(), func() http.Header {
			h := fullB3()
			for _, name := range []string{"Accept", "User-Agent", "X-Forwarded-For", "X-Forwarded-Proto"} {
				h.Del(name)
			}
			return h
		}()},
		{"only what is in the set", All().Only(W3C), http.Header{"Traceparent": {"a"}, "B3": {"0"}, "Baggage": {"k=v"}},
			http.Header{"Traceparent": {"a"}}},
		{"none", Set{}, fullB3(), http.Header{}},
		{"empty values stay behind", All(), http.Header{"X-B3-Traceid": {"1"}, "X-B3-Parentspanid": {""}, "Tracestate": {""}},
			http.Header{"X-B3-Traceid": {"1"}}},
		{"no lines", All(), http.Header{"X-B3-Traceid": {}, "X-B3-Spanid": nil}, http.Header{}},
		{"the first line counts", All(), http.Header{"X-B3-Traceid": {"1", "2"}, "Traceparent": {"a", "b"}, "Baggage": {"k=1", "k=2"}},
			http.Header{"X-B3-Traceid": {"1"}, "Traceparent": {"a"}, "Baggage": {"k=1"}}},
		{"also when it is empty", All(), http.Header{"X-B3-Traceid": {"", "2"}}, http.Header{}},
		{"tracestate is joined in order", All(), http.Header{"Tracestate": {"a=1", "", "b=2 , c=3"}},
			http.Header{"Tracestate": {"a=1,b=2 , c=3"}}},
		{"several empty lines of tracestate", All(), http.Header{"Tracestate": {"", ""}}, http.Header{}},
		{"values are not touched", All(), http.Header{"X-B3-Traceid": {"ABC, not hex\x80\xff"}, "B3": {"deny"}, "Grpc-Trace-Bin": {"AAD/=="}},
			http.Header{"X-B3-Traceid": {"ABC, not hex\x80\xff"}, "B3": {"deny"}, "Grpc-Trace-Bin": {"AAD/=="}}},
		{"identity", Identity(), http.Header{"Cookie": {"a=1", "b=2"}, "Authorization": {"Bearer x"}, "Jwt": {"j"}, "End-User": {"jason"}, "User-Agent": {"u"}, "B3": {"0"}},
			http.Header{"Cookie": {"a=1; b=2"}, "Authorization": {"Bearer x"}, "Jwt": {"j"}, "End-User": {"jason"}, "User-Agent": {"u"}}},
	} {
		before := tt.in.Clone()
		captured := tt.set.Capture(tt.in)
		got := http.Header{}
		captured.Apply(got)
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: forwards %v, want %v", tt.name, got, tt.want)
		}
		if captured.Len() != len(tt.want) {
			t.Errorf("%s: Len() = %d, want %d", tt.name, captured.Len(), len(tt.want))
		}
		if !reflect.DeepEqual(tt.in, before) {
			t.Errorf("%s: Capture changed the request: %v", tt.name, tt.in)
		}
		byName := tt.set.CaptureFunc(func(name string) []string { return tt.in[http.CanonicalHeaderKey(name)] })
		if !reflect.DeepEqual(byName, captured) {
			t.Errorf("%s: CaptureFunc took %v, Capture %v", tt.name, byName, captured)
		}
	}
}

func TestApplySetsAndDoesNotAdd(t *testing.T) {
	out := http.Header{"X-B3-Traceid": {"stale", "twice"}, "Accept": {"*/*"}}
	All().Capture(http.Header{"X-B3-Traceid": {"new"}, "B3": {"0"}}).Apply(out)
	want := http.Header{"X-B3-Traceid": {"new"}, "Accept": {"*/*"}, "B3": {"0"}}
	if !reflect.DeepEqual(out, want) {
		t.Errorf("got %v, want %v", out, want)
	}
	out.Add("X-B3-Traceid", "added")
	if got := out.Get("B3"); got != "0" {
		t.Errorf("adding a line to one header changed another to %q", got)
	}
}

func TestCapturedIsIndependent(t *testing.T) {
	in := http.Header{"B3": {"first"}}
	captured := All().Capture(in)
	in["B3"][0] = "changed"
	one, other := http.Header{}, http.Header{}
	captured.Apply(one)
	one["B3"][0] = "changed"
	captured.Apply(other)
	if got := other.Get("B3"); got != "first" {
		t.Errorf("a change of one request's headers reached another: %q", got)
	}
}

func TestCapturedAccess(t *testing.T) {
	captured := All().Capture(fullB3())
	if got := captured.Get("X-B3-SampleD"); got != "1" {
		t.Errorf("Get in any case = %q, want 1", got)
	}
	if got := captured.Get("Accept") + captured.Get("traceparent") + captured.Get(""); got != "" {
		t.Errorf("Get of what was not captured = %q", got)
	}
	var got []string
	captured.All(func(name, value string) bool {
		got = append(got, name)
		return len(got) < 3
	})
	if want := []string{"x-request-id", "x-b3-traceid", "x-b3-spanid"}; !reflect.DeepEqual(got, want) {
		t.Errorf("All yields %v until told to stop, want %v", got, want)
	}
	if got := captured.Only(All().Only(RequestID)); got.Len() != 1 || got.Get("x-request-id") == "" {
		t.Errorf("Only = %v, want the request id alone", got)
	}
	if captured.Len() != 6 {
		t.Errorf("Only changed what it was asked on: %v", captured)
	}
	if got := (Captured{}); got.Len() != 0 || got.Get("b3") != "" {
		t.Errorf("the zero value holds %v", got)
	}
}

// FuzzCapture feeds the bytes of a request's head to net/http's parser and checks every rule on what is forwarded.
func FuzzCapture(f *testing.F) {
	f.Add([]byte("X-B3-TraceId: 1\r\nx-b3-traceid: 2\r\nX-B3-PARENTSPANID: \r\n"))
	f.Add([]byte("tracestate: a=1\r\ntracestate:\r\nTraceState: b=2\r\ntraceparent: 00-0-0-0\r\n"))
	f.Add([]byte("b3: \x80\xff,\t1\r\ncookie: a=1\r\nx-forwarded-for: 1.2.3.4\r\nx-envoy-internal: true\r\n"))
	f.Add([]byte(" folded: 1\r\n b3: 2\r\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		raw := append(append([]byte("GET / HTTP/1.1\r\nHost: h\r\n"), head...), "\r\n\r\n"...)
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		captured := All().Capture(r.Header)
		out := http.Header{"B3": {"stale", "twice"}}
		captured.Apply(out)
		for key, lines := range out {
			switch in := r.Header[key]; {
			case key == "B3" && captured.Get("b3") == "":
			case !All().Has(key):
				t.Errorf("%s was forwarded", key)
			case len(lines) != 1 || lines[0] == "":
				t.Errorf("%s leaves as %q, want one line with a value", key, lines)
			case key == "Tracestate":
				if got, want := strings.ReplaceAll(lines[0], ",", ""), strings.ReplaceAll(strings.Join(in, ""), ",", ""); got != want {
					t.Errorf("tracestate leaves as %q, came as %q", lines[0], in)
				}
			case lines[0] != in[0]:
				t.Errorf("%s leaves as %q, came as %q", key, lines[0], in)
			}
		}
		for key, lines := range r.Header {
			if All().Has(key) && lines[0] != "" && out.Get(key) == "" {
				t.Errorf("%s was lost", key)
			}
		}
	})
}

// BenchmarkCaptureAndSet is the cost of the package itself. The map of the outgoing request is http.NewRequest's and not
// counted; BenchmarkHandlerAndTransport counts everything that a request pays.
func BenchmarkCaptureAndSet(b *testing.B) {
	in, set, out := fullB3(), All(), http.Header{}
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		clear(out)
		set.Capture(in).Apply(out)
	}
	if len(out) != 6 {
		b.Fatalf("set %v", out)
	}
}

func BenchmarkCapture(b *testing.B) {
	in, set := fullB3(), All()
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		set.Capture(in)
	}
}
