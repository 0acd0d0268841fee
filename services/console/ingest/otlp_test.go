package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"example.com/bookinfo/services/console/span"
)

var received = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// request has every field of a span and every type of value.
func request() ptraceotlp.ExportRequest {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	r := rs.Resource().Attributes()
	r.PutStr("service.name", "reviews.default")
	r.PutStr("service.version", "v2")
	r.PutStr("k8s.pod.name", "reviews-v2-5d56")
	r.PutInt("process.pid", 7)
	r.PutEmptySlice("host.ip").AppendEmpty().SetStr("10.0.0.9")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("lib")
	ss.Scope().SetVersion("1.2")
	s := ss.Spans().AppendEmpty()
	s.SetTraceID([16]byte{0x46, 0x3a, 0xc3, 0x5c, 0x9f, 0x64, 0x13, 0xad, 0x48, 0x48, 0x5a, 0x39, 0x53, 0xbb, 0x61, 0x24})
	s.SetSpanID([8]byte{1, 2, 3, 4, 5, 6, 7, 8})
	s.SetParentSpanID([8]byte{8, 7, 6, 5, 4, 3, 2, 1})
	s.TraceState().FromRaw("a=1,b=2")
	s.SetName("GET /reviews/{id}")
	s.SetKind(ptrace.SpanKindServer)
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(received.Add(-time.Second)))
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(received.Add(-time.Second + 1500*time.Microsecond)))
	s.Status().SetCode(ptrace.StatusCodeError)
	s.Status().SetMessage("no ratings")
	a := s.Attributes()
	a.PutStr("str", "ü")
	a.PutBool("yes", true)
	a.PutBool("no", false)
	a.PutInt("int", -42)
	a.PutDouble("double", 1.5)
	a.PutDouble("whole", 3)
	a.PutEmptyBytes("bytes").FromRaw([]byte{0, 255})
	list := a.PutEmptySlice("list")
	list.AppendEmpty().SetStr("<a>")
	list.AppendEmpty().SetInt(1)
	m := a.PutEmptyMap("map")
	m.PutStr("b", "x")
	m.PutEmptyMap("a").PutBool("deep", true)
	a.PutEmpty("empty")
	e := s.Events().AppendEmpty()
	e.SetName("exception")
	e.SetTimestamp(pcommon.NewTimestampFromTime(received.Add(-time.Second + time.Millisecond)))
	e.Attributes().PutStr("exception.type", "IOException")
	l := s.Links().AppendEmpty()
	l.SetTraceID([16]byte{1})
	l.SetSpanID([8]byte{2})
	l.Attributes().PutStr("why", "batch")
	bare := ss.Spans().AppendEmpty()
	bare.SetTraceID([16]byte{15: 1})
	bare.SetSpanID([8]byte{7: 1})
	return ptraceotlp.NewExportRequestFromTraces(td)
}

func TestOTLP(t *testing.T) {
	proto, err := request().MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	json, err := request().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, decode := range map[string]func(*Batch) error{
		"protobuf": func(b *Batch) error { return b.OTLP(string(proto), received, Limits{}) },
		"json":     func(b *Batch) error { return b.OTLPJSON(string(json), received, Limits{}) },
	} {
		t.Run(name, func(t *testing.T) {
			var b Batch
			if err := decode(&b); err != nil {
				t.Fatal(err)
			}
			if len(b.Spans) != 2 {
				t.Fatalf("%d spans", len(b.Spans))
			}
			s := b.Spans[0]
			want := map[string]any{
				"463ac35c9f6413ad48485a3953bb6124": s.TraceID, "0102030405060708": s.ID, "0807060504030201": s.ParentID,
				"SERVER": s.Kind, "reviews.default": s.Service, "v2": s.Version, "reviews-v2-5d56": s.Host, "GET /reviews/{id}": s.Name,
				"1.5ms": s.Duration, "2": s.Status, "no ratings": s.StatusMessage, "a=1,b=2": s.TraceState, "lib 1.2": s.Scope,
				received.Add(-time.Second).String(): s.Start, received.String(): s.Received,
				"[{str ü} {yes true} {no false} {int -42} {double 1.5} {whole 3} {bytes AP8=} {list [\"<a>\",1]} {map {\"a\":{\"deep\":true},\"b\":\"x\"}} {empty }]": s.Tags,
			}
			for text, have := range want {
				if fmt.Sprint(have) != text {
					t.Errorf("got %v, want %s", have, text)
				}
			}
			if v, _ := s.Resource.Get("process.pid"); v != "7" {
				t.Errorf("resource %v", s.Resource)
			}
			if len(s.Events) != 1 || s.Events[0].Name != "exception" || fmt.Sprint(s.Events[0].Tags) != "[{exception.type IOException}]" {
				t.Errorf("events %v", s.Events)
			}
			if len(s.Links) != 1 || s.Links[0].TraceID.Hi != 1<<56 || fmt.Sprint(s.Links[0].Tags) != "[{why batch}]" {
				t.Errorf("links %v", s.Links)
			}
			if bare := b.Spans[1]; !bare.Start.Equal(received) || bare.Kind != span.KindUnspecified {
				t.Errorf("bare span %+v", bare)
			}
		})
	}
}

