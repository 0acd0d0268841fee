package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"example.com/bookinfo/internal/server"
)

func TestHealth(t *testing.T) {
	ask := func(args ...string) error {
		return run(t.Context(), append([]string{"health"}, args...), func(string) string { return "" }, io.Discard, io.Discard)
	}
	ready := running(t, "--service", "reviews", "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if err := ask("--admin", ready["admin"].(string)); err != nil {
		t.Errorf("a sidecar that runs: %v", err)
	}
	if err := ask("--admin", ready["outbound"].(string)); err == nil {
		t.Error("an address that is not the admin's passes for healthy")
	}
	var wrong *server.UsageError
	for _, args := range [][]string{{"--admin", "15000"}, {"more"}} {
		if err := ask(args...); !errors.As(err, &wrong) {
			t.Errorf("%q: %v, want an error about usage", args, err)
		}
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if err := run(context.Background(), []string{"--version"}, nil, &out, io.Discard); err != nil || !strings.HasPrefix(out.String(), "sidecar ") {
		t.Errorf("%q, %v", out.String(), err)
	}
}
