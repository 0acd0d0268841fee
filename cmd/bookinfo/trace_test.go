package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/console"
)

// TestTraceCommands imports a trace, finds it, shows it and exports it in each format, which imports again.
func TestTraceCommands(t *testing.T) {
	c, err := console.Start(t.Context(), console.Config{Addr: "127.0.0.1:0", Now: time.Now, Location: time.UTC, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	lookup := settings.Map(map[string]string{"BOOKINFO_CONSOLE": c.URL})
	trace := func(args ...string) (string, error) {
		var out, said bytes.Buffer
		err := run(t.Context(), append([]string{"trace"}, args...), lookup, &out, &said)
		return out.String() + said.String(), err
	}
	ok := func(want string, args ...string) string {
		t.Helper()
		out, err := trace(args...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("trace %v: %v\n%s\nwant %q", args, err, out, want)
		}
		return out
	}
	const id = "463ac35c9f6413ad48485a3953bb6124"
	dir := t.TempDir()
	file := filepath.Join(dir, "zipkin.json")
	if err := os.WriteFile(file, []byte(`[
{"traceId":"`+id+`","id":"1","name":"page","kind":"SERVER","timestamp":1700000000000000,"duration":9000,"localEndpoint":{"serviceName":"productpage.default"},"tags":{"http.status_code":"503","error":"true"}},
{"traceId":"`+id+`","id":"2","parentId":"1","name":"call","kind":"CLIENT","timestamp":1700000000001000,"duration":7000,"localEndpoint":{"serviceName":"productpage.default"}}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	ok("Imported 1 trace.", "import", file)
	ok("productpage.default", "ls")
	ok(id, "search", "http.status_code >= 500 and error")
	ok("No trace found", "search", "http.status_code = 200")
	ok(`"traceId": "`+id+`"`, "ls", "-o", "json", "--status", "error")
	ok("└─productpage.default client  call", "show", id)
	for _, as := range []string{"otlp", "zipkin", "jaeger"} {
		exported := filepath.Join(dir, as+".exported")
		if err := os.WriteFile(exported, []byte(ok(id, "export", id, "--as", as)), 0o600); err != nil {
			t.Fatal(err)
		}
		ok("Imported 1 trace.", "import", exported)
	}
	if spans := strings.Count(ok("", "show", id, "-o", "json"), `"timestamp"`); spans != 2 {
		t.Errorf("%d spans after importing each export, want 2", spans)
	}

	for _, args := range [][]string{
		{}, {"frob"}, {"search"}, {"show"}, {"ls", "x"}, {"ls", "-o", "yaml"}, {"export", id, "--as", "pdf"}, {"ls", "--limit", "0"},
		{"ls", "--status", "maybe"}, {"search", "a and"}, {"show", "zz"}, {"ls", "--console", "nonsense"},
	} {
		_, err := trace(args...)
		var usage *server.UsageError
		if !errors.As(err, &usage) || strings.Contains(err.Error(), "\n") {
			t.Errorf("trace %v: %v, want a usage error of one line", args, err)
		}
	}
	for _, args := range [][]string{{"show", "77"}, {"import", filepath.Join(dir, "none")}, {"ls", "--console", "http://127.0.0.1:1"}} {
		_, err := trace(args...)
		var usage *server.UsageError
		if err == nil || errors.As(err, &usage) {
			t.Errorf("trace %v: %v, want an error that is no usage error", args, err)
		}
	}
}
