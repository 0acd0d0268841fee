package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	zipkinmodel "github.com/openzipkin/zipkin-go/model"
	"github.com/openzipkin/zipkin-go/proto/zipkin_proto3"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/console/span"
)

const envoySpan = `[{"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"a2fb4a1d1a96d312","parentId":"0020000000000001",
  "name":"details.default.svc.cluster.local:9080/*","kind":"CLIENT","timestamp":1700000000000000,"duration":2100,
  "localEndpoint":{"serviceName":"productpage.default","ipv4":"10.0.0.7","port":0},
  "remoteEndpoint":{"serviceName":"details","ipv6":"2001:db8::1","port":9080},
  "annotations":[{"timestamp":1700000000002100,"value":"cr"}],
  "tags":{"component":"proxy","http.status_code":"503","error":"true","istio.canonical_revision":"v1",
  "node_id":"sidecar~10.0.0.7~productpage-v1-0.default~default.svc.cluster.local"}, "debug": true, "unknown": [1, {"a": null}]}]`

func TestZipkinJSON(t *testing.T) {
	var b Batch
	if err := b.ZipkinJSON(envoySpan, received, Limits{}); err != nil {
		t.Fatal(err)
	}
	s := b.Spans[0]
	for want, have := range map[string]any{
		"463ac35c9f6413ad48485a3953bb6124": s.TraceID, "a2fb4a1d1a96d312": s.ID, "0020000000000001": s.ParentID, "CLIENT": s.Kind,
		"productpage.default": s.Service, "v1": s.Version, "10.0.0.7": s.IP, "productpage-v1-0": s.Host,
		"{details 2001:db8::1 9080}": s.Remote, "2.1ms": s.Duration, "2": s.Status,
		"[{2023-11-14 22:13:20.0021 +0000 UTC cr []}]": s.Events, "503": s.HTTPStatus(),
	} {
		if fmt.Sprint(have) != want {
			t.Errorf("got %v, want %s", have, want)
		}
	}
}

func TestZipkinJSONEdges(t *testing.T) {
	const ids = `"traceId":"1","id":"2"`
	for _, c := range []struct {
		body string
		want func(*span.Span) (have, want any)
	}{
		{`[{` + ids + `}]`, func(s *span.Span) (any, any) { return s.Start, received }},
		{`[{` + ids + `,"parentId":""}]`, func(s *span.Span) (any, any) { return s.ParentID, span.ID(0) }},
		{`[{` + ids + `,"parentId":"0000000000000000"}]`, func(s *span.Span) (any, any) { return s.ParentID, span.ID(0) }},
		{`[{` + ids + `,"name":null,"kind":null,"tags":null,"localEndpoint":null}]`, func(s *span.Span) (any, any) { return s.Name, "" }},
		{`[{` + ids + `,"timestamp":"1700000000000000"}]`, func(s *span.Span) (any, any) { return s.Start.Unix(), int64(1700000000) }},
		{`[{` + ids + `,"duration":1.5e3}]`, func(s *span.Span) (any, any) { return s.Duration, 1500 * time.Microsecond }},
		{`[{` + ids + `,"name":"a\u00fc\n\ud83d\ude00\"\/"}]`, func(s *span.Span) (any, any) { return s.Name, "aü\n😀\"/" }},
		{`[{` + ids + `,"name":"\ud83d!"}]`, func(s *span.Span) (any, any) { return s.Name, "\uFFFD!" }},
		{`[{` + ids + ",\"name\":\"a\xffb\"}]", func(s *span.Span) (any, any) { return s.Name, "a\uFFFDb" }},
		{`[{` + ids + `,"tags":{"k":"1","n":2,"b":false,"k":"3"}}]`, func(s *span.Span) (any, any) { return fmt.Sprint(s.Tags), "[{k 3} {n 2} {b false}]" }},
		{`[{` + ids + `,"shared":true,"kind":"SERVER"}]`, func(s *span.Span) (any, any) { return s.Shared, true }},
		{" [ { \"id\" :\t\"2\" , \"traceId\" : \"00000000000000000000000000000001\"\r\n} ] ", func(s *span.Span) (any, any) { return s.TraceID.Lo, uint64(1) }},
	} {
		var b Batch
		if err := b.ZipkinJSON(c.body, received, Limits{}); err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		if have, want := c.want(&b.Spans[0]); have != want {
			t.Errorf("%s: got %v, want %v", c.body, have, want)
		}
	}
	var b Batch
	if err := b.ZipkinJSON(" [] ", received, Limits{}); err != nil || len(b.Spans) != 0 {
		t.Errorf("an empty array: %v", err)
	}
}

