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

// healthTimeout bounds the question, connection and answer together.
const healthTimeout = 2 * time.Second

// health asks the sidecar whether it is ready, for a container's health check without a shell.
func health(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("sidecar health", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	admin := f.String("admin", "127.0.0.1:15000", "")
	if err := f.Parse(args); err != nil || f.NArg() > 0 {
		return usage(fmt.Errorf("health: want --admin HOST:PORT, and nothing else"))
	}
	if _, _, err := net.SplitHostPort(*admin); err != nil {
		return usage(fmt.Errorf("--admin %q: want HOST:PORT", *admin))
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+*admin+"/ready", nil)
	if err != nil {
		return err
	}
	// No proxy: the sidecar is on this machine.
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s answers %s", *admin, resp.Status)
	}
	return nil
}

// printVersion answers a sole --version, which with a value is the workload's.
func printVersion(w io.Writer) error {
	_, err := fmt.Fprintln(w, "sidecar", server.Version())
	return err
}
