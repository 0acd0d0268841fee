package console_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/remote"
	"example.com/bookinfo/services/console/store"
)

// startJaeger starts a real Jaeger of the 1.x line with its spans in memory, and gives the addresses of its queries and
// of its OTLP over HTTP.
func startJaeger(t *testing.T) (query, otlp string) {
	t.Helper()
	binary := need.Tool(t, "jaeger")
	var addrs [6]string
	var held []net.Listener
	for i := range addrs {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[i], held = free.Addr().String(), append(held, free)
	}
	for _, l := range held {
		_ = l.Close()
	}
	cmd := exec.Command(binary, "--query.http-server.host-port="+addrs[0], "--query.grpc-server.host-port="+addrs[1],
		"--collector.otlp.http.host-port="+addrs[2], "--collector.otlp.grpc.host-port="+addrs[3],
		"--collector.grpc-server.host-port="+addrs[4], "--admin.http.host-port="+addrs[5],
		"--collector.http-server.host-port=127.0.0.1:0", "--log-level=error")
	cmd.Env = append(os.Environ(), "SPAN_STORAGE_TYPE=memory")
	var log lines
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	query, otlp = "http://"+addrs[0], "http://"+addrs[2]+"/v1/traces"
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(query + "/api/services")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return query, otlp
		}
	}
	t.Fatalf("Jaeger does not start:\n%s", log.String())
	return "", ""
}

// TestRealJaeger: a console in front of a Jaeger shows what a console that holds the spans itself shows.
func TestRealJaeger(t *testing.T) {
	engine, otlp := startJaeger(t)
	spans, ids := requests(t)
	body, err := json.Marshal(format.OTLP(spans))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(otlp, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%d: %s", resp.StatusCode, answer)
	}
	var batch ingest.Batch
	if err := batch.OTLPJSON(string(body), time.Now(), ingest.Limits{}); err != nil {
		t.Fatal(err)
	}
	own := store.New(store.Options{})
	own.Append(batch.Spans)
	o, err := remote.Parse("jaeger=" + engine)
	if err != nil {
		t.Fatal(err)
	}
	o.Now = time.Now
	b := remote.New(o)
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if got, err := b.Trace(t.Context(), ids[4]); err == nil && len(got) == 9 {
			break
		} else if time.Since(began) > 40*time.Second {
			t.Fatalf("%d spans, %v", len(got), err)
		}
	}
	compareEngines(t, own, b, ids, cmpopts.IgnoreFields(backend.Summary{}, "Complete"))
}
