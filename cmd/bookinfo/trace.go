package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"

	"example.com/bookinfo/cmd/bookinfo/demo"
	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/traceview"
)

const traceUsage = `ls | search EXPRESSION | show ID | export ID | import FILE  [flags]

  ls       list traces, newest first
  search   list those with a span whose tags match, such as: http.status_code >= 500 and not error
  show     print one as a tree
  export   write one as JSON that other tools read (--as)
  import   send a file of OTLP, Zipkin or Jaeger JSON to the console ("-" is standard input)`

// traceCommand works with the traces of a console.
func traceCommand(ctx context.Context, c call) error {
	if len(c.args) == 0 {
		return &server.UsageError{Err: errors.New("want ls, search, show, export or import; bookinfo trace -h explains them")}
	}
	t := traceCall{call: c, flags: c.flags("trace", traceUsage)}
	t.flags.StringVar(&t.console, "console", "", "`ADDRESS` of the console; default BOOKINFO_CONSOLE, else that of the running demo, else http://127.0.0.1:9411")
	t.flags.StringVar(&t.demo, "demo", "", "control `ADDRESS` of the demo whose console is meant")
	t.flags.StringVar(&t.output, "o", "text", "text or json")
	t.flags.StringVar(&t.application, "application", "", "only traces with a span of this application")
	t.flags.StringVar(&t.status, "status", "", "ok or error")
	t.flags.DurationVar(&t.min, "min-duration", 0, "only traces that took at least so long")
	t.flags.DurationVar(&t.since, "since", 0, "only traces of the last so long; 0 is all")
	t.flags.StringVar(&t.order, "order", "time", "time or duration")
	t.flags.StringVar(&t.id, "id", "", "trace id or x-request-id, or the beginning of one")
	t.flags.StringVar(&t.finding, "finding", "", "only traces in which the doctor found this")
	t.flags.IntVar(&t.limit, "limit", 20, "at most so many")
	t.flags.StringVar(&t.as, "as", "otlp", "format of export: otlp, zipkin or jaeger")
	name := c.args[0]
	if name == "-h" || name == "--help" || name == "help" {
		t.flags.Usage()
		return nil
	}
	action, ok := map[string]func(context.Context) error{"ls": t.list, "search": t.list, "show": t.show, "export": t.export, "import": t.load}[name]
	if !ok {
		return &server.UsageError{Err: fmt.Errorf("unknown action %q: want ls, search, show, export or import", name)}
	}
	if err := t.parse(name); err != nil {
		return err
	}
	client, err := t.findConsole(ctx)
	if err != nil {
		return err
	}
	t.client = client
	err = action(ctx)
	var bad *traceview.BadQuestionError
	if errors.As(err, &bad) {
		return &server.UsageError{Err: err}
	}
	return err
}

type traceCall struct {
	call
	flags  *flag.FlagSet
	client traceview.Client

	console, demo, output, application, status, order, id, finding, as string
	min, since                                                         time.Duration
	limit                                                              int
	argument                                                           string
}

// parse takes flags before and behind the one argument.
func (t *traceCall) parse(name string) error {
	t.args = t.args[1:]
	want := 1
	if name == "ls" {
		want = 0
	}
	if err := t.call.parse(t.flags, 0, 100); err != nil {
		return err
	}
	if rest := t.flags.Args(); len(rest) > 0 && want == 1 {
		t.argument = rest[0]
		t.args = rest[1:]
		if err := t.call.parse(t.flags, 0, 0); err != nil {
			return err
		}
		want = 0
	} else if len(rest) > 0 {
		return &server.UsageError{Err: fmt.Errorf("ls takes no argument, %q given", rest[0])}
	}
	if want == 1 {
		return &server.UsageError{Err: fmt.Errorf("%s: want an argument; bookinfo trace -h explains it", name)}
	}
	if t.output != "text" && t.output != "json" {
		return &server.UsageError{Err: fmt.Errorf("-o %q: want text or json", t.output)}
	}
	switch t.as {
	case "otlp", "zipkin", "jaeger":
		return nil
	}
	return &server.UsageError{Err: fmt.Errorf("--as %q: want otlp, zipkin or jaeger", t.as)}
}

