// Command bookinfo is the one command for people: it runs the suite on this machine and works with what runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	os.Exit(server.Exit(os.Stderr, "bookinfo", err))
}

// command is one subcommand; each has a file of its own.
type command struct {
	name, about string
	run         func(context.Context, call) error
}

// call is what a subcommand is called with.
type call struct {
	args           []string // behind the subcommand's name
	lookup         settings.Lookup
	stdout, stderr io.Writer
}

func commands() []command {
	commands := []command{
		{"demo", "run the whole suite in one process on this machine", demoCommand},
		{"trace", "list, show, export and import traces", traceCommand},
		{"break", "break the forwarding of one service of the demo", breakCommand},
		{"mend", "mend what break broke", mendCommand},
		{"check", "tell whether a service forwards its trace headers", checkCommand},
		{"doctor", "look at a Bookinfo on a cluster, from the API server to a trace", doctorCommand},
		{"sidecar", "run a command of yours as part of the running demo", sidecarCommand},
		{"load", "send load to the demo or another Bookinfo and tell how it went", loadCommand},
	}
	return append(commands, meshCommands()...)
}

func run(ctx context.Context, args []string, lookup settings.Lookup, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return &server.UsageError{Err: errors.New("want a command; bookinfo help lists them")}
	}
	name := args[0]
	if name == "help" || name == "-h" || name == "--help" {
		return help(stdout)
	}
	if name == "--version" || name == "version" {
		_, err := fmt.Fprintln(stdout, "bookinfo", server.Version())
		return err
	}
	for _, c := range commands() {
		if c.name == name {
			err := c.run(ctx, call{args[1:], lookup, stdout, stderr})
			if errors.Is(err, flag.ErrHelp) {
				return nil
			}
			return err
		}
	}
	return &server.UsageError{Err: fmt.Errorf("unknown command %q; bookinfo help lists them", name)}
}

func help(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "bookinfo runs Bookinfo on this machine and works with what runs.\n\nUsage: bookinfo COMMAND [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(table, "  %s\t%s\n", c.name, c.about)
	}
	fmt.Fprintf(table, "\nbookinfo COMMAND -h explains one; bookinfo --version prints the version.\n")
	return table.Flush()
}

// flags returns the flag set of a subcommand; -h prints usage, then the flags.
func (c call) flags(name, usage string) *flag.FlagSet {
	set := flag.NewFlagSet("bookinfo "+name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {
		fmt.Fprintf(c.stdout, "Usage: bookinfo %s %s\n\n", name, usage)
		set.SetOutput(c.stdout)
		set.PrintDefaults()
		set.SetOutput(io.Discard)
	}
	return set
}

// parse reads the flags of a subcommand that takes from min to max arguments behind them. A wrong one is a usage error.
func (c call) parse(set *flag.FlagSet, min, max int) error {
	usage := set.Usage
	set.Usage = func() {} // Parse calls it for a wrong flag too, which gets one line
	if err := set.Parse(c.args); errors.Is(err, flag.ErrHelp) {
		usage()
		return err
	} else if err != nil {
		return &server.UsageError{Err: fmt.Errorf("%w; %s -h shows what is understood", err, set.Name())}
	}
	if n := set.NArg(); n < min || n > max {
		return &server.UsageError{Err: fmt.Errorf("%d arguments; %s -h shows what is understood", n, set.Name())}
	}
	return nil
}

func (c call) getenv(name string) string {
	value, _ := c.lookup(name)
	return value
}
