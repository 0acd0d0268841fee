// Command sidecar is the stand-in for a mesh's proxy; see package sidecar and docs/sidecar.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"example.com/bookinfo/internal/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(server.Exit(os.Stderr, "sidecar", err))
}
