// Command details serves the facts of a book; see package details.
package main

import (
	"context"
	"io"
	"net/http"
	"os"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/details"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.LookupEnv, os.Stdout)
	os.Exit(server.Exit(os.Stderr, "details", err))
}

func run(ctx context.Context, args []string, lookup settings.Lookup, stdout io.Writer) error {
	env := settings.From(lookup)
	cfg := details.FromEnv(env)
	program := server.Program{Name: "details", About: "the facts of a book", Args: args, Env: env, Stdout: stdout}
	return server.Run(ctx, program, func(parts server.Parts) (http.Handler, error) {
		if cfg.External {
			cfg.Transport = parts.Transport(http.DefaultTransport)
		}
		return details.New(cfg), nil
	})
}
