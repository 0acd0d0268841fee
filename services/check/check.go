// Package check tells whether an HTTP or gRPC service, in whatever language, forwards trace headers as a mesh needs it.
// It asks the service, stands in for the upstream that the service calls, and compares what came with what left.
package check

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/propagation"
)

// config is what the arguments say.
type config struct {
	url            string
	profile        string // forward, sdk or leaf
	protocol       string // http, h2c or grpc
	output         string // text, json, junit or sarif
	require        propagation.Set
	upstreamEnv    []string // NAME or NAME=TEMPLATE
	upstreamListen string
	upstreamBody   string
	message        string
	timeout        time.Duration
	startTimeout   time.Duration
	grace          time.Duration
	command        []string
	backend        string   // of a deployed suite; empty otherwise
	expect         []string // services that must be in its traces
	requests       int
	backendTimeout time.Duration
}

// ErrFailed is what Run returns when the service was checked and does not pass.
var ErrFailed = errors.New("the service does not forward its trace headers as it should")

const usage = `Usage: bookinfo check --url URL [flags] [-- COMMAND [ARGUMENT...]]

Tells whether a service forwards trace headers. With a command, starts the service and gives it the address of a
stand-in for its upstream; without, asks a service that runs and whose upstream is --upstream-listen.

  bookinfo check --url http://localhost:3000/path --upstream-env BACKEND_URL -- node app.js
  bookinfo check --url http://localhost:{port}/ --upstream-env BACKEND_URL -- ./app --port {port}
  bookinfo check --url http://localhost:9080/reviews/0 --upstream-listen 127.0.0.1:9081

Services that are deployed behind sidecars are checked by the traces that they make:

  bookinfo check --url http://productpage:9080/productpage --backend http://zipkin:9411 --expect productpage,details,reviews,ratings

Exit code: 0 all passes, 1 something does not (or the service cannot be asked), 2 wrong usage.

Flags:
`

// parse reads the arguments. Errors are of wrong usage, flag.ErrHelp aside.
func parse(args []string, stdout io.Writer) (config, error) {
	var cfg config
	var require string
	flags := flag.NewFlagSet("bookinfo check", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&cfg.url, "url", "", "`URL` to ask, one that makes the service call its upstream; {port} in it and in the command is a free port, which the service also finds in the variable PORT")
	flags.Func("upstream-env", "`NAME` of the variable through which the command learns its upstream's URL; NAME=TEMPLATE for another form of {url}, {hostport}, {host}, {port} (repeatable)", func(v string) error {
		if name, _, _ := strings.Cut(v, "="); name == "" {
			return errors.New("want NAME or NAME=TEMPLATE")
		}
		cfg.upstreamEnv = append(cfg.upstreamEnv, v)
		return nil
	})
	flags.StringVar(&cfg.upstreamListen, "upstream-listen", "127.0.0.1:0", "`ADDRESS` where to stand in for the upstream; port 0 picks a free one")
	flags.StringVar(&cfg.upstreamBody, "upstream-body", "{}", "`JSON` that the upstream answers")
	flags.StringVar(&cfg.profile, "profile", "forward", "forward: makes no spans; sdk: makes spans of its own; leaf: calls nobody")
	flags.StringVar(&cfg.protocol, "protocol", "http", "http, h2c (HTTP/2 without TLS) or grpc")
	flags.StringVar(&cfg.message, "grpc-message", "", "`BYTES` of the message that a gRPC call sends; an empty one is valid for every type")
	flags.StringVar(&require, "require", "", "`LIST` of families or headers whose loss is an error, as in FORWARD_HEADERS; the loss of others is a note (default request-id,b3,b3-single,w3c; request-id,w3c for sdk)")
	flags.StringVar(&cfg.output, "o", "text", "text, json, junit or sarif")
	flags.DurationVar(&cfg.timeout, "timeout", 10*time.Second, "for each request")
	flags.DurationVar(&cfg.startTimeout, "start-timeout", 30*time.Second, "for the command to listen")
	flags.DurationVar(&cfg.grace, "grace", 300*time.Millisecond, "how long to wait for calls that the service makes after it answered")
	flags.StringVar(&cfg.backend, "backend", "", "`URL` of a trace backend that answers Zipkin's API v2: check a deployed suite by its traces")
	flags.Func("expect", "`LIST` of services that must be in the traces, with --backend", func(v string) error {
		cfg.expect = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
		return nil
	})
	flags.IntVar(&cfg.requests, "requests", 6, "`NUMBER` of requests to send, with --backend; a service of several versions may not call everybody each time")
	flags.DurationVar(&cfg.backendTimeout, "backend-timeout", 30*time.Second, "for the traces to be complete, with --backend")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return cfg, flag.ErrHelp
	} else if err != nil {
		return cfg, err
	}
	cfg.command = flags.Args()
	return cfg, cfg.complete(require)
}

