package trace_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// lines makes fields of names and values in turn.
func lines(namesAndValues ...string) header.Fields {
	var f header.Fields
	for pair := range slices.Chunk(namesAndValues, 2) {
		f.Add(pair[0], pair[1])
	}
	return f
}

// exchange makes the calls for one request without a failure and returns the headers that went upstream and what was
// reported.
func exchange(t *testing.T, config trace.Config, o trace.Options, fields header.Fields) (header.Fields, []trace.Span) {
	t.Helper()
	var reported collected
	tracer, err := trace.New(config, node(), &reported, o)
	if err != nil {
		t.Fatal(err)
	}
	request := trace.Request{
		Method: "GET", Path: "/", Host: "reviews:9080", Protocol: "HTTP/1.1", Header: &fields, Peer: loopback,
	}
	var x trace.Exchange
	x.Receive(tracer, &request)
	x.Start(trace.Operation{})
	var try trace.Try
	x.StartTry(&try, 1, trace.NewCluster("outbound|9080||reviews"), &fields)
	try.Finish(&trace.TryResult{Status: 200})
	x.Finish(&trace.Result{Status: 200})
	return fields, reported.spans
}

func tags(s trace.Span, prefix string) map[string]string {
	out := map[string]string{}
	for _, tag := range s.Tags {
		if strings.HasPrefix(tag.Key, prefix) {
			out[tag.Key] = tag.Value
		}
	}
	return out
}

func TestRecordHeaders(t *testing.T) {
	came := lines(
		"cookie", "session=secret", "authorization", "Bearer secret", "end-user", "jason", "jwt", "secret",
		"user-agent", "curl",
		"x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124", "x-b3-spanid", "a2fb4a1d1a96d312",
		"x-b3-parentspanid", "", "baggage", "a=1", "baggage", "b=2", "tracestate", "x=1,y=2",
	)
	for _, spawn := range []bool{false, true} {
		t.Run(fmt.Sprintf("child span %v", spawn), func(t *testing.T) {
			config := trace.Defaults(trace.Outbound)
			config.Format, config.RecordHeaders, config.SpawnUpstreamSpan = trace.B3, true, spawn
			out, spans := exchange(t, config, trace.Options{}, came.Clone())
			own := spans[len(spans)-1]
			sender := spans[0] // the child span if there is one
			want := map[string]string{
				"bookinfo.received.x-b3-traceid":      "463ac35c9f6413ad48485a3953bb6124",
				"bookinfo.received.x-b3-spanid":       "a2fb4a1d1a96d312",
				"bookinfo.received.x-b3-parentspanid": `""`,
				"bookinfo.received.baggage":           "a=1\nb=2",
				"bookinfo.received.tracestate":        "x=1,y=2",
			}
			if got := tags(own, "bookinfo.received."); !sameTags(got, want) {
				t.Errorf("received %q\nwant %q", got, want)
			}
			want = map[string]string{
				"bookinfo.sent.x-request-id": out.Get("x-request-id"),
				"bookinfo.sent.x-b3-traceid": "463ac35c9f6413ad48485a3953bb6124",
				"bookinfo.sent.x-b3-spanid":  out.Get("x-b3-spanid"), "bookinfo.sent.x-b3-parentspanid": out.Get("x-b3-parentspanid"),
				"bookinfo.sent.x-b3-sampled": "1", "bookinfo.sent.baggage": "a=1\nb=2",
				"bookinfo.sent.tracestate": "x=1,y=2",
			}
			if got := tags(sender, "bookinfo.sent."); !sameTags(got, want) {
				t.Errorf("sent %q\nwant %q", got, want)
			}
			if spawn && len(tags(own, "bookinfo.sent.")) != 0 {
				t.Error("the proxy's own span tells of headers that its child span sent")
			}
			for _, s := range spans {
				for _, tag := range s.Tags {
					if strings.Contains(tag.Value, "secret") || strings.Contains(tag.Value, "jason") {
						t.Errorf("identity is recorded: %s: %s", tag.Key, tag.Value)
					}
				}
			}
		})
	}
	_, spans := exchange(t, func() trace.Config {
		c := trace.Defaults(trace.Outbound)
		c.Format = trace.B3
		return c
	}(), trace.Options{}, came.Clone())
	if got := tags(spans[0], "bookinfo."); len(got) != 0 {
		t.Errorf("headers are recorded without being asked for: %v", got)
	}
}

