package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"example.com/bookinfo/internal/server"
)

// health asks the console whether it is ready, for a container's health check without a shell.
func health(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("console health", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	addr := f.String("addr", "127.0.0.1:9411", "")
	secure := f.Bool("tls", false, "")
	if err := f.Parse(args); err != nil || f.NArg() > 0 {
		return &server.UsageError{Err: fmt.Errorf("health: want --addr HOST:PORT, and --tls when the console speaks it")}
	}
	host, port, err := net.SplitHostPort(*addr)
	if err != nil {
		return &server.UsageError{Err: fmt.Errorf("--addr %q: want HOST:PORT", *addr)}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http://"
	if *secure {
		scheme = "https://"
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: status %d", resp.StatusCode)
	}
	return nil
}