// complete checks the arguments against each other and fills in what depends on others.
func (cfg *config) complete(require string) error {
	for _, choice := range []struct {
		flag, value string
		of          []string
	}{
		{"--profile", cfg.profile, []string{"forward", "sdk", "leaf"}},
		{"--protocol", cfg.protocol, []string{"http", "h2c", "grpc"}},
		{"-o", cfg.output, []string{"text", "json", "junit", "sarif"}},
	} {
		if !slices.Contains(choice.of, choice.value) {
			return fmt.Errorf("%s %q: want %s", choice.flag, choice.value, strings.Join(choice.of, ", "))
		}
	}
	if cfg.url == "" {
		return errors.New("--url is missing: want one that makes the service call its upstream")
	}
	if u, err := url.Parse(strings.ReplaceAll(cfg.url, "{port}", "1")); err != nil || u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("--url %q: want http://HOST:PORT/PATH", cfg.url)
	}
	if cfg.timeout <= 0 || cfg.startTimeout <= 0 || cfg.grace <= 0 {
		return errors.New("--timeout, --start-timeout and --grace: want more than 0")
	}
	switch {
	case cfg.backend != "" && (len(cfg.command) > 0 || len(cfg.upstreamEnv) > 0):
		return errors.New("--backend is for services that are deployed: want no command and no --upstream-env")
	case cfg.backend != "" && len(cfg.expect) == 0:
		return errors.New("--backend needs --expect: want the names of the services that must be in the traces")
	case cfg.backend == "" && len(cfg.expect) > 0:
		return errors.New("--expect is of the traces in a backend: want --backend URL")
	case cfg.requests < 1 || cfg.requests > 1000 || cfg.backendTimeout <= 0:
		return errors.New("--requests and --backend-timeout: want 1 to 1000 requests and more than 0 s")
	case cfg.backend != "":
	case len(cfg.command) == 0 && len(cfg.upstreamEnv) > 0:
		return errors.New("--upstream-env is for a command that the check starts: want -- COMMAND, or --upstream-listen for a service that runs")
	case len(cfg.command) == 0 && strings.Contains(cfg.url, "{port}"):
		return errors.New("{port} in --url is for a command that the check starts: want -- COMMAND")
	case len(cfg.command) == 0 && cfg.profile != "leaf" && strings.HasSuffix(cfg.upstreamListen, ":0"):
		return errors.New("a service that runs already needs to know its upstream: want --upstream-listen HOST:PORT, or -- COMMAND")
	}
	if require == "" {
		require = "request-id,b3,b3-single,w3c"
		if cfg.profile == "sdk" {
			require = "request-id,w3c"
		}
	}
	set, err := propagation.Parse(require)
	if err != nil {
		return fmt.Errorf("--require: %w", err)
	}
	cfg.require = set
	return nil
}

