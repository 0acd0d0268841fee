// Command console serves the trace console; see docs/console.md.
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
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(server.Exit(os.Stderr, "console", err))
}
