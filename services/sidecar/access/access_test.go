package access

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func entry() *Entry {
	return &Entry{
		Start:  time.Date(2026, 11, 22, 10, 11, 12, 345678901, time.FixedZone("", 3600)),
		Method: "GET", Path: "/reviews/0?q=1", Protocol: "HTTP/1.1",
		Status: 503, Flags: "UF,URX", Details: "upstream_reset_before_response_started{remote_connection_failure}",
		TransportFailure: "delayed_connect_error:_Connection_refused",
		BytesReceived:    11, BytesSent: 98, Duration: 1499 * time.Microsecond,
		UserAgent: "curl/8.5.0", RequestID: "3f1a9c20-7b1d-9e44-8a51-0c2f6d7e8b90", Authority: "reviews:9080",
		UpstreamHost: "10.0.0.7:9080", UpstreamCluster: "outbound|9080||reviews.default.svc.cluster.local",
		DownstreamLocal: "10.0.0.1:9080", DownstreamRemote: "10.0.0.2:40000", RouteName: "default",
	}
}

func TestText(t *testing.T) {
	const want = `[2026-11-22T09:11:12.345Z] "GET /reviews/0?q=1 HTTP/1.1" 503 UF,URX ` +
		`upstream_reset_before_response_started{remote_connection_failure} - "delayed_connect_error:_Connection_refused" ` +
		`11 98 1 - "-" "curl/8.5.0" "3f1a9c20-7b1d-9e44-8a51-0c2f6d7e8b90" "reviews:9080" "10.0.0.7:9080" ` +
		`outbound|9080||reviews.default.svc.cluster.local - 10.0.0.1:9080 10.0.0.2:40000 - default` + "\n"
	if got := string(entry().appendText(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	const nothing = `[0001-01-01T00:00:00.000Z] "- - -" 0 - - - "-" 0 0 0 - "-" "-" "-" "-" "-" - - - - - -` + "\n"
	if got := string((&Entry{}).appendText(nil)); got != nothing {
		t.Errorf("got  %s\nwant %s", got, nothing)
	}
}

func TestJSON(t *testing.T) {
	e := entry()
	e.UserAgent = "a\"b\\c\x01\xffé"
	line := e.appendJSON(nil)
	if n := bytes.Count(line, []byte("\n")); n != 1 || line[len(line)-1] != '\n' {
		t.Errorf("%d line ends in %q", n, line)
	}
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	want := map[string]any{
		"start_time": "2026-11-22T09:11:12.345Z", "method": "GET", "path": "/reviews/0?q=1", "protocol": "HTTP/1.1",
		"response_code": 503.0, "response_flags": "UF,URX",
		"response_code_details":             "upstream_reset_before_response_started{remote_connection_failure}",
		"connection_termination_details":    nil,
		"upstream_transport_failure_reason": "delayed_connect_error:_Connection_refused",
		"bytes_received":                    11.0, "bytes_sent": 98.0, "duration": 1.0, "upstream_service_time": nil,
		"x_forwarded_for": nil, "user_agent": "a\"b\\c\x01�é", "request_id": "3f1a9c20-7b1d-9e44-8a51-0c2f6d7e8b90",
		"authority": "reviews:9080", "upstream_host": "10.0.0.7:9080",
		"upstream_cluster":       "outbound|9080||reviews.default.svc.cluster.local",
		"upstream_local_address": nil, "downstream_local_address": "10.0.0.1:9080",
		"downstream_remote_address": "10.0.0.2:40000", "requested_server_name": nil, "route_name": "default",
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %v, want %v", key, got[key], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys, want Istio's %d: %v", len(got), len(want), got)
	}
}

// buffer is a writer that stands still while it is locked.
type buffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) lines() int {
	b.Lock()
	defer b.Unlock()
	return strings.Count(b.String(), "\n")
}

func TestWritesOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		l, err := New(&out, "text")
		if err != nil {
			t.Fatal(err)
		}
		l.Write(entry())
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		if out.lines() != 0 {
			t.Error("written before the second was over")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if lines := out.lines(); lines != 1 {
			t.Errorf("%d lines after a second, want 1", lines)
		}
		l.Write(entry())
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if lines := out.lines(); lines != 2 {
			t.Errorf("%d lines after Close, want 2", lines)
		}
		l.Write(entry())
		if l.Dropped() != 1 {
			t.Errorf("%d entries dropped after Close, want 1", l.Dropped())
		}
	})
}

// A pipe that nobody reads must not hold a request up.
func TestSlowWriter(t *testing.T) {
	reader, writer := io.Pipe()
	l, err := New(writer, "json")
	if err != nil {
		t.Fatal(err)
	}
	const n = 10000
	for range n {
		l.Write(entry())
	}
	if l.Dropped() == 0 || l.Dropped() == n {
		t.Errorf("%d of %d entries dropped", l.Dropped(), n)
	}
	reader.Close()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := New(io.Discard, "xml"); err == nil || !strings.Contains(err.Error(), `"xml": want text or json`) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, format := range []string{"text", "json"} {
		b.Run(format, func(b *testing.B) {
			encode := map[string]func(*Entry, []byte) []byte{"text": (*Entry).appendText, "json": (*Entry).appendJSON}[format]
			e := entry()
			line := encode(e, nil)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				line = encode(e, line[:0])
			}
		})
	}
}
