package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	zipkin "github.com/openzipkin/zipkin-go"
	zipkinhttp "github.com/openzipkin/zipkin-go/reporter/http"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/span"
)

// eventually waits for what a sender sends in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited 20 s for %s", what)
}

func spansOf(t *testing.T, c *console.Console, application string) []span.Span {
	t.Helper()
	res, err := c.Backend().Search(t.Context(), backend.Query{Application: application})
	if err != nil || len(res.Traces) == 0 {
		return nil
	}
	spans, err := c.Backend().Trace(t.Context(), res.Traces[0].TraceID)
	if err != nil {
		t.Fatal(err)
	}
	return spans
}

func TestOpenTelemetrySDK(t *testing.T) {
	c := start(t, console.Config{})
	for name, exporter := range map[string]func() (sdktrace.SpanExporter, error){
		"grpc": func() (sdktrace.SpanExporter, error) {
			return otlptrace.New(t.Context(), otlptracegrpc.NewClient(otlptracegrpc.WithEndpoint(c.OTLPGRPC), otlptracegrpc.WithInsecure(), otlptracegrpc.WithCompressor("gzip")))
		},
		"http": func() (sdktrace.SpanExporter, error) {
			return otlptrace.New(t.Context(), otlptracehttp.NewClient(otlptracehttp.WithEndpoint(c.OTLPHTTP), otlptracehttp.WithInsecure(), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			exp, err := exporter()
			if err != nil {
				t.Fatal(err)
			}
			service := "sdk-" + name
			provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exp), sdktrace.WithResource(resource.NewSchemaless(
				attribute.String("service.name", service), attribute.String("service.version", "v7"))))
			ctx, root := provider.Tracer("lib").Start(t.Context(), "root")
			_, child := provider.Tracer("lib").Start(ctx, "child")
			child.SetAttributes(attribute.IntSlice("list", []int{1, 2}))
			child.AddEvent("happened")
			child.End()
			root.End()
			if err := provider.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			spans := spansOf(t, c, service)
			if len(spans) != 2 || spans[1].ParentID != spans[0].ID || spans[0].Version != "v7" || len(spans[1].Events) != 1 {
				t.Fatalf("%+v", spans)
			}
			if v, _ := spans[1].Tags.Get("list"); v != "[1,2]" {
				t.Errorf("list is %q", v)
			}
		})
	}
}

// TestTelemetrygen takes in what OpenTelemetry's load generator sends.
func TestTelemetrygen(t *testing.T) {
	generator := need.Tool(t, "telemetrygen")
	c := start(t, console.Config{})
	for name, flags := range map[string][]string{
		"grpc": {"--otlp-endpoint", c.OTLPGRPC},
		"http": {"--otlp-endpoint", c.OTLPHTTP, "--otlp-http"},
	} {
		t.Run(name, func(t *testing.T) {
			service := "generated-" + name
			cmd := exec.CommandContext(t.Context(), generator, append([]string{"traces", "--otlp-insecure", "--traces", "25", "--child-spans", "3", "--rate", "0",
				"--span-links", "1", "--status-code", "Error", "--service", service, "--telemetry-attributes", `http.response.status_code=503`}, flags...)...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			res, err := c.Backend().Search(t.Context(), backend.Query{Application: service, Status: "error", Tags: "http.response.status_code >= 500"})
			if err != nil || len(res.Traces) != 25 || res.Traces[0].Spans != 4 || res.Traces[0].Errors == 0 {
				t.Fatalf("%d traces, %v: %+v", len(res.Traces), err, res.Traces)
			}
			spans := spansOf(t, c, service)
			var root span.ID
			for i := range spans {
				if spans[i].ParentID == 0 {
					root = spans[i].ID
				}
			}
			for i := range spans {
				if s := &spans[i]; s.ID != root && s.ParentID != root || len(s.Links) != 1 || !s.Error() {
					t.Errorf("of the root %v: %+v", root, s)
				}
			}
		})
	}
	for _, p := range c.Admin().PushLog() {
		if p.Status != http.StatusOK || p.Spans == 0 {
			t.Errorf("%+v", p)
		}
	}
}

func TestZipkinGo(t *testing.T) {
	c := start(t, console.Config{})
	reporter := zipkinhttp.NewReporter(c.URL + "api/v2/spans")
	endpoint, err := zipkin.NewEndpoint("zipkin-go", "10.1.1.1:80")
	if err != nil {
		t.Fatal(err)
	}
	tracer, err := zipkin.NewTracer(reporter, zipkin.WithLocalEndpoint(endpoint), zipkin.WithTraceID128Bit(true))
	if err != nil {
		t.Fatal(err)
	}
	// Spans come by their start, to the microsecond: the two must not begin in one.
	root := tracer.StartSpan("root", zipkin.StartTime(time.Now().Add(-time.Millisecond)))
	child := tracer.StartSpan("child", zipkin.Parent(root.Context()))
	child.Tag("error", "no")
	child.Finish()
	root.Finish()
	if err := reporter.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "zipkin-go's spans", func() bool { return len(spansOf(t, c, "zipkin-go")) == 2 })
	spans := spansOf(t, c, "zipkin-go")
	if spans[0].IP != "10.1.1.1" || spans[1].ParentID != spans[0].ID || !spans[1].Error() {
		t.Errorf("%+v", spans)
	}
}

