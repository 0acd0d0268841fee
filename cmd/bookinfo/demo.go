package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"text/tabwriter"

	"example.com/bookinfo/cmd/bookinfo/demo"
	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/propagation"
	"example.com/bookinfo/services/sidecar/envoy"
	"example.com/bookinfo/services/sidecar/trace"
)

// demoFlags are the switches of the demo.
type demoFlags struct {
	json, verbose            bool
	forward                  string
	proxy                    string
	format, asmVersion       string
	profile                  string
	sampling                 float64
	zipkin, otlp, traceViews string
	watch                    string
}

func (f *demoFlags) declare(set *flag.FlagSet, c call) {
	set.BoolVar(&f.json, "json", false, "print one line of JSON on standard output when ready, with every address")
	set.BoolVar(&f.verbose, "verbose", false, "log every request on standard error")
	set.StringVar(&f.forward, "forward", c.getenv("FORWARD_HEADERS"), "`LIST` of trace headers that the services forward: families or names, -name to leave one out, or none; all if empty")
	set.StringVar(&f.proxy, "proxy", "builtin", "`KIND` of proxy around the services: builtin, envoy (a real one, from the PATH) or none")
	set.StringVar(&f.format, "format", "", "`FORMAT` that the sidecars write: b3, b3+w3c or w3c (default w3c)")
	set.StringVar(&f.asmVersion, "asm-version", "", "`VERSION` of ASM whose format the sidecars write: B3 up to 1.18.0.124, W3C after")
	set.StringVar(&f.profile, "profile", "1.36", "`LINE` of Envoy that the sidecars behave like: 1.36 or 1.40")
	set.Float64Var(&f.sampling, "sampling", 100, "`PERCENT` of requests that are traced")
	set.StringVar(&f.zipkin, "zipkin", "", "`URL` of a Zipkin collector for the spans")
	set.StringVar(&f.otlp, "otlp", "", "`URL` of an OTLP collector for the spans")
	set.StringVar(&f.watch, "watch", "", "`FOLDER` of Istio files: what is saved there acts at once")
	set.StringVar(&f.traceViews, "trace-url", "", "`URL` of a trace in a viewer, with {traceId} in it; pages link to theirs")
}

// config checks the switches and makes the demo's configuration of them.
func (f *demoFlags) config(c call) (demo.Config, error) {
	cfg := demo.Config{Forward: f.forward, Lookup: c.lookup, Progress: c.stderr, Sampling: f.sampling, TraceURL: f.traceViews, Watch: f.watch}
	if _, err := propagation.Parse(f.forward); err != nil {
		return cfg, wrongFlag("forward", f.forward, err.Error())
	}
	switch f.proxy {
	case "builtin":
		cfg.Sidecars = true
	case "envoy":
		path, err := exec.LookPath("envoy")
		if err != nil {
			return cfg, wrongFlag("proxy", f.proxy, "no executable of the name envoy is on the PATH; install Envoy, or take builtin")
		}
		cfg.Sidecars, cfg.Envoy = true, path
	case "none":
		if f.watch != "" {
			return cfg, wrongFlag("watch", f.watch, "without proxies there is nothing for the files to act on")
		}
	default:
		return cfg, wrongFlag("proxy", f.proxy, "want builtin, envoy or none")
	}
	var err error
	if cfg.Format, err = f.formatInForce(); err != nil {
		return cfg, err
	}
	switch cfg.Profile = trace.Profile(f.profile); cfg.Profile {
	case trace.Envoy136, trace.Envoy140:
	default:
		return cfg, wrongFlag("profile", f.profile, "want 1.36 or 1.40")
	}
	if !(f.sampling >= 0 && f.sampling <= 100) {
		return cfg, wrongFlag("sampling", fmt.Sprint(f.sampling), "want a percentage from 0 to 100")
	}
	switch {
	case f.zipkin != "" && f.otlp != "":
		return cfg, wrongFlag("otlp", f.otlp, "want one collector, and --zipkin names one")
	case f.zipkin != "":
		cfg.Collector = demo.Collector{Protocol: "zipkin", URL: f.zipkin}
	case f.otlp != "":
		cfg.Collector = demo.Collector{Protocol: "otlp", URL: f.otlp}
	}
	if cfg.Envoy != "" {
		// Its tracers have a protocol each: that of W3C speaks OTLP over gRPC, that of B3 Zipkin.
		switch w3c := cfg.Format == trace.W3C; {
		case w3c && f.zipkin != "":
			return cfg, wrongFlag("zipkin", f.zipkin, "a real Envoy that writes w3c reports by OTLP; use --otlp or --format b3")
		case !w3c && f.otlp != "":
			return cfg, wrongFlag("otlp", f.otlp, "a real Envoy that writes B3 reports to Zipkin; use --zipkin or --format w3c")
		}
	}
	log := func(quiet slog.Level) *slog.Logger {
		if f.verbose {
			quiet = slog.LevelInfo
		}
		return server.NewLog(c.stderr, server.LogConfig{Format: "text", Level: quiet})
	}
	// The services' warnings are about the faults that somebody injects to look at them.
	cfg.Log, cfg.ServiceLog = log(slog.LevelWarn), log(slog.LevelError)
	return cfg, nil
}

