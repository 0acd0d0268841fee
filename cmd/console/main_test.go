package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/server"
)

// TestMain lets the test's own binary be the console that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("BE_THE_CONSOLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestWrongFlags(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--nope", "-nope"}, {"serve", `argument "serve"`}, {"--max-memory lots", "want a size such as"}, {"--max-memory -1", "want a size"},
		{"--max-memory 1KB", "max-memory: 1000 bytes, want at least"}, {"--sync-interval 0s", "want a positive duration"},
		{"--quota-spans -1", "--quota-spans -1"}, {"--tls-cert x", "want both or none"}, {"--addr nowhere", "want HOST:PORT"},
		{"--backend tempo=http://a", "want jaeger=URL or zipkin=URL"}, {"--backend zipkin=a:9411", "want an address such as http://zipkin:9411"},
		{"--backend-header a=b", "beside --backend"}, {"--backend jaeger=http://a --backend-header secret", "--backend-header, number 1: want NAME=VALUE"},
		{"--backend jaeger=http://a --data-dir /tmp/x", "data-dir: want none with a backend"}, {"--forward-otlp nowhere", "http://collector:4318"},
		{"--ingest-token-file /does/not/exist", "--ingest-token-file"}, {"--max-value 1", "at least 16"}, {"health --addr x", "want HOST:PORT"},
	} {
		err := run(t.Context(), strings.Fields(tt.args), func(string) string { return "" }, io.Discard, io.Discard)
		var usage *server.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %s", tt.args, err, tt.want)
		}
	}
}

func TestHelpNamesTheFlags(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, func(string) string { return "" }, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"-addr", "-otlp-grpc", "-otlp-http", "-max-memory", "-data-dir", "-quota-spans", "-quota-bytes",
		"-sync-interval", "-backend", "-forward-otlp", "-auth-file", "-tls-cert", "-tls-key", "-ingest-token-file"} {
		if !strings.Contains(out.String(), "  "+flag) {
			t.Errorf("help lacks %s", flag)
		}
	}
}

// child is a console in a process of its own.
type child struct {
	cmd   *exec.Cmd
	ready ready
}

func startChild(t *testing.T, args ...string) *child {
	t.Helper()
	c := &child{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], append([]string{"--addr", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"}, args...)...)}
	c.cmd.Env = append(os.Environ(), "BE_THE_CONSOLE=1")
	c.cmd.Stderr = t.Output()
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("no ready line: %v", err)
	}
	if err := json.Unmarshal([]byte(line), &c.ready); err != nil || c.ready.Console != "http://"+c.ready.Addr+"/" || c.ready.OTLPGRPC == "" || c.ready.OTLPHTTP == "" {
		t.Fatalf("ready line %s: %v", line, err)
	}
	return c
}

func (c *child) post(t *testing.T, trace int) bool {
	body := fmt.Sprintf(`[{"traceId":"%016x","id":"1","name":"op","timestamp":%d,"duration":1000,"localEndpoint":{"serviceName":"a"}}]`, trace, time.Now().UnixMicro())
	resp, err := http.Post(c.ready.Console+"api/v2/spans", "application/json", strings.NewReader(body))
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusAccepted
}

func (c *child) has(t *testing.T, trace int) bool {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("%sapi/v2/trace/%016x", c.ready.Console, trace))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// TestKill kills the console with SIGKILL under ingest: what was acknowledged longer ago than the sync interval is
// there again.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	const interval = 50 * time.Millisecond
	args := []string{"--data-dir", dir, "--sync-interval", interval.String()}
	next := 1
	acknowledged := map[int]time.Time{}
	for range 4 {
		c := startChild(t, args...)
		killed := make(chan time.Time, 1)
		time.AfterFunc(300*time.Millisecond, func() {
			killed <- time.Now()
			_ = c.cmd.Process.Kill()
		})
		for c.post(t, next) {
			acknowledged[next] = time.Now()
			next++
		}
		_ = c.cmd.Wait()
		at := <-killed
		// A post may be on its way to the disk for as long as a block takes to be written, on a machine under load.
		for trace, when := range acknowledged {
			if at.Sub(when) < interval+200*time.Millisecond {
				delete(acknowledged, trace)
			}
		}
	}
	c := startChild(t, args...)
	missing := 0
	for trace := range acknowledged {
		if !c.has(t, trace) {
			missing++
		}
	}
	if missing > 0 || len(acknowledged) == 0 {
		t.Errorf("%d of %d acknowledged posts are missing", missing, len(acknowledged))
	}
}

// TestTerm ends with what was taken in on disk.
func TestTerm(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, "--data-dir", dir, "--sync-interval", "1h")
	if !c.post(t, 1) {
		t.Fatal("no answer")
	}
	if err := run(t.Context(), []string{"health", "--addr", c.ready.Addr}, func(string) string { return "" }, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if !startChild(t, "--data-dir", dir).has(t, 1) {
		t.Error("the span is gone")
	}
	if err := run(t.Context(), []string{"health", "--addr", c.ready.Addr}, func(string) string { return "" }, io.Discard, io.Discard); err == nil {
		t.Error("a console that has ended is healthy")
	}
}