// envoyConfig has a listener for each tracer; each answers itself.
func envoyConfig(t *testing.T, c *console.Console) string {
	t.Helper()
	split := func(addr string) string {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"endpoint":{"address":{"socket_address":{"address":%q,"port_value":%s}}}}`, host, port)
	}
	cluster := func(name, addr, extra string) string {
		return fmt.Sprintf(`{"name":%q,"type":"STATIC","load_assignment":{"cluster_name":%q,"endpoints":[{"lb_endpoints":[%s]}]}%s}`, name, name, split(addr), extra)
	}
	listener := func(name, provider, config string) string {
		return fmt.Sprintf(`{"name":%q,"traffic_direction":"INBOUND","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},"filter_chains":[{"filters":[{"name":"hcm","typed_config":{
"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"x",
"tracing":{"provider":{"name":%q,"typed_config":%s}},
"route_config":{"virtual_hosts":[{"name":"all","domains":["*"],"routes":[{"match":{"prefix":"/"},"direct_response":{"status":200},"decorator":{"operation":%q}}]}]},
"http_filters":[{"name":"router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`, name, provider, config, name)
	}
	const http2 = `,"typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","explicit_http_config":{"http2_protocol_options":{}}}}`
	const otel = `{"@type":"type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig","service_name":"envoy.otel",`
	return `{"node":{"id":"sidecar~10.0.0.7~server-v1-0.default~default.svc.cluster.local","cluster":"envoy.zipkin"},
"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":0}}},
"layered_runtime":{"layers":[{"name":"static","static_layer":{"tracing.zipkin.min_flush_spans":1,"tracing.opentelemetry.min_flush_spans":1}}]},
"static_resources":{"clusters":[` + strings.Join([]string{
		cluster("zipkin", c.Addr, ""), cluster("otlp-http", c.OTLPHTTP, ""), cluster("otlp-grpc", c.OTLPGRPC, http2)}, ",") + `],"listeners":[` + strings.Join([]string{
		listener("by-zipkin", "envoy.tracers.zipkin", `{"@type":"type.googleapis.com/envoy.config.trace.v3.ZipkinConfig","collector_cluster":"zipkin","collector_endpoint":"/api/v2/spans","collector_endpoint_version":"HTTP_JSON","trace_id_128bit":true,"shared_span_context":false}`),
		listener("by-otlp-http", "envoy.tracers.opentelemetry", otel+`"http_service":{"http_uri":{"uri":"http://`+c.OTLPHTTP+`/v1/traces","cluster":"otlp-http","timeout":"5s"}}}`),
		listener("by-otlp-grpc", "envoy.tracers.opentelemetry", otel+`"grpc_service":{"envoy_grpc":{"cluster_name":"otlp-grpc"},"timeout":"5s"}}`),
	}, ",") + `]}}`
}

// TestEnvoy lets a real Envoy report by each of its tracers, and looks at Envoy's own count of reports sent.
func TestEnvoy(t *testing.T) {
	envoy := need.Tool(t, "envoy")
	c := start(t, console.Config{})
	dir := t.TempDir()
	config, adminFile := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(config, []byte(envoyConfig(t, c)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), envoy, "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "--admin-address-path", adminFile, "-l", "warn")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var admin string
	eventually(t, "Envoy's admin address", func() bool {
		data, err := os.ReadFile(adminFile)
		admin = "http://" + string(data)
		return err == nil && len(data) > 0
	})
	var listeners struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	eventually(t, "Envoy's listeners", func() bool {
		resp, err := http.Get(admin + "/listeners?format=json")
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		return json.NewDecoder(resp.Body).Decode(&listeners) == nil && len(listeners.Statuses) == 3 && listeners.Statuses[0].Local.Socket.Port != 0
	})
	const requests = 3
	for _, l := range listeners.Statuses {
		url := fmt.Sprintf("http://127.0.0.1:%d/", l.Local.Socket.Port)
		eventually(t, l.Name, func() bool {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			return err == nil
		})
		for range requests - 1 {
			send(t, http.MethodGet, url, "")
		}
	}
	for _, name := range []string{"by-zipkin", "by-otlp-http", "by-otlp-grpc"} {
		find := func() backend.Result {
			res, err := c.Backend().Search(t.Context(), backend.Query{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		eventually(t, "the spans "+name, func() bool { return len(find().Traces) == requests })
		sum := find().Traces[0]
		spans, err := c.Backend().Trace(t.Context(), sum.TraceID)
		if err != nil || len(spans) != 1 {
			t.Fatal(spans, err)
		}
		s := spans[0]
		if s.Kind != span.KindServer || s.HTTPStatus() != "200" || s.RequestID() == "" || s.Host != "server-v1-0" || s.IP == "" || sum.RequestID != s.RequestID() {
			t.Errorf("%s: %+v", name, s)
		}
	}
	// Envoy counts a report as sent only when it was answered by 202.
	if a := send(t, http.MethodGet, admin+"/stats?filter=tracing.zipkin.reports", ""); !strings.Contains(a.body, fmt.Sprintf("reports_sent: %d", requests)) || !strings.Contains(a.body, "reports_dropped: 0") {
		t.Errorf("Envoy's counters:\n%s", a.body)
	}
}