func TestZipkinJSONMalformed(t *testing.T) {
	const ids = `"traceId":"1","id":"2"`
	for body, want := range map[string]string{
		``:                                               `byte 0: expected '[', found the end`,
		`{}`:                                             `byte 0: expected '[', found '{'`,
		`[`:                                              `byte 1: expected ']', found the end`,
		`[{` + ids + `}`:                                 `expected ',' or ']', found the end`,
		`[{` + ids + `},]`:                               `expected a value after the comma, found ']'`,
		`[{` + ids + `}] x`:                              `expected the end after the array, found 'x'`,
		`[{"id":"2"}]`:                                   `byte 1, [0]: the span has no traceId`,
		`[{"traceId":"2"}]`:                              `the span has no id`,
		`[{"traceId":"0","id":"2"}]`:                     `byte 12, [0].traceId: expected 16 or 32 hex digits`,
		`[{"traceId":"xyz","id":"2"}]`:                   `[0].traceId: expected 16 or 32 hex digits`,
		`[{"traceId":1,"id":"2"}]`:                       `[0].traceId: expected '"', found '1'`,
		`[{` + ids + `},{"traceId":"1","id":0}]`:         `[1].id: expected '"', found '0'`,
		`[{` + ids + `,"parentId":"-"}]`:                 `[0].parentId: expected 16 hex digits`,
		`[{` + ids + `,"kind":"client"}]`:                `[0].kind: expected CLIENT, SERVER`,
		`[{` + ids + `,"timestamp":-1}]`:                 `[0].timestamp: expected a whole number from 0`,
		`[{` + ids + `,"timestamp":9e99}]`:               `[0].timestamp: expected a whole number from 0`,
		`[{` + ids + `,"duration":01}]`:                  `[0]: expected ',' or '}', found '1'`,
		`[{` + ids + `,"tags":{"a":{}}}]`:                `[0].tags: expected a string, found '{'`,
		`[{` + ids + `,"tags":{"a":null}}]`:              `[0].tags: expected a string, found 'n'`,
		`[{` + ids + `,"name":"a` + "\n" + `"}]`:         `a control character 0x0a`,
		`[{` + ids + `,"name":"\x"}]`:                    `unknown escape \x`,
		`[{` + ids + `,"name":"\u12"}]`:                  `\u needs four hex digits`,
		`[{` + ids + `,"name":"a`:                        `the string that begins here does not end`,
		`[{` + ids + `,"name":"a\`:                       `the string that begins here does not end`,
		`[{` + ids + `,"shared":1}]`:                     `[0].shared: expected true or false`,
		`[{` + ids + `,"localEndpoint":{"ipv4":"x"}}]`:   `[0].localEndpoint: ipv4: expected an IP address, found "x"`,
		`[{` + ids + `,"localEndpoint":{"port":70000}}]`: `[0].localEndpoint: expected a whole number from 0 to 65535`,
		`[{` + ids + `,"x":` + strings.Repeat("[", 100):  `nested more than 64 deep`,
		`[null]`: `expected '{', found 'n'`,
	} {
		var b Batch
		err := b.ZipkinJSON(body, received, Limits{})
		var m *Malformed
		if !errors.As(err, &m) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %v, want %s", body, err, want)
		}
		if len(b.Spans) != 0 {
			t.Errorf("%.80s: %d spans kept", body, len(b.Spans))
		}
	}
}

func TestLimits(t *testing.T) {
	l := Limits{Spans: 2, Tags: 3, Value: 20, Key: 10}
	const ids = `"traceId":"1","id":"2"`
	var b Batch
	body := `[{` + ids + `,"name":"` + strings.Repeat("ü", 20) + `","tags":{"a":"1","long":"` + strings.Repeat("x", 21) + `","` + strings.Repeat("k", 11) + `":"1","d":"1","e":"1"}}]`
	if err := b.ZipkinJSON(body, received, l); err != nil {
		t.Fatal(err)
	}
	s := b.Spans[0]
	if s.Name != strings.Repeat("ü", 10) || len(s.Tags) != 3 || len(s.Tags[1].Value) != 20 || len(s.Tags[2].Key) != 10 || b.Cut != 1 {
		t.Errorf("%+v", s)
	}
	if want := "[span name tags value of long key kkkkkkkkkk]"; fmt.Sprint(s.Cut) != want {
		t.Errorf("cut %v, want %s", s.Cut, want)
	}
	three := `[{` + ids + `},{` + ids + `},{` + ids + `}]`
	var over *TooLarge
	if err := b.ZipkinJSON(three, received, l); !errors.As(err, &over) || err.Error() != "over the limit of 2 spans in one post" {
		t.Errorf("three spans: %v", err)
	}
}

// TestRecordedSpans reads what a real Envoy posted, field by field.
func TestRecordedSpans(t *testing.T) {
	var file struct {
		Samples []struct {
			ID, Format string
			Spans      []map[string]any
		}
	}
	vectors.Load(t, "spans.json", &file)
	checked := 0
	for _, sample := range file.Samples {
		if sample.Format != "zipkin" {
			continue
		}
		for _, sp := range sample.Spans {
			sp["traceId"], sp["id"] = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"
			delete(sp, "parentId")
			sp["timestamp"], sp["duration"] = 1700000000000000, 5
			sp["localEndpoint"].(map[string]any)["ipv4"] = "10.0.0.7"
			for _, a := range sp["annotations"].([]any) {
				a.(map[string]any)["timestamp"] = 1700000000000005
			}
		}
		body, err := json.Marshal(sample.Spans)
		if err != nil {
			t.Fatal(err)
		}
		var b Batch
		if err := b.ZipkinJSON(string(body), received, Limits{}); err != nil {
			t.Errorf("%s: %v", sample.ID, err)
			continue
		}
		for i, want := range sample.Spans {
			s := b.Spans[i]
			tags := want["tags"].(map[string]any)
			if len(tags) != len(s.Tags) || s.Kind.String() != want["kind"] || s.Name != want["name"] && want["name"] != nil {
				t.Errorf("%s: %+v", sample.ID, s)
			}
			for k, v := range tags {
				if have, ok := s.Tags.Get(k); !ok || have != v {
					t.Errorf("%s: tag %s is %q, want %q", sample.ID, k, have, v)
				}
			}
			if revision, ok := tags["istio.canonical_revision"]; ok && s.Version != revision {
				t.Errorf("%s: version %q", sample.ID, s.Version)
			}
			if _, failed := tags["error"]; failed != s.Error() {
				t.Errorf("%s: status %v", sample.ID, s.Status)
			}
			checked++
		}
	}
	if checked < 50 {
		t.Errorf("only %d spans were checked", checked)
	}
}

// TestZipkinProto reads what zipkin-go's own serializer writes.
func TestZipkinProto(t *testing.T) {
	parent := zipkinmodel.ID(5)
	yes := true
	body, err := zipkin_proto3.SpanSerializer{}.Serialize([]*zipkinmodel.SpanModel{{
		SpanContext: zipkinmodel.SpanContext{TraceID: zipkinmodel.TraceID{High: 1, Low: 2}, ID: 3, ParentID: &parent, Sampled: &yes},
		Name:        "get", Kind: zipkinmodel.Consumer, Timestamp: received, Duration: 7 * time.Millisecond, Shared: true,
		LocalEndpoint:  &zipkinmodel.Endpoint{ServiceName: "a", IPv4: []byte{10, 0, 0, 1}, Port: 80},
		RemoteEndpoint: &zipkinmodel.Endpoint{ServiceName: "b", IPv6: []byte{15: 1}},
		Annotations:    []zipkinmodel.Annotation{{Timestamp: received, Value: "note"}},
		Tags:           map[string]string{"error": "boom"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	if err := b.ZipkinProto(string(body), received, Limits{}); err != nil {
		t.Fatal(err)
	}
	s := b.Spans[0]
	if s.TraceID != (span.TraceID{Hi: 1, Lo: 2}) || s.ID != 3 || s.ParentID != 5 || s.Kind != span.KindConsumer || !s.Shared ||
		s.Duration != 7*time.Millisecond || !s.Start.Equal(received) || s.Service != "a" || s.IP != "10.0.0.1" ||
		s.Remote.Service != "b" || s.Remote.IP != "::1" || !s.Error() || len(s.Events) != 1 || s.Events[0].Name != "note" {
		t.Errorf("%+v", s)
	}
	for i := range body {
		if err := b.ZipkinProto(string(body[:i]), received, Limits{}); err == nil && i > 0 {
			t.Errorf("%d of %d bytes were taken", i, len(body))
		}
	}
}

func TestZipkinV1(t *testing.T) {
	const body = `[{"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"2","parentId":"1","name":"get","timestamp":1700000000000000,"duration":5000,
	"annotations":[{"timestamp":1700000000000000,"value":"cs","endpoint":{"serviceName":"a","ipv4":"10.0.0.1"}},
	{"timestamp":1700000000001000,"value":"sr","endpoint":{"serviceName":"b","ipv4":"10.0.0.2"}},
	{"timestamp":1700000000003000,"value":"ss","endpoint":{"serviceName":"b","ipv4":"10.0.0.2"}},
	{"timestamp":1700000000005000,"value":"cr","endpoint":{"serviceName":"a","ipv4":"10.0.0.1"}}],
	"binaryAnnotations":[{"key":"http.path","value":"/x","endpoint":{"serviceName":"a"}},{"key":"error","value":"no"}]}]`
	var b Batch
	if err := b.ZipkinV1JSON(body, received, Limits{}); err != nil {
		t.Fatal(err)
	}
	if len(b.Spans) != 2 {
		t.Fatalf("%d spans", len(b.Spans))
	}
	c, s := b.Spans[0], b.Spans[1]
	if c.Kind != span.KindClient || c.Service != "a" || c.Shared || c.Duration != 5*time.Millisecond || c.Remote.Service != "b" || !c.Error() {
		t.Errorf("client half %+v", c)
	}
	if s.Kind != span.KindServer || s.Service != "b" || !s.Shared || s.Duration != 2*time.Millisecond || s.Start.UnixMicro() != 1700000000001000 {
		t.Errorf("server half %+v", s)
	}
	for body, want := range map[string]string{
		`[{"traceId":"1"}]`: "[0].id: expected 16 hex digits",
		`[{"traceId":1}]`:   "expected string",
		`[`:                 "unexpected end of JSON",
		`[{"traceId":"1","id":"1","timestamp":-5}]`: "[0].timestamp",
	} {
		if err := b.ZipkinV1JSON(body, received, Limits{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", body, err, want)
		}
	}
}

// FuzzZipkinJSON holds that the scanner takes no more than encoding/json does, and reads the same text.
func FuzzZipkinJSON(f *testing.F) {
	f.Add(envoySpan)
	f.Add(`[]`)
	f.Add(`[{"traceId":"1","id":"2","name":"\ud83d\ude00\u0000","duration":1e3,"tags":{"a":-0.5E+2,"b":true}}]`)
	f.Fuzz(func(t *testing.T, body string) {
		var b Batch
		if err := b.ZipkinJSON(body, received, Limits{}); err != nil {
			if len(b.Spans) > 0 && IsMalformed(err) {
				t.Fatal("spans of a malformed body were kept")
			}
			return
		}
		if !json.Valid([]byte(validUTF8(body))) {
			t.Fatal("encoding/json refuses it")
		}
		var exact []map[string]json.RawMessage
		if err := json.Unmarshal([]byte(validUTF8(body)), &exact); err != nil {
			t.Fatal(err)
		}
		if len(exact) != len(b.Spans) {
			t.Fatalf("%d spans, encoding/json has %d", len(b.Spans), len(exact))
		}
		for i := range exact {
			var name string
			if raw, ok := exact[i]["name"]; ok && strings.Count(body, `"name"`) == len(exact) && len(body) < 4096 {
				if json.Unmarshal(raw, &name) == nil && string(raw) != "null" && b.Spans[i].Name != name {
					t.Fatalf("name %q, encoding/json has %q", b.Spans[i].Name, name)
				}
			}
		}
	})
}

// FuzzZipkinProto holds that nothing panics and every span that is taken has ids.
func FuzzZipkinProto(f *testing.F) {
	f.Add([]byte("\x0a\x14\x0a\x08\x00\x00\x00\x00\x00\x00\x00\x01\x1a\x08\x00\x00\x00\x00\x00\x00\x00\x02"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var b Batch
		if b.ZipkinProto(string(body), received, Limits{}) != nil {
			return
		}
		for i := range b.Spans {
			if b.Spans[i].TraceID.IsZero() || b.Spans[i].ID == 0 {
				t.Fatalf("%+v", b.Spans[i])
			}
		}
	})
}