// TestOTLPRejectsSpans leaves out spans with invalid ids and takes the others, as partial success has it.
func TestOTLPRejectsSpans(t *testing.T) {
	req := request()
	spans := req.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	spans.AppendEmpty().SetSpanID([8]byte{1})
	spans.AppendEmpty().SetTraceID([16]byte{1})
	body, err := req.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	if err := b.OTLP(string(body), received, Limits{}); err != nil {
		t.Fatal(err)
	}
	if len(b.Spans) != 2 || b.Rejected != 2 || !strings.Contains(b.Reason, "trace_id") {
		t.Errorf("%d spans, %d rejected: %s", len(b.Spans), b.Rejected, b.Reason)
	}
}

// TestOTLPTruncated cuts a request at every byte: it is malformed or a shorter request, and never a panic.
func TestOTLPTruncated(t *testing.T) {
	body, err := request().MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		var b Batch
		err := b.OTLP(string(body[:i]), received, Limits{})
		var m *Malformed
		if err == nil && i > 0 || err != nil && !errors.As(err, &m) {
			t.Errorf("%d of %d bytes: %v", i, len(body), err)
		}
		if err != nil && len(b.Spans) > 0 {
			t.Errorf("%d of %d bytes: %d spans kept", i, len(body), len(b.Spans))
		}
	}
}

func describe(b *Batch) string {
	var out strings.Builder
	for i := range b.Spans {
		s := b.Spans[i]
		if len(s.Tags) == 0 {
			s.Tags = nil
		}
		if len(s.Resource) == 0 {
			s.Resource = nil
		}
		fmt.Fprintf(&out, "%+v\n", s)
	}
	fmt.Fprint(&out, b.Rejected)
	return out.String()
}

// FuzzOTLP compares the walker with the OpenTelemetry Collector's own decoder.
func FuzzOTLP(f *testing.F) {
	body, err := request().MarshalProto()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte{})
	f.Add(body[:len(body)/2])
	f.Add([]byte("\x0a\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var own, oracle Batch
		ownErr := own.OTLP(string(body), received, Limits{})
		req := ptraceotlp.NewExportRequest()
		oracleErr := req.UnmarshalProto(body)
		if ownErr != nil && oracleErr != nil {
			return
		}
		if oracleErr != nil {
			// The walker does not look into what it does not use (flags, dropped counts, schema URLs), so it may take
			// a body that the oracle refuses, but then it must not have invented a span.
			return
		}
		if ownErr != nil {
			var m *Malformed
			if !errors.As(ownErr, &m) {
				t.Fatalf("the oracle takes it, the walker says %v", ownErr)
			}
			// The oracle bounds neither nesting nor field numbers, drops the upper bits of a number that has too many, and
			// lets a group end with its message.
			for _, stricter := range []string{"nested", "64 bits", "a group ends", "field number"} {
				if strings.Contains(m.Reason, stricter) {
					return
				}
			}
			t.Fatalf("the oracle takes it, the walker says %v", ownErr)
		}
		oracle.reset(Limits{})
		if err := oracle.traces(req.Traces(), received); err != nil {
			t.Fatal(err)
		}
		if a, b := describe(&own), describe(&oracle); a != b {
			t.Fatalf("walker\n%s\noracle\n%s", a, b)
		}
	})
}
