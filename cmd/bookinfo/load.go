package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"example.com/bookinfo/cmd/bookinfo/demo"
	"example.com/bookinfo/internal/load"
	"example.com/bookinfo/internal/server"
)

// loadCommand sends load to a demo, or to any Bookinfo.
func loadCommand(ctx context.Context, c call) error {
	set := c.flags("load", "[flags] [URL]\n\nSends load to the URL of a Bookinfo, or else to the running demo.")
	rate := set.Float64("rate", 10, "requests per `SECOND`")
	duration := set.Duration("duration", 10*time.Second, "how long to send")
	seed := set.Uint64("seed", 1, "`NUMBER` that decides the order of the personas")
	personas := set.String("personas", load.Anonymous+",jason", "`NAMES` that share the requests; anonymous does not sign in")
	control := set.String("demo", "", "control `URL` of the demo")
	if err := c.parse(set, 0, 1); err != nil {
		return err
	}
	target := strings.TrimSuffix(set.Arg(0), "/")
	if target == "" {
		info, err := demo.Find(ctx, *control, c.getenv)
		if err != nil {
			return err
		}
		target = info.Entry()
	}
	cfg := load.Config{URL: target, Rate: *rate, Duration: *duration, Seed: *seed, Personas: names(*personas)}
	if isTerminal(c.stderr) {
		cfg.Progress = progressBar(c.stderr)
	}
	fmt.Fprintf(c.stderr, "Sending %g requests per second to %s for %s.\n", *rate, target, *duration)
	result, err := load.Run(ctx, cfg)
	if wrong := (*load.ConfigError)(nil); errors.As(err, &wrong) {
		return &server.UsageError{Err: err}
	}
	if err != nil {
		return err
	}
	if cfg.Progress != nil {
		fmt.Fprintln(c.stderr)
	}
	return result.Write(c.stdout)
}

func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// progressBar draws on one line of a terminal, over and over.
func progressBar(w io.Writer) func(done, planned int) {
	const width = 40
	drawn := -1
	return func(done, planned int) {
		percent := 100 * done / planned
		if percent == drawn {
			return
		}
		drawn = percent
		full := width * done / planned
		fmt.Fprintf(w, "\r[%s%s] %3d %%", strings.Repeat("#", full), strings.Repeat(".", width-full), percent)
	}
}
