// Command ratings serves the stars of a book's reviews; see package ratings.
package main

import (
	"context"
	"io"
	"net/http"
	"os"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/ratings"
	"example.com/bookinfo/services/ratings/database"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.LookupEnv, os.Stdout)
	os.Exit(server.Exit(os.Stderr, "ratings", err))
}

func run(ctx context.Context, args []string, lookup settings.Lookup, stdout io.Writer) error {
	env := settings.From(lookup)
	cfg := ratings.FromEnv(env)
	stored := database.FromEnv(env)
	program := server.Program{Name: "ratings", About: "the stars of a book's reviews", Args: args, Env: env, Stdout: stdout}
	return server.Run(ctx, program, func(parts server.Parts) (http.Handler, error) {
		cfg.Log = parts.Log
		if cfg.Version == "v2" {
			cfg.Database = stored
		}
		return ratings.New(cfg), nil
	})
}
