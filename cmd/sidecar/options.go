package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/trace"
)

// options are the flags as they were given.
type options struct {
	identity  sidecar.Identity
	inbound   list
	outbound  list
	gateway   list
	endpoints list

	gatewaySpans int
	zipkin, otlp string
	headers      list
	format       string
	asmVersion   string
	flush        time.Duration
	admin        string
	accessLog    string
	accessFormat string
	servicePort  int
	file         string

	tracing            trace.Config
	profile            string
	decoratorOperation *string
	decoratorPropagate bool
	retries            int
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{tracing: trace.Defaults(trace.Outbound)}
	fs := o.flags()
	if err := fs.Parse(known(fs, args)); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			help(fs, stdout)
		}
		return nil, usage(plain(fs, err))
	}
	if fs.NArg() > 0 {
		return nil, usage(fmt.Errorf("unexpected argument %q; every setting is a flag", fs.Arg(0)))
	}
	before := given(fs)
	if o.file != "" {
		if err := readFile(fs, o.file); err != nil {
			return nil, usage(err)
		}
	}
	given := given(fs)
	if given["format"] && given["asm-version"] {
		if before["format"] == before["asm-version"] {
			return nil, usage(errors.New("--format and --asm-version: want one of them"))
		}
		if before["format"] { // the flag wins over the file
			o.asmVersion = ""
		}
	}
	if given["spawn_upstream_span"] && !given["gateway-spans"] { // one setting under two names
		if o.gatewaySpans = 1; o.tracing.SpawnUpstreamSpan {
			o.gatewaySpans = 2
		}
	}
	return o, usage(o.check())
}

// given are the flags that were set.
func given(fs *flag.FlagSet) map[string]bool {
	names := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { names[f.Name] = true })
	return names
}

