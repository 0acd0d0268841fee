// Command reviews serves what people say about a book, with stars; see package reviews.
package main

import (
	"context"
	"io"
	"net/http"
	"os"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/reviews"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.LookupEnv, os.Stdout)
	os.Exit(server.Exit(os.Stderr, "reviews", err))
}

func run(ctx context.Context, args []string, lookup settings.Lookup, stdout io.Writer) error {
	env := settings.From(lookup)
	cfg := reviews.FromEnv(env)
	program := server.Program{Name: "reviews", About: "what people say about a book, with stars", Args: args, Env: env, Stdout: stdout}
	return server.Run(ctx, program, func(parts server.Parts) (http.Handler, error) {
		cfg.Log = parts.Log
		if cfg.Ratings {
			cfg.Transport = parts.Transport(reviews.NewTransport())
		}
		return reviews.New(cfg), nil
	})
}