func (f *demoFlags) formatInForce() (trace.Format, error) {
	switch {
	case f.format != "" && f.asmVersion != "":
		return "", wrongFlag("format", f.format, "want one of --format and --asm-version")
	case f.asmVersion != "":
		format, err := trace.FormatOfASM(f.asmVersion)
		if err != nil {
			return "", &server.UsageError{Err: fmt.Errorf("--asm-version %w", err)}
		}
		return format, nil
	}
	switch format := trace.Format(f.format); format {
	case "":
		return trace.W3C, nil
	case trace.B3, trace.B3W3C, trace.W3C:
		return format, nil
	}
	return "", wrongFlag("format", f.format, "want b3, b3+w3c or w3c")
}

// profileOf tells which behaviour the executable has. Of the two only the newer one is worth asking for: it is not the
// default.
func profileOf(ctx context.Context, binary string, asked trace.Profile) (trace.Profile, error) {
	version, err := envoy.Version(ctx, binary)
	if err != nil {
		return "", &server.UsageError{Err: fmt.Errorf("--proxy envoy: %w", err)}
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return "", &server.UsageError{Err: fmt.Errorf("--proxy envoy: %s says that it is version %q", binary, version)}
	}
	if major > 1 || minor >= 40 {
		return trace.Envoy140, nil
	}
	if asked == trace.Envoy140 {
		return "", wrongFlag("profile", string(asked), "the Envoy on the PATH is "+version)
	}
	return trace.Envoy136, nil
}

func wrongFlag(name, value, want string) error {
	return &server.UsageError{Err: fmt.Errorf("--%s %q: %s", name, value, want)}
}

// demoCommand runs the demo until it is interrupted.
func demoCommand(ctx context.Context, c call) error {
	set := c.flags("demo", "[flags]")
	var flags demoFlags
	flags.declare(set, c)
	if err := c.parse(set, 0, 0); err != nil {
		return err
	}
	cfg, err := flags.config(c)
	if err != nil {
		return err
	}
	if cfg.Envoy != "" {
		if cfg.Profile, err = profileOf(ctx, cfg.Envoy, cfg.Profile); err != nil {
			return err
		}
	}
	running, err := demo.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer running.Close() //nolint:errcheck // the command ends; what a part could not close ends with it
	withdraw, err := demo.Announce(running.Info(), c.getenv)
	if err != nil {
		return err
	}
	defer withdraw() //nolint:errcheck // a file left behind is recognised by who reads it

	if flags.json {
		err = json.NewEncoder(c.stdout).Encode(running.Info())
	} else {
		err = describe(c.stdout, running, cfg)
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
func describe(w io.Writer, running *demo.Demo, cfg demo.Config) error {
	info := running.Info()
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "Bookinfo is ready. Open %s/productpage and sign in as jason, with any password.\n", info.Entry())
	fmt.Fprintf(table, "The demo's own page is %s. Ctrl-C stops everything.\n\n", info.Control)
	if cfg.Sidecars {
		proxies := fmt.Sprintf("The sidecars write %s, as Envoy %s does,", cfg.Format, cfg.Profile)
		if cfg.Envoy != "" {
			proxies = fmt.Sprintf("Real Envoys (%s) write %s", cfg.Envoy, cfg.Format)
		}
		fmt.Fprintf(table, "%s and sample %g %% of the requests.\n\n", proxies, cfg.Sampling)
	}
	fmt.Fprintln(table, "WORKLOAD\tADDRESS\tPOD\tPOD IP")
	for _, row := range running.Rows() {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row.Name, row.Address, row.Pod, row.PodIP)
	}
	return table.Flush()
}
