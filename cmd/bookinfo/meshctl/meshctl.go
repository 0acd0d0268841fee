// Package meshctl holds the commands that people steer the local mesh by: apply, get, describe, delete and diff with
// kubectl's habits, routes and explain. They talk to a running demo.
package meshctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Env is what a command is run with.
type Env struct {
	// Args behind the command's name.
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Control returns the control address of the running demo; demo is what --demo said, "" if nothing.
	Control func(ctx context.Context, demo string) (string, error)
	// Now is the clock for ages.
	Now func() time.Time
}

// Command is one of them.
type Command struct {
	Name, About string
	Run         func(context.Context, Env) error
}

// Commands lists them.
func Commands() []Command {
	return []Command{
		{"apply", "make the mesh have the resources of Istio or Gateway API files", runApply},
		{"get", "list resources of the mesh", runGet},
		{"describe", "show resources in full", runDescribe},
		{"delete", "remove resources from the mesh", runDelete},
		{"diff", "show what apply would change", runDiff},
		{"routes", "print the routes in force for a workload", runRoutes},
		{"explain", "tell which route a request takes, and why not the ones before it", runExplain},
		{"envoy-config", "write the configuration with which a real Envoy does the same", runEnvoyConfig},
	}
}

// ErrUsage is wrapped by errors about arguments.
var ErrUsage = errors.New("usage")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...))
}

// options are the flags that several commands have.
type options struct {
	*flag.FlagSet
	env       Env
	demo      string
	namespace string
	all       bool
	output    string
	files     fileList
	dryRun    dryRun
}

// fileList is -f, which may be given several times.
type fileList []string

func (f *fileList) String() string { return fmt.Sprint([]string(*f)) }
func (f *fileList) Set(name string) error {
	*f = append(*f, name)
	return nil
}

// dryRun is --dry-run, alone or with kubectl's none, client or server.
type dryRun string

func (d *dryRun) String() string   { return string(*d) }
func (d *dryRun) IsBoolFlag() bool { return true }
func (d *dryRun) Set(value string) error {
	switch value {
	case "true", "client":
		*d = "dry run"
	case "server":
		*d = "server dry run"
	case "none", "false":
		*d = ""
	default:
		return fmt.Errorf("want none, client or server, is %q", value)
	}
	return nil
}

func (d dryRun) suffix() string {
	if d == "" {
		return ""
	}
	return " (" + string(d) + ")"
}

func newOptions(env Env, name, usage string) *options {
	o := &options{FlagSet: flag.NewFlagSet("bookinfo "+name, flag.ContinueOnError), env: env}
	o.SetOutput(io.Discard)
	o.Usage = func() {
		fmt.Fprintf(env.Stdout, "Usage: bookinfo %s %s\n\n", name, usage)
		o.SetOutput(env.Stdout)
		o.PrintDefaults()
		o.SetOutput(io.Discard)
	}
	o.StringVar(&o.demo, "demo", "", "control `URL` of the demo; default BOOKINFO_DEMO, else the demo that this user started")
	return o
}

func (o *options) withNamespace() {
	o.StringVar(&o.namespace, "n", "default", "`NAMESPACE` of resources that name none")
	o.StringVar(&o.namespace, "namespace", "default", "same as -n")
}

func (o *options) withFiles() {
	o.Var(&o.files, "f", "`FILE`, folder of files, or - for standard input; may be repeated")
	o.Var(&o.files, "filename", "same as -f")
}

func (o *options) withOutput(about string) {
	o.StringVar(&o.output, "o", "", about)
	o.StringVar(&o.output, "output", "", "same as -o")
}

func (o *options) withDryRun() {
	o.Var(&o.dryRun, "dry-run", "only say what would be done; also as --dry-run=client or =server")
}

// parse reads flags and arguments in any order, as kubectl does, and returns the arguments.
func (o *options) parse() ([]string, error) {
	var positional []string
	args, usage := o.env.Args, o.Usage
	o.Usage = func() {} // Parse calls it for a wrong flag too, which gets one line
	for {
		if err := o.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				usage()
				return nil, err
			}
			return nil, usagef("%v; %s -h shows what is understood", err, o.Name())
		}
		if o.NArg() == 0 {
			return positional, nil
		}
		positional = append(positional, o.Arg(0))
		if args = o.Args()[1:]; len(args) == 0 {
			return positional, nil
		}
	}
}

// timeout of one question to the demo.
const timeout = 30 * time.Second

// call asks the demo: POST with a body, GET without one. It returns the status, whose meaning is the command's.
func (o *options) call(ctx context.Context, path string, query url.Values, body, into any) (status int, err error) {
	control, err := o.env.Control(ctx, o.demo)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	method, reader := http.MethodGet, io.Reader(nil)
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		method, reader = http.MethodPost, bytes.NewReader(data)
	}
	target := control + "/api/mesh/" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, reader)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("the demo at %s does not answer: %w", control, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 256<<20))
	if err != nil {
		return 0, fmt.Errorf("the demo at %s: %w", control, err)
	}
	var failure struct {
		Error string `json:"error"`
	}
	if response.StatusCode >= 400 && json.Unmarshal(data, &failure) == nil && failure.Error != "" {
		return response.StatusCode, errors.New(failure.Error)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return response.StatusCode, fmt.Errorf("the demo at %s answers %s with something else than JSON: is its mesh switched off?", control, response.Status)
	}
	return response.StatusCode, nil
}