func (t *traceCall) findConsole(ctx context.Context) (traceview.Client, error) {
	client := traceview.Client{Console: t.console, Token: t.getenv("BOOKINFO_CONSOLE_TOKEN")}
	if client.Console == "" && t.demo == "" {
		client.Console = t.getenv("BOOKINFO_CONSOLE")
	}
	if client.Console == "" {
		info, err := demo.Find(ctx, t.demo, t.getenv)
		switch {
		case err == nil && info.Console != "":
			client.Console = info.Console
		case errors.Is(err, demo.ErrNotFound) || err == nil:
			client.Console = "http://127.0.0.1:9411"
		default:
			return client, err
		}
	}
	if address, err := url.Parse(client.Console); err != nil || address.Host == "" {
		return client, &server.UsageError{Err: fmt.Errorf("console %q: want an address such as http://127.0.0.1:9411", client.Console)}
	}
	return client, nil
}

func (t *traceCall) list(ctx context.Context) error {
	parameters := url.Values{"order": {t.order}, "limit": {strconv.Itoa(t.limit)}}
	set := func(name, value string) {
		if value != "" {
			parameters.Set(name, value)
		}
	}
	set("application", t.application)
	set("status", t.status)
	set("id", t.id)
	set("finding", t.finding)
	set("tags", t.argument)
	if t.min > 0 {
		set("minDuration", t.min.String())
	}
	if t.since > 0 {
		set("from", "-"+t.since.String())
	}
	traces, raw, err := t.client.Traces(ctx, parameters)
	if err != nil {
		return err
	}
	if t.output == "json" {
		return t.writeJSON(raw)
	}
	if len(traces) == 0 {
		fmt.Fprintf(t.stderr, "No trace found; %s says why.\n", t.client.Console+"/help/no-data")
		return nil
	}
	return t.printer().Traces(t.stdout, traces)
}

func (t *traceCall) show(ctx context.Context) error {
	tree, raw, err := t.client.Trace(ctx, t.argument)
	if err != nil {
		return err
	}
	if t.output == "json" {
		return t.writeJSON(raw)
	}
	return t.printer().Tree(t.stdout, tree)
}

func (t *traceCall) export(ctx context.Context) error {
	raw, err := t.client.Export(ctx, t.argument, t.as)
	if err != nil {
		return err
	}
	return t.writeJSON(raw)
}

// maxImport bounds a file: the console takes less at once.
const maxImport = 256 << 20

// load sends a file to the console, which sees what it is, and prints the ids of its traces.
func (t *traceCall) load(ctx context.Context) error {
	var in io.Reader = os.Stdin
	if t.argument != "-" {
		file, err := os.Open(t.argument)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	body, err := io.ReadAll(io.LimitReader(in, maxImport+1))
	if err != nil {
		return err
	}
	if len(body) > maxImport {
		return fmt.Errorf("%s: more than %d bytes", t.argument, maxImport)
	}
	ids, err := t.client.Import(ctx, body)
	if err != nil {
		return fmt.Errorf("%s: %w", t.argument, err)
	}
	traces := "traces"
	if len(ids) == 1 {
		traces = "trace"
	}
	fmt.Fprintf(t.stderr, "Imported %d %s.\n", len(ids), traces)
	for _, id := range ids {
		fmt.Fprintln(t.stdout, id)
	}
	return nil
}

// writeJSON writes the answer as it came, in lines that people can read.
func (t *traceCall) writeJSON(raw []byte) error {
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return err
	}
	if !bytes.HasSuffix(indented.Bytes(), []byte("\n")) {
		indented.WriteByte('\n')
	}
	_, err := t.stdout.Write(indented.Bytes())
	return err
}

func (t *traceCall) printer() traceview.Printer {
	p := traceview.Printer{Width: 40}
	if file, ok := t.stdout.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.Color = t.getenv("NO_COLOR") == ""
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil && columns > 160 {
			p.Width = columns - 120
		}
	}
	return p
}