// Run is the command bookinfo check. It returns [ErrFailed] when the service does not pass, and a server.UsageError for
// wrong arguments. The report goes to stdout, what a started service prints to stderr.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return &server.UsageError{Err: fmt.Errorf("%w; bookinfo check -h shows what is understood", err)}
	}
	report, err := run(ctx, cfg, stderr, rand.Reader)
	if err != nil {
		return err
	}
	if err := report.write(stdout, cfg.output); err != nil {
		return err
	}
	if !report.OK {
		return ErrFailed
	}
	return nil
}

func run(ctx context.Context, cfg config, output io.Writer, random io.Reader) (Report, error) {
	if cfg.backend != "" {
		return checkDeployed(ctx, cfg, ids{random})
	}
	up, err := startUpstream(ctx, cfg.upstreamListen, cfg.upstreamBody)
	if err != nil {
		return Report{}, err
	}
	defer up.close()

	var service *target
	if len(cfg.command) > 0 {
		if service, err = start(ctx, &cfg, up, output); err != nil {
			return Report{}, err
		}
		defer service.stop()
	}
	u, err := url.Parse(cfg.url)
	if err != nil {
		return Report{}, fmt.Errorf("--url: %w", err)
	}
	if err := service.wait(ctx, hostport(u), cfg.startTimeout); err != nil {
		return Report{}, err
	}
	return probeAll(ctx, cfg, up, ids{random})
}

// start starts the command of cfg with the addresses that it needs, and completes the URL.
func start(ctx context.Context, cfg *config, up *upstream, output io.Writer) (*target, error) {
	var env []string
	for _, v := range cfg.upstreamEnv {
		name, template, found := strings.Cut(v, "=")
		if !found {
			template = "{url}"
		}
		env = append(env, name+"="+up.fill(template))
	}
	command := slices.Clone(cfg.command)
	if strings.Contains(cfg.url, "{port}") {
		port, err := freePort(ctx)
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		cfg.url = strings.ReplaceAll(cfg.url, "{port}", port)
		env = append(env, "PORT="+port)
		for i := range command {
			command[i] = strings.ReplaceAll(command[i], "{port}", port)
		}
	}
	u, err := url.Parse(cfg.url)
	if err != nil {
		return nil, fmt.Errorf("--url: %w", err)
	}
	if err := mustBeFree(ctx, hostport(u)); err != nil {
		return nil, err
	}
	return startTarget(ctx, command, env, output)
}

// probeAll plays every case and judges them.
func probeAll(ctx context.Context, cfg config, up *upstream, g ids) (Report, error) {
	p := newProber(cfg.url, cfg.protocol, cfg.message, up, cfg.timeout, cfg.grace)
	defer p.close()
	usual := p.learn(ctx)
	if usual.err != nil {
		return Report{}, fmt.Errorf("ask the service: %w", usual.err)
	}
	if p.usual == 0 && cfg.profile != "leaf" {
		f := &findings{required: cfg.require}
		f.add(ruleNotCalled, "", "every")
		f.list[0].Message += " (the answer was " + usual.status + ")"
		return newReport(cfg, nil, f.list), nil
	}

	list := probes(g)
	owner := owners(list)
	var outcomes []outcome
	for _, pr := range list {
		o := p.run(ctx, pr)
		if err := ctx.Err(); err != nil {
			return Report{}, err
		}
		o.judge(owner)
		outcomes = append(outcomes, o)
	}
	var found []Finding
	switch cfg.profile {
	case "forward":
		found = judgeForwarder(outcomes, cfg.require)
	case "sdk":
		found = judgeParticipant(outcomes, cfg.require)
	}
	return newReport(cfg, outcomes, append(found, judgeAnswers(outcomes, usual, cfg.require)...)), nil
}

// judgeAnswers finds requests that the service answered otherwise because of their headers.
func judgeAnswers(outcomes []outcome, usual exchange, required propagation.Set) []Finding {
	f := &findings{required: required}
	for _, o := range outcomes {
		if o.skipped != "" || o.optional || o.upstream == fails {
			continue
		}
		for _, ex := range o.exchanges {
			if ex.err != nil || ex.status != usual.status {
				f.add(ruleRejected, "", o.name)
			}
		}
	}
	return f.list
}
