package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"example.com/bookinfo/internal/demo"
	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/propagation"
)

// demoCommand runs the demo until it is interrupted.
func demoCommand(ctx context.Context, c call) error {
	flags := c.flags("demo", "[flags]")
	asJSON := flags.Bool("json", false, "print one line of JSON on standard output when ready, with every address")
	forward := flags.String("forward", c.getenv("FORWARD_HEADERS"), "`LIST` of trace headers that the services forward: families or names, -name to leave one out, or none; default all")
	verbose := flags.Bool("verbose", false, "log every request on standard error")
	if err := c.parse(flags, 0, 0); err != nil {
		return err
	}
	if _, err := propagation.Parse(*forward); err != nil {
		return &server.UsageError{Err: fmt.Errorf("--forward: %w", err)}
	}
	level := slog.LevelWarn
	if *verbose {
		level = slog.LevelInfo
	}
	running, err := demo.Start(ctx, demo.Config{
		Forward:  *forward,
		Lookup:   c.lookup,
		Log:      server.NewLog(c.stderr, server.LogConfig{Format: "text", Level: level}),
		Progress: c.stderr,
	})
	if err != nil {
		return err
	}
	defer running.Close()
	withdraw, err := demo.Announce(running.Info(), c.getenv)
	if err != nil {
		return err
	}
	defer withdraw() //nolint:errcheck // a file left behind is recognised by who reads it

	if *asJSON {
		err = json.NewEncoder(c.stdout).Encode(running.Info())
	} else {
		err = describe(c.stdout, running)
	}
	if err != nil {
		return err
	}
	select {
	case err := <-running.Failed():
		return err
	case <-ctx.Done():
		fmt.Fprintln(c.stderr, "Stopping.")
		return running.Close()
	}
}

// describe prints where to begin and what listens where.
func describe(w io.Writer, running *demo.Demo) error {
	info := running.Info()
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "Bookinfo is ready. Open %s/productpage and sign in as jason, with any password.\n", info.Entry())
	fmt.Fprintf(table, "Everything else starts at %s. Ctrl-C stops it all.\n\n", info.Control)
	fmt.Fprintln(table, "WORKLOAD\tADDRESS\tPOD\tPOD IP")
	for _, row := range running.Rows() {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row.Name, row.Address, row.Pod, row.PodIP)
	}
	return table.Flush()
}
