// Package clusterdoctor looks at a Bookinfo on a cluster, step by step from the API server to a trace in the backend,
// and says at each what is wrong and which command mends it. It calls kubectl, so it may do what its user may.
package clusterdoctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Status is how a step ended.
type Status string

// A step that could not be looked at because an earlier one failed is skipped.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Failed  Status = "failed"
	Skipped Status = "skipped"
)

// Result is one step.
type Result struct {
	Step   string `json:"step"`
	Status Status `json:"status"`
	Text   string `json:"text"`           // what was seen
	Mend   string `json:"mend,omitempty"` // the command that mends it
}

// Config is where to look.
type Config struct {
	Kubectl string // program, default kubectl
	// Context and Kubeconfig are kubectl's, "" for its defaults.
	Context, Kubeconfig string
	// MeshKubeconfig is the file for the resources of Istio, where they are not in the cluster itself: an ASM instance
	// has an API server of its own.
	MeshKubeconfig   string
	Namespace        string // of Bookinfo, default "default"
	GatewayNamespace string // of the ingress gateway, default istio-system
	Gateway          string // its Service, default istio-ingressgateway
	// Backend is the console or Zipkin to ask for the trace, as SERVICE.NAMESPACE:PORT; default zipkin.observability:9411.
	Backend string
	// Wait bounds how long the trace may take to arrive, default 15 s.
	Wait time.Duration
}

// Examine looks at every step. It returns the results so far with an error only when kubectl cannot be run at all.
func Examine(ctx context.Context, cfg Config) ([]Result, error) {
	set := func(p *string, fallback string) {
		if *p == "" {
			*p = fallback
		}
	}
	set(&cfg.Kubectl, "kubectl")
	set(&cfg.Namespace, "default")
	set(&cfg.GatewayNamespace, "istio-system")
	set(&cfg.Gateway, "istio-ingressgateway")
	set(&cfg.Backend, "zipkin.observability:9411")
	if cfg.Wait == 0 {
		cfg.Wait = 15 * time.Second
	}
	if _, err := exec.LookPath(cfg.Kubectl); err != nil {
		return nil, fmt.Errorf("kubectl: %w; install it, or name it by --kubectl", err)
	}
	e := &examination{cfg: cfg}
	steps := []struct {
		name string
		look func(context.Context) (Result, bool) // false: later steps make no sense
	}{
		{"API server", e.apiServer},
		{"namespace", e.namespace},
		{"pods", e.pods},
		{"sidecars", e.sidecars},
		{"trace provider", e.provider},
		{"sampling", e.sampling},
		{"forwarded headers", e.forwarded},
		{"backend", e.backend},
		{"gateway", e.gateway},
		{"request", e.request},
		{"trace", e.trace},
	}
	var results []Result
	stopped := false
	for _, s := range steps {
		if stopped {
			results = append(results, Result{Step: s.name, Status: Skipped, Text: "not looked at, because an earlier step failed"})
			continue
		}
		r, goOn := s.look(ctx)
		r.Step = s.name
		if goOn || s.name != "API server" { // the address itself is wrong there
			r.Mend = e.addressed(r.Mend)
		}
		results = append(results, r)
		stopped = !goOn
	}
	return results, ctx.Err()
}

// examination carries what one step learned to the next.
type examination struct {
	cfg      Config
	workload []pod
	found    *provider
	inForce  *telemetry // what chooses it, nil without one
	percent  float64
	traceID  string
}

// meshKubectl stands in a mend for the kubectl that reaches the mesh's resources.
const meshKubectl = "kubectl[mesh]"

// addressed puts into a command where the user said that the cluster is: without that it might mend another one.
func (e *examination) addressed(mend string) string {
	command := func(globals []string) string {
		words := []string{filepath.Base(e.cfg.Kubectl)}
		for _, g := range globals {
			if strings.ContainsAny(g, " '\"$\\") {
				g = "'" + strings.ReplaceAll(g, "'", `'\''`) + "'"
			}
			words = append(words, g)
		}
		return strings.Join(words, " ")
	}
	const cluster = "\x00" // neither is found in what replaced the other
	mend = strings.ReplaceAll(mend, meshKubectl, cluster)
	mend = strings.ReplaceAll(mend, "kubectl ", command(e.globals())+" ")
	return strings.ReplaceAll(mend, cluster, command(e.meshGlobals()))
}

// kubectl runs it and gives what it printed. An error holds its own words.
func (e *examination) kubectl(ctx context.Context, args ...string) ([]byte, error) {
	return e.run(ctx, append(e.globals(), args...))
}

func (e *examination) run(ctx context.Context, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, e.cfg.Kubectl, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		if text == "" {
			text = err.Error()
		}
		return nil, errors.New(lastLine(text))
	}
	return stdout.Bytes(), nil
}

func (e *examination) globals() []string {
	var all []string
	if e.cfg.Kubeconfig != "" {
		all = append(all, "--kubeconfig", e.cfg.Kubeconfig)
	}
	if e.cfg.Context != "" {
		all = append(all, "--context", e.cfg.Context)
	}
	return all
}

// meshGlobals are those for Istio's resources.
func (e *examination) meshGlobals() []string {
	if e.cfg.MeshKubeconfig == "" {
		return e.globals()
	}
	return []string{"--kubeconfig", e.cfg.MeshKubeconfig}
}

func lastLine(text string) string {
	lines := strings.Split(text, "\n")
	return lines[len(lines)-1]
}

// get decodes `kubectl get ARGS -o json`.
func (e *examination) get(ctx context.Context, out any, args ...string) error {
	return e.decode(ctx, out, e.globals(), args)
}

// getMesh does the same where Istio's resources are.
func (e *examination) getMesh(ctx context.Context, out any, args ...string) error {
	return e.decode(ctx, out, e.meshGlobals(), args)
}

func (e *examination) decode(ctx context.Context, out any, globals, args []string) error {
	raw, err := e.run(ctx, slices.Concat(globals, []string{"get"}, args, []string{"-o", "json"}))
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

func failed(mend, format string, args ...any) Result {
	return Result{Status: Failed, Text: fmt.Sprintf(format, args...), Mend: mend}
}

func ok(format string, args ...any) Result {
	return Result{Status: OK, Text: fmt.Sprintf(format, args...)}
}

// Print writes the results for people. It reports whether every step is well.
func Print(w io.Writer, results []Result) bool {
	well := true
	for _, r := range results {
		mark := map[Status]string{OK: "✓", Warning: "!", Failed: "✗", Skipped: "-"}[r.Status]
		fmt.Fprintf(w, "%s %-18s %s\n", mark, r.Step, r.Text)
		if r.Mend != "" {
			fmt.Fprintf(w, "  %-18s mend: %s\n", "", r.Mend)
		}
		well = well && r.Status != Failed
	}
	return well
}