// invalid is what package flag says of a value.
var invalid = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-([\w-]+): (.*)$`)

// plain makes an error of package flag one that says what would be right.
func plain(fs *flag.FlagSet, err error) error {
	found := invalid.FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	return fmt.Errorf("--%s %s: %s", found[2], found[1], wanted(fs.Lookup(found[2]), found[3]))
}

// wanted is what a flag wants, or reason if that says so already.
func wanted(f *flag.Flag, reason string) string {
	getter, ok := f.Value.(flag.Getter)
	if !ok {
		return reason
	}
	switch getter.Get().(type) {
	case bool:
		return "want true or false"
	case int:
		return "want a whole number"
	case float64:
		return "want a number"
	case time.Duration:
		return "want a time with its unit, such as 200ms or 5s"
	}
	return reason
}

// known writes flags as fs knows them: --client-sampling is --client_sampling, and since there are no arguments beside
// flags, --tracing false is --tracing=false.
func known(fs *flag.FlagSet, args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, value, valued := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if under := strings.ReplaceAll(name, "-", "_"); strings.HasPrefix(arg, "-") && fs.Lookup(name) == nil && fs.Lookup(under) != nil {
			name = under
			if arg = "--" + name; valued {
				arg += "=" + value
			}
		}
		out = append(out, arg)
		f := fs.Lookup(name)
		if !strings.HasPrefix(arg, "-") || f == nil || valued || i+1 == len(args) {
			continue
		}
		i++
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); !ok || !b.IsBoolFlag() {
			out = append(out, args[i]) // its value, whatever it looks like
		} else if _, err := strconv.ParseBool(args[i]); err == nil {
			out[len(out)-1] = "--" + name + "=" + args[i]
		} else {
			i--
		}
	}
	return out
}

// usage marks an error as one of the settings; nil and the request for help stay what they are.
func usage(err error) error {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return &server.UsageError{Err: err}
}

func (o *options) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("sidecar", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {} // Parse calls it for a wrong flag too, which gets one line
	id, t := &o.identity, &o.tracing
	fs.StringVar(&id.Service, "service", "", "`NAME` of the workload's service, for example reviews (needed)")
	fs.StringVar(&id.Version, "version", "", "`VERSION` of the workload, for example v2")
	fs.StringVar(&id.Namespace, "namespace", "default", "Kubernetes `NAMESPACE` of the workload")
	fs.StringVar(&id.Pod, "pod", "", "`NAME` of the pod; default SERVICE-VERSION-0")
	fs.StringVar(&id.PodIP, "pod-ip", "127.0.0.1", "`IP` address of the pod, as spans and x-forwarded-for show it")
	fs.StringVar(&id.ClusterID, "cluster-id", "Kubernetes", "`ID` of the cluster")
	fs.StringVar(&id.MeshID, "mesh-id", "cluster.local", "`ID` of the mesh")
	fs.StringVar(&id.ServiceAccount, "service-account", "", "`NAME` that the sidecar tells others, unauthenticated, in x-forwarded-client-cert; default nothing is told")
	fs.StringVar(&id.NodeID, "node-id", "", "`ID` of the proxy in spans; default sidecar~POD-IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local; Istio's gateways begin with router~")
	fs.StringVar(&id.Zone, "zone", "", "`ZONE` of the node")

	fs.Var(&o.inbound, "inbound", "`ADDR=APP`: listen at ADDR in front of the application at APP (HOST:PORT)")
	fs.Var(&o.outbound, "outbound", "`ADDR[=DESTINATION]`: listen at ADDR for the application's calls; without NAME[:SUBSET] the Host header names the destination")
	fs.Var(&o.gateway, "gateway", "`ADDR=DESTINATION`: listen at ADDR at the edge of the mesh")
	fs.Var(&o.endpoints, "endpoint", "`NAME[:SUBSET]=HOST:PORT[,...]`: where a destination is")
	fs.IntVar(&o.servicePort, "service-port", 9080, "`PORT` of the services, in the names of clusters and spans")
	fs.IntVar(&o.gatewaySpans, "gateway-spans", 2, "spans of a gateway: `1|2`")

	fs.StringVar(&o.zipkin, "zipkin", "", "`URL` of a Zipkin collector, for example http://127.0.0.1:9411")
	fs.StringVar(&o.otlp, "otlp", "", "`URL` of an OTLP collector: http://HOST:4317 is gRPC, http://HOST:4318 is HTTP")
	fs.Var(&o.headers, "collector-header", "`NAME=VALUE` sent with every report, such as the token of a managed collector; repeatable")
	fs.StringVar(&o.format, "format", string(trace.W3C), "trace context: `b3|b3+w3c|w3c`")
	fs.StringVar(&o.asmVersion, "asm-version", "", "`VERSION` of Alibaba Cloud Service Mesh, which chooses the format: B3 up to 1.18.0.124, W3C after")
	fs.StringVar(&o.profile, "profile", string(trace.Envoy136), "Envoy to imitate: `1.36|1.40`")
	fs.Float64Var(&t.Sampling, "sampling", 100, "`PERCENT` of the requests that are traced")
	fs.DurationVar(&o.flush, "flush-interval", 5*time.Second, "`TIME` between reports of fewer than five spans")
	fs.StringVar(&o.admin, "admin", "", "`ADDR` for /ready, /stats, /stats/prometheus, /config_dump; default none")
	fs.StringVar(&o.accessLog, "access-log", "", "`FILE` for the access log; - is standard error; default none")
	fs.StringVar(&o.accessFormat, "access-log-format", "text", "format of the access log, Istio's: `text|json`")
	fs.StringVar(&o.file, "config", "", "YAML `FILE` with the same names; a flag wins over it")

	fs.BoolVar(&t.Tracing, "tracing", true, "trace at all; false passes every trace header untouched")
	fs.Float64Var(&t.ClientSampling, "client_sampling", 100, "`PERCENT` of the requests with x-client-trace-id that are traced for it")
	fs.Float64Var(&t.OverallSampling, "overall_sampling", 100, "`PERCENT` of the requests to be traced that are")
	fs.BoolVar(&t.SpawnUpstreamSpan, "spawn_upstream_span", false, "a CLIENT span for every try below the listener's own, which is then SERVER; at a gateway the same as --gateway-spans 2")
	fs.BoolVar(&t.NoContextPropagation, "no_context_propagation", false, "make spans but leave trace headers alone (profile 1.40)")
	fs.BoolVar(&t.SharedSpanContext, "shared_span_context", false, "Zipkin: a SERVER span takes the id that came")
	fs.BoolVar(&t.TraceID128Bit, "trace_id_128bit", true, "Zipkin: new trace ids have 128 bits")
	fs.BoolVar(&t.GenerateRequestID, "generate_request_id", true, "make an x-request-id where there is none")
	fs.BoolVar(&t.PreserveExternalRequestID, "preserve_external_request_id", false, "keep the x-request-id of clients at a gateway")
	fs.BoolVar(&t.AlwaysSetRequestIDInResponse, "always_set_request_id_in_response", false, "send x-request-id in answers")
	fs.Func("internal_ranges", "comma list of `CIDRS` whose callers are internal; default none", func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			if strings.TrimSpace(part) == "" {
				continue
			}
			p, err := netip.ParsePrefix(strings.TrimSpace(part))
			if err != nil {
				return fmt.Errorf("want an address range such as 10.0.0.0/8")
			}
			t.InternalRanges = append(t.InternalRanges, p)
		}
		return nil
	})
	fs.BoolVar(&t.UseRequestIDForTraceSampling, "use_request_id_for_trace_sampling", true, "decide from x-request-id, so that all proxies decide alike; false traces all")
	fs.BoolVar(&t.PackTraceReason, "pack_trace_reason", true, "write the decision into x-request-id, and read it there")
	fs.Func("decorator_operation", "`NAME` of the spans instead of Istio's; empty for the Host header's", func(s string) error {
		o.decoratorOperation = &s
		return nil
	})
	fs.BoolVar(&o.decoratorPropagate, "decorator_propagate", true, "tell the next proxy the name of the span")
	fs.IntVar(&o.retries, "retries", -1, "`N` retries on 5xx instead of Istio's two of failed connections")
	fs.IntVar(&t.MaxPathTagLength, "max_path_tag_length", 256, "`CHARACTERS` of the path in the tag http.url")
	fs.BoolVar(&t.RecordHeaders, "record-headers", false, "put the trace headers received and sent on every span")
	return fs
}

func help(fs *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, `sidecar stands in for a mesh's proxy: it makes the spans and the trace headers that Envoy makes under Istio.

