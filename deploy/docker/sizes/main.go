// Command sizes writes the table of image sizes into README.md, between its two markers. `make sizes` builds the images
// first.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"example.com/bookinfo/deploy/docker/image"
	"example.com/bookinfo/internal/server"
)

const begin, end = "<!-- sizes: written by make sizes -->\n", "<!-- end of sizes -->\n"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Getenv)
	stop()
	os.Exit(server.Exit(os.Stderr, "sizes", err))
}

func run(ctx context.Context, args []string, getenv func(string) string) error {
	if len(args) != 1 {
		return &server.UsageError{Err: errors.New("want one argument, the file that has the markers: README.md")}
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	table, err := sizes(ctx, getenv("REGISTRY"), getenv("TAG"))
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(begin))
	_, after, closed := bytes.Cut(rest, []byte(end))
	if !found || !closed {
		return fmt.Errorf("%s: want the lines %q and %q around the table", args[0], strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return os.WriteFile(args[0], bytes.Join([][]byte{before, []byte(begin), []byte(table), []byte(end), after}, nil), 0o644)
}

func sizes(ctx context.Context, registry, tag string) (string, error) {
	var table strings.Builder
	table.WriteString("\n| image | to pull (compressed) | on disk |\n|---|---|---|\n")
	for _, name := range []string{
		"examples-bookinfo-productpage-v1", "examples-bookinfo-details-v1", "examples-bookinfo-reviews-v3",
		"examples-bookinfo-ratings-v1", "bookinfo-sidecar", "bookinfo-console", "bookinfo",
	} {
		img, err := image.Read(ctx, registry+"/"+name+":"+tag, nil)
		if err != nil {
			return "", err
		}
		compressed, err := img.Compressed()
		if err != nil {
			return "", err
		}
		var disk int64
		for _, f := range img.Files {
			disk += f.Size
		}
		fmt.Fprintf(&table, "| `%s` | %.1f MB | %.1f MB |\n", name, float64(compressed)/1e6, float64(disk)/1e6)
	}
	table.WriteString("\n")
	return table.String(), nil
}
