// Command productpage serves Bookinfo's page, login and API; see package productpage.
package main

import (
	"context"
	"io"
	"net/http"
	"os"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/productpage"
)

func main() {
	err := run(context.Background(), os.Args[1:], os.LookupEnv, os.Stdout)
	os.Exit(server.Exit(os.Stderr, "productpage", err))
}

func run(ctx context.Context, args []string, lookup settings.Lookup, stdout io.Writer) error {
	env := settings.From(lookup)
	cfg := productpage.FromEnv(env)
	program := server.Program{Name: "productpage", About: "Bookinfo's page, login and API", Args: args, Env: env, Stdout: stdout}
	return server.Run(ctx, program, func(parts server.Parts) (http.Handler, error) {
		return productpage.New(cfg, productpage.Deps{Log: parts.Log, Registry: parts.Registry, Trace: parts.Transport})
	})
}