Usage:
  sidecar --service NAME [flags]
  sidecar health [--admin ADDR]     ask the running sidecar; exit 0 when it is ready, 1 when it is not
  sidecar --version                 alone: print the version of this program

When it listens it prints one line, for example
{"inbound":"127.0.0.1:40001","outbound":"127.0.0.1:40002","admin":"127.0.0.1:40003"};
several listeners of a kind become a list. Port 0 picks one. SIGTERM ends it.

Flags:
`)
	fs.VisitAll(func(f *flag.Flag) {
		name, about := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  --%s %s\n        %s", f.Name, name, about)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "-1" {
			fmt.Fprintf(w, " (default %s)", f.DefValue)
		}
		fmt.Fprintln(w)
	})
}

// readFile sets the flags that a YAML file names and the command line does not.
func readFile(fs *flag.FlagSet, name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var settings map[string]any
	if err := yaml.UnmarshalStrict(data, &settings); err != nil {
		return fmt.Errorf("--config %s: %w", name, err)
	}
	given := given(fs)
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		value := settings[key]
		f := fs.Lookup(key)
		if f == nil {
			f = fs.Lookup(strings.ReplaceAll(key, "-", "_"))
		}
		if f == nil || key == "config" {
			return fmt.Errorf("--config %s: unknown key %q; the names are those of the flags", name, key)
		}
		if given[f.Name] {
			continue
		}
		values, many := value.([]any)
		if !many {
			values = []any{value}
		}
		if _, repeatable := f.Value.(*list); many && !repeatable && f.Name != "internal_ranges" {
			return fmt.Errorf("--config %s: %s: want one value, not a list", name, key)
		}
		for _, v := range values {
			switch v.(type) {
			case map[string]any, []any:
				return fmt.Errorf("--config %s: %s: want a value or a list of values", name, key)
			}
			if err := fs.Set(f.Name, scalar(v)); err != nil {
				return fmt.Errorf("--config %s: %s %q: %s", name, key, scalar(v), wanted(f, err.Error()))
			}
		}
	}
	return nil
}

func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}
