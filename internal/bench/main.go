// Command bench measures what the services cost on this machine: processor time per 1,000 requests, latency, memory
// and the time from exec to the first answer. Each is run beside a bare net/http server, in turns, so that a machine
// that drifts drifts for both. With the argument demo it measures the start and the memory of bookinfo demo.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "bare" {
		return serveBare(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "demo" {
		return measureDemo(ctx, args[1:], stdout, stderr)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	rounds := flags.Int("rounds", 5, "how many turns each case gets; the median counts")
	requests := flags.Int("requests", 20_000, "requests of a turn; pages get a tenth")
	connections := flags.Int("connections", 16, "connections of the load")
	bin := flags.String("bin", "", "folder with the binaries; without it they are built")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *bin == "" {
		dir, err := os.MkdirTemp("", "bookinfo-bench")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := build(ctx, dir, stderr, services()...); err != nil {
			return err
		}
		*bin = dir
	}
	b := &bench{bin: *bin, rounds: *rounds, requests: *requests, connections: *connections}
	defer b.stop()
	return b.report(ctx, stdout)
}

// services are the binaries under measurement.
func services() []string { return []string{"ratings", "details", "reviews", "productpage"} }

// build makes the binaries as releases are made.
func build(ctx context.Context, dir string, stderr io.Writer, names ...string) error {
	args := []string{"build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w"}
	for _, cold := range []string{"go.mongodb.org", "github.com/klauspost", "go.opentelemetry.io/otel", "go.opentelemetry.io/contrib", "google.golang.org/protobuf"} {
		args = append(args, "-gcflags="+cold+"/...=-l") // as in the Makefile
	}
	for _, name := range names {
		cmd := exec.CommandContext(ctx, "go", append(args, "-o", filepath.Join(dir, name), "./cmd/"+name)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
	}
	return nil
}

// bench is one run: the processes that it starts and how it loads them.
type bench struct {
	bin                           string
	rounds, requests, connections int
	started                       []*process
}

func (b *bench) stop() {
	for _, p := range b.started {
		p.stop()
	}
	b.started = nil
}

// load is one case: an address to ask and the processes whose time counts.
type load struct {
	name      string
	path      string
	front     *process
	processes []*process
	share     int    // of the requests of a turn, one in so many
	bare      *load  // what it is compared with, or nil
	mark      string // what it should cost on an idle machine, or ""
	turns     []turn
}

func (b *bench) report(ctx context.Context, stdout io.Writer) error {
	loads, err := b.start(ctx)
	if err != nil {
		return err
	}
	for _, l := range loads { // warm
		if _, err := drive(ctx, l, b.requests/l.share/5+1, b.connections); err != nil {
			return err
		}
	}
	for range b.rounds {
		for _, l := range loads {
			t, err := drive(ctx, l, b.requests/l.share, b.connections)
			if err != nil {
				return err
			}
			l.turns = append(l.turns, t)
		}
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%d turns, %d connections\tCPU-s per 1,000\tlowest to highest\ttimes bare\tp50\tp99\tmark\n", b.rounds, b.connections)
	for _, l := range loads {
		cpu := sorted(l.turns, func(t turn) time.Duration { return t.cpu * 1000 / time.Duration(t.requests) })
		p50 := sorted(l.turns, func(t turn) time.Duration { return t.p50 })
		p99 := sorted(l.turns, func(t turn) time.Duration { return t.p99 })
		middle := len(cpu) / 2
		fmt.Fprintf(table, "%s\t%.4f\t%.4f to %.4f\t%s\t%.2f ms\t%.2f ms\t%s\n", l.name, cpu[middle].Seconds(),
			cpu[0].Seconds(), cpu[len(cpu)-1].Seconds(), l.timesBare(), milliseconds(p50[middle]), milliseconds(p99[middle]), l.mark)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	b.stop() // else PSS would share a binary's pages among more processes than a user has
	return reportBinaries(ctx, b.bin, stdout)
}

// timesBare is the median of what each turn cost beside the turn of the bare servers in the same round: what else runs
// on the machine changes both.
func (l *load) timesBare() string {
	if l.bare == nil {
		return ""
	}
	var times []float64
	for i, t := range l.turns {
		if bare := l.bare.turns[i]; bare.cpu > 0 {
			times = append(times, t.cpu.Seconds()/bare.cpu.Seconds())
		}
	}
	if len(times) == 0 {
		return ""
	}
	slices.Sort(times)
	return fmt.Sprintf("%.2f", times[len(times)/2])
}

func sorted(turns []turn, value func(turn) time.Duration) []time.Duration {
	values := make([]time.Duration, 0, len(turns))
	for _, t := range turns {
		values = append(values, value(t))
	}
	slices.Sort(values)
	return values
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func megabytes(n int64) float64 { return float64(n) / 1e6 }