func sameTags(a, b map[string]string) bool {
	for key := range a {
		if a[key] != b[key] {
			return false
		}
	}
	return len(a) == len(b)
}

// An Exchange and a Try are used for one request after the other; nothing of one may show in the next.
func TestReuse(t *testing.T) {
	config := trace.Defaults(trace.Gateway)
	config.Format, config.Profile, config.RecordHeaders = trace.B3, trace.Envoy140, true
	var reported collected
	tracer, err := trace.New(config, node(), &reported, trace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var x trace.Exchange
	var try trace.Try
	run := func(fields header.Fields, reset string) (header.Fields, []trace.Span) {
		reported.spans = nil
		request := trace.Request{Method: "GET", Path: "/", Host: "a", Header: &fields, Peer: loopback}
		x.Receive(tracer, &request)
		x.Start(trace.Operation{Name: "op", Propagate: true})
		x.StartTry(&try, 2, trace.NewCluster("c"), &fields)
		try.Finish(&trace.TryResult{Reset: reset, Canceled: reset != ""})
		x.Respond(&header.Fields{})
		x.Finish(&trace.Result{Status: 503})
		return fields, reported.spans
	}
	run(lines(
		"b3", "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1", "x-client-trace-id", "c", "baggage", "a=1",
		"tracestate", "a=b",
	), "protocol error")
	out, spans := run(nil, "")
	if out.Has("b3") || !out.Has("x-b3-traceid") {
		t.Errorf("the format of the request before is kept: %v", out)
	}
	for _, s := range spans {
		if s.TraceHigh == 0x463ac35c9f6413ad || s.RemoteParent {
			t.Errorf("the context of the request before is kept: %+v", s)
		}
		for _, tag := range s.Tags {
			if slices.Contains([]string{
				"canceled", "error.reason", "guid:x-client-trace-id", "bookinfo.received.baggage", "bookinfo.sent.baggage",
			}, tag.Key) {
				t.Errorf("a tag of the request before is kept: %v", tag)
			}
		}
	}
	if out, spans := run(lines("b3", "x"), ""); len(spans) != 0 || out.Has("x-b3-traceid") {
		t.Errorf("an unreadable context is answered with %v, spans %v", out, spans)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		change func(*trace.Config)
		want   string
	}{
		{func(c *trace.Config) { c.Direction = "sideways" }, `direction "sideways": want inbound, outbound or gateway`},
		{func(c *trace.Config) { c.Format = "otel" }, `format "otel": want b3, b3+w3c or w3c`},
		{func(c *trace.Config) { c.Profile = "1.38" }, `profile "1.38": want 1.36 or 1.40`},
		{func(c *trace.Config) { c.NoContextPropagation = true }, `no_context_propagation: Envoy 1.36 does not know it; want profile 1.40`},
		{func(c *trace.Config) { c.MaxPathTagLength = -1 }, `max_path_tag_length -1: want 0 or more`},
		{func(c *trace.Config) { c.Sampling = 101 }, `sampling 101: want a percentage from 0 to 100`},
		{func(c *trace.Config) { c.ClientSampling = -1 }, `client_sampling -1: want a percentage from 0 to 100`},
		{func(c *trace.Config) { c.OverallSampling = math.NaN() }, `overall_sampling NaN: want a percentage from 0 to 100`},
		{func(c *trace.Config) { c.CustomTags = []trace.CustomTag{{Literal: "x"}} }, `custom_tags: a tag without a name`},
		{func(c *trace.Config) { c.CustomTags = []trace.CustomTag{{Name: "a"}} }, `custom tag "a": want exactly one of literal, header, environment`},
		{func(c *trace.Config) { c.CustomTags = []trace.CustomTag{{Name: "a", Literal: "b", Header: "c"}} }, `custom tag "a": want exactly one of literal, header, environment`},
		{func(c *trace.Config) { c.CustomTags = []trace.CustomTag{{Name: "a", Literal: "b", Default: "c"}} }, `custom tag "a": a literal takes no default`},
		{func(c *trace.Config) { c.CustomTags = []trace.CustomTag{{Name: "a", Header: "X-B"}} }, `custom tag "a": header "X-B": want the name in lower case`},
	} {
		config := trace.Defaults(trace.Inbound)
		tt.change(&config)
		if _, err := trace.New(config, node(), trace.Discard{}, trace.Options{}); err == nil || err.Error() != tt.want {
			t.Errorf("got %v\nwant %s", err, tt.want)
		}
	}
}

// The settings are written and read under Envoy's names.
func TestConfigAsJSON(t *testing.T) {
	config := trace.Defaults(trace.Gateway)
	config.InternalRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	config.CustomTags = []trace.CustomTag{{Name: "user", Header: "end-user", Default: "nobody"}}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"use_request_id_for_trace_sampling":true`) {
		t.Errorf("written as %s", data)
	}
	var back trace.Config
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(back) != fmt.Sprint(config) {
		t.Errorf("read back as %+v\nwant %+v", back, config)
	}
}

// Randomness and the clock are the caller's.
func TestInjected(t *testing.T) {
	next := uint64(0)
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	o := trace.Options{
		Random: func() uint64 { next++; return (next - 1) * 0x0101010101010101 }, // the first draw is 0
		Now:    func() time.Time { now = now.Add(time.Millisecond); return now },
	}
	config := trace.Defaults(trace.Outbound)
	out, spans := exchange(t, config, o, nil)
	if len(spans) != 1 {
		t.Fatalf("%d spans", len(spans))
	}
	if got, want := out.Get("x-request-id"), "00000000-0000-9000-8101-010101010101"; got != want {
		t.Errorf("x-request-id is %s, want %s", got, want)
	}
	if got, want := out.Get("traceparent"), "00-03030303030303030202020202020202-0404040404040404-01"; got != want {
		t.Errorf("traceparent is %s, want %s", got, want)
	}
	if s := spans[0]; s.Duration != time.Millisecond || !s.Start.Equal(now.Add(-time.Millisecond)) {
		t.Errorf("span from %v for %v, clock at %v", s.Start, s.Duration, now)
	}
}

// A clock that is set back must not give a span a negative duration, and an id is never 0.
func TestClockSetBackAndZeroIDs(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	draws := 0
	_, spans := exchange(t, trace.Defaults(trace.Outbound), trace.Options{
		Now: func() time.Time { now = now.Add(-time.Hour); return now },
		Random: func() uint64 {
			if draws++; draws%2 == 0 {
				return 0
			}
			return 7
		},
	}, nil)
	if spans[0].Duration != 0 {
		t.Errorf("duration %v, want 0", spans[0].Duration)
	}
	if spans[0].ID == 0 || spans[0].TraceLow == 0 || spans[0].TraceHigh == 0 {
		t.Errorf("an id is 0: %+v", spans[0])
	}
}

func TestRequestIDs(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-9[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 1000 {
		out, _ := exchange(t, trace.Defaults(trace.Outbound), trace.Options{}, nil)
		id := out.Get("x-request-id")
		if !form.MatchString(id) || seen[id] {
			t.Fatalf("x-request-id %q", id)
		}
		seen[id] = true
	}
}

// The decision is the request id's: of many ids a percentage is traced, and always the same ones.
func TestSamplingPercentage(t *testing.T) {
	config := trace.Defaults(trace.Outbound)
	config.Sampling = 12.5
	traced := 0
	const n = 4000
	for range n {
		out, spans := exchange(t, config, trace.Options{}, nil)
		traced += len(spans)
		again := lines("x-request-id", out.Get("x-request-id"))
		if _, repeated := exchange(t, config, trace.Options{}, again); len(repeated) != len(spans) {
			t.Fatalf("the second proxy decides otherwise on %s", out.Get("x-request-id"))
		}
	}
	// The odds against a fair dice missing this by six standard deviations are one in 500 million.
	if got, deviation := float64(traced), math.Sqrt(n*0.125*0.875); math.Abs(got-n*0.125) > 6*deviation {
		t.Errorf("%d of %d traced, want 12.5 %%", traced, n)
	}
}

func TestCountersOutliveATracer(t *testing.T) {
	var counters trace.Counters
	for range 2 {
		exchange(t, trace.Defaults(trace.Outbound), trace.Options{Counters: &counters}, nil)
	}
	config := trace.Defaults(trace.Outbound)
	config.Sampling = 0
	o := trace.Options{Counters: &counters}
	exchange(t, config, o, nil)
	exchange(t, config, o, lines("x-client-trace-id", "c"))
	config.InternalRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	exchange(t, config, o, lines("x-forwarded-for", "10.1.2.3", "x-envoy-force-trace", "true"))
	got := []uint64{
		counters.RandomSampling.Load(), counters.NotTraceable.Load(), counters.ClientEnabled.Load(),
		counters.ServiceForced.Load(),
	}
	if !slices.Equal(got, []uint64{2, 1, 1, 1}) {
		t.Errorf("counted %v", got)
	}
}

func TestAddressesAtTheGateway(t *testing.T) {
	for _, tt := range []struct {
		peer, forwarded, wantForwarded, wantExternal string
	}{
		{"127.0.0.1", "", "10.0.0.7", "127.0.0.1"},
		{"203.0.113.9", "", "203.0.113.9", "203.0.113.9"},
		{"203.0.113.9", "198.51.100.1, 198.51.100.2", "198.51.100.1, 198.51.100.2,203.0.113.9", "203.0.113.9"},
		{"2001:db8::1", "", "2001:db8::1", "2001:db8::1"},
		{"::ffff:203.0.113.9", "", "203.0.113.9", "203.0.113.9"},
	} {
		var fields header.Fields
		if tt.forwarded != "" {
			fields.Add("x-forwarded-for", tt.forwarded)
		}
		tracer, err := trace.New(trace.Defaults(trace.Gateway), node(), trace.Discard{}, trace.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var x trace.Exchange
		x.Receive(tracer, &trace.Request{Header: &fields, Peer: netip.MustParseAddr(tt.peer)})
		if got := fields.Get("x-forwarded-for"); got != tt.wantForwarded {
			t.Errorf("%s: x-forwarded-for %q, want %q", tt.peer, got, tt.wantForwarded)
		}
		if got := fields.Get("x-envoy-external-address"); got != tt.wantExternal {
			t.Errorf("%s: x-envoy-external-address %q, want %q", tt.peer, got, tt.wantExternal)
		}
	}
}

// What Envoy 1.36.4 and 1.40.0 were seen to make of odd values, beyond the recordings. A case has the parent id that
// each reads, or "-" where it makes no span.
func TestOddIDs(t *testing.T) {
	const (
		traceID = "463ac35c9f6413ad48485a3953bb6124"
		spanID  = "a2fb4a1d1a96d312"
	)
	for _, tt := range []struct {
		header             header.Fields
		envoy136, envoy140 string
	}{
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "0X1f"), "000000000000001f", "000000000000001f"},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "0x"), "-", "-"},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "x"), "-", "-"},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "-"), "-", "-"},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "--1"), "-", "-"},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "+0x1f"), "000000000000001f", "-"},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "-10000000000000000"), "-", "-"},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "0x00000000000000001"), "0000000000000001", "0000000000000001"},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "0x0x1"), "-", "-"},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", "1_f"), "-", "-"},
		{lines("x-b3-traceid", "463ac35c9f6413ad  485a3953bb6124", "x-b3-spanid", spanID), spanID, spanID},
		{lines("x-b3-traceid", "463ac35c9f6413a 48485a3953bb6124", "x-b3-spanid", spanID), "-", "-"},
		{lines("x-b3-traceid", "0x3ac35c9f6413ad0x485a3953bb6124", "x-b3-spanid", spanID), spanID, spanID},
		{lines("x-b3-traceid", traceID, "x-b3-spanid", spanID, "x-b3-parentspanid", "0x"), "-", "-"},
		{lines("x-b3-traceid", "", "x-b3-traceid", traceID, "x-b3-spanid", spanID), "-", "-"},
		{lines("b3", traceID+"- 1"), "0000000000000001", "0000000000000001"},
		{lines("b3", traceID+"-"), "-", "-"},
		{lines("b3", traceID+"-0xfb4a1d1a96d312-1"), "00fb4a1d1a96d312", "00fb4a1d1a96d312"},
		{lines("b3", traceID+"-"+spanID+"-1-0x20000000000001"), spanID, spanID},
		{lines("b3", traceID+"-"+spanID+"--0020000000000001"), "-", "-"},
		{lines("b3", traceID+"-"+spanID+"-1x0020000000000001"), "-", "-"},
		{lines("b3", strings.Repeat("-", 33)), "-", "-"},
		{lines("b3", "", "b3", "1"), "-", "-"},
	} {
		for profile, want := range map[trace.Profile]string{trace.Envoy136: tt.envoy136, trace.Envoy140: tt.envoy140} {
			config := trace.Defaults(trace.Outbound)
			config.Format, config.Profile = trace.B3, profile
			_, spans := exchange(t, config, trace.Options{}, tt.header.Clone())
			got := "-"
			if len(spans) == 1 && spans[0].HasParent {
				got = hexID(spans[0].Parent)
			}
			if got != want {
				t.Errorf("%s: %v: parent %s, want %s", profile, tt.header, got, want)
			}
		}
	}
}

// Repeated lines of headers that Envoy keeps as one field, as its two versions were seen to join them.
func TestRepeatedLines(t *testing.T) {
	out, spans := exchange(t, trace.Defaults(trace.Inbound), trace.Options{}, lines(
		"x-request-id", "", "x-request-id", "3f1a9c20-7b1d-4e44-8a51-0c2f6d7e8b90",
		"x-envoy-downstream-service-cluster", "a", "x-envoy-downstream-service-cluster", "b",
		"x-envoy-upstream-stream-duration-ms", "1", "x-client-trace-id", "c", "x-client-trace-id", "d"))
	want := map[string]string{
		"x-request-id": "3f1a9c20-7b1d-be44-8a51-0c2f6d7e8b90", "x-envoy-downstream-service-cluster": "a,b",
		"x-client-trace-id": "c,d",
	}
	for name, value := range want {
		if got := out.Values(name); len(got) != 1 || got[0] != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if out.Has("x-envoy-upstream-stream-duration-ms") {
		t.Error("a control header from outside is kept")
	}
	if got := tags(spans[0], "downstream_cluster")["downstream_cluster"]; got != "a,b" {
		t.Errorf("downstream_cluster is %q", got)
	}
}

// Who is internal to a sidecar with internal ranges, as Envoy was seen to read x-forwarded-for.
func TestInternal(t *testing.T) {
	config := trace.Defaults(trace.Outbound)
	config.InternalRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for forwarded, want := range map[string]bool{
		"10.0.0.9": true, "fd00::1": true,
		"": false, "x": false, "unknown": false, "10.0.0.9,": false, ",10.0.0.9": false, "10.0.0.9:80": false,
		"::ffff:10.0.0.9": false, "[fd00::1]": false, "fd00::1%eth0": false, "010.0.0.9": false, "10.0.9": false,
		"203.0.113.7": false, "203.0.113.7, 10.0.0.9": false, "10.0.0.9, 10.0.0.8": false,
	} {
		out, _ := exchange(t, config, trace.Options{}, lines(
			"x-forwarded-for", forwarded, "x-envoy-internal", "no", "x-envoy-force-trace", "1"))
		if got := out.Get("x-envoy-internal") == "true"; got != want || out.Has("x-envoy-force-trace") != want {
			t.Errorf("%q: internal %v, want %v: %v", forwarded, got, want, out)
		}
	}
}
