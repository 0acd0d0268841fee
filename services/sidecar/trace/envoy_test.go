package trace_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
)

// TestAgainstEnvoy sends odd headers, which no recording has, through a real Envoy and through this package, and
// demands the same headers on the other side.
func TestAgainstEnvoy(t *testing.T) {
	program := need.Tool(t, "envoy")
	version, err := exec.Command(program, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	var profile trace.Profile
	switch {
	case bytes.Contains(version, []byte("/1.36.")):
		profile = trace.Envoy136
	case bytes.Contains(version, []byte("/1.40.")):
		profile = trace.Envoy140
	default:
		need.Missing(t, "envoy", "it is neither 1.36 nor 1.40: "+string(bytes.TrimSpace(version)))
	}
	for _, format := range []trace.Format{trace.B3, trace.B3W3C, trace.W3C} {
		t.Run(string(format), func(t *testing.T) {
			address, upstream := startEnvoy(t, program, format)
			for _, came := range oddHeaders() {
				want := throughEnvoy(t, address, upstream, came)
				config := trace.Defaults(trace.Inbound)
				config.Format, config.Profile = format, profile
				got, _ := exchange(t, config, trace.Options{}, came.Clone())
				if w, g := normal(want, came), normal(got, came); w != g {
					t.Errorf("%q\nEnvoy sends %s\nwe send     %s", came, w, g)
				}
			}
		})
	}
}

func oddHeaders() []header.Fields {
	const (
		b3      = "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312"
		traceID = "463ac35c9f6413ad48485a3953bb6124"
		spanID  = "a2fb4a1d1a96d312"
		other   = "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-"
	)
	odd := []header.Fields{
		lines("b3", b3, "traceparent", other+"00"), lines("b3", b3, "traceparent", other+"01"),
		lines("b3", "1", "traceparent", other+"00"), lines("x-b3-sampled", "1", "traceparent", "x"),
		lines("x-b3-traceid", traceID, "x-b3-spanid", spanID, "x-b3-sampled", "", "traceparent", other+"01"),
		lines("x-b3-traceid", "", "x-b3-traceid", traceID, "x-b3-spanid", spanID),
		lines("x-b3-sampled", "0", "x-b3-sampled", "1"), lines("traceparent", "", "traceparent", other+"01"),
		lines("traceparent", "0x"+other[2:]+"01"), lines("traceparent", other+"0x"),
		lines("traceparent", other+"01", "tracestate", "a", "tracestate", "", "tracestate", "b"),
		lines("x-request-id", "", "x-request-id", "3f1a9c20-7b1d-4e44-8a51-0c2f6d7e8b90"),
		lines("x-request-id", "0x1a9c20-7b1d-4e44-8a51-0c2f6d7e8b90"), lines("x-request-id", "a,b"),
		lines("x-request-id", "+f1a9c20-7b1d-4e44-8a51-0c2f6d7e8b90"), lines("x-forwarded-proto", "HTTPS"),
		lines("x-forwarded-for", "1.2.3.4", "x-forwarded-for", "5.6.7.8"), lines("x-forwarded-for", ""),
		lines("x-client-trace-id", "a", "x-client-trace-id", "b"), lines("x-envoy-decorator-operation", ""),
		lines("x-envoy-upstream-stream-duration-ms", "1", "x-envoy-whatever", "1", "x-envoy-original-path", "/p",
			"x-envoy-downstream-service-cluster", "a", "x-envoy-downstream-service-cluster", "b"),
	}
	for _, id := range []string{
		"0X1f", "0x", "x", "-", "--1", "+1f", "-1f", "+0x1f", "-10000000000000000", "0x00000000000000001", "1_f", "0x0x1",
		"02fb4a1d1a96d312f", "00000000000000000000001", "2fb4 a1d1", "\u00e9",
	} {
		odd = append(odd, lines("x-b3-traceid", traceID, "x-b3-spanid", id), lines("b3", traceID+"-"+id+"-1"),
			lines("x-b3-traceid", traceID, "x-b3-spanid", spanID, "x-b3-parentspanid", id),
			lines("x-b3-traceid", id, "x-b3-spanid", spanID))
	}
	for _, single := range []string{
		"", "d", "0", "2", "--", traceID, traceID + "-", traceID + "- 1", b3 + "-", b3 + "-2", b3 + "--", b3 + "-1-",
		b3 + "-1x0020000000000001", b3 + "--0020000000000001", b3 + "-d-0x20000000000001", strings.Repeat("-", 33),
		"48485a3953bb6124-" + spanID, strings.Repeat("0", 33), "0000000000000000-0000000000000000",
	} {
		odd = append(odd, lines("b3", single))
	}
	return odd
}

// startEnvoy returns the address of an inbound listener and the connections of its upstream's listener.
func startEnvoy(t *testing.T, program string, format trace.Format) (string, net.Listener) {
	t.Helper()
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.Close() })
	dir := t.TempDir()
	bootstrap, admin := filepath.Join(dir, "bootstrap.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(bootstrap, envoyBootstrap(t, format, upstream.Addr().(*net.TCPAddr).Port), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	envoy := exec.Command(program, "-c", bootstrap, "--admin-address-path", admin, "--concurrency", "1",
		"--disable-hot-restart", "-l", "error")
	envoy.Stderr = &log
	if err := envoy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = envoy.Process.Kill()
		_ = envoy.Wait()
		if t.Failed() {
			t.Logf("Envoy's log: %s", &log)
		}
	})
	client := http.Client{Timeout: 2 * time.Second}
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		if address, err := os.ReadFile(admin); err == nil {
			if response, err := client.Get("http://" + string(address) + "/listeners"); err == nil {
				text, _ := io.ReadAll(response.Body)
				response.Body.Close()
				if _, listener, ok := strings.Cut(strings.TrimSpace(string(text)), "::"); ok {
					return listener, upstream
				}
			}
		}
		<-time.After(50 * time.Millisecond) // another process: there is nothing to wait on
	}
	t.Fatalf("Envoy does not listen: %s", &log)
	return "", nil
}

// envoyBootstrap is an inbound listener as Istio configures it, as far as the headers go. Its collector is not there.
func envoyBootstrap(t *testing.T, format trace.Format, upstream int) []byte {
	t.Helper()
	type m = map[string]any
	at := func(port int) m {
		return m{"address": m{"socket_address": m{"address": "127.0.0.1", "port_value": port}}}
	}
	cluster := func(name string, port int) m {
		return m{"name": name, "type": "STATIC", "load_assignment": m{"cluster_name": name, "endpoints": []m{
			{"lb_endpoints": []m{{"endpoint": at(port)}}},
		}}}
	}
	typed := func(kind string, fields m) m {
		fields["@type"] = "type.googleapis.com/envoy." + kind
		return fields
	}
	tracer := m{"name": "zipkin", "typed_config": typed("config.trace.v3.ZipkinConfig", m{
		"collector_cluster": "collector", "collector_endpoint": "/api/v2/spans", "collector_endpoint_version": "HTTP_JSON",
		"trace_id_128bit": true, "shared_span_context": false,
		"trace_context_option": map[trace.Format]string{trace.B3: "USE_B3", trace.B3W3C: "USE_B3_WITH_W3C_PROPAGATION"}[format],
	})}
	if format == trace.W3C {
		tracer = m{"name": "otel", "typed_config": typed("config.trace.v3.OpenTelemetryConfig", m{
			"service_name": "server.default",
			"http_service": m{"http_uri": m{"uri": "http://collector/v1/traces", "cluster": "collector", "timeout": "1s"}},
		})}
	}
	manager := typed("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", m{
		"stat_prefix": "inbound", "tracing": m{"provider": tracer},
		"route_config": m{"virtual_hosts": []m{{"name": "all", "domains": []string{"*"}, "routes": []m{
			{"match": m{"prefix": "/"}, "route": m{"cluster": "app", "timeout": "0s"}},
		}}}},
		"http_filters": []m{{"name": "router", "typed_config": typed("extensions.filters.http.router.v3.Router", m{})}},
	})
	bootstrap, err := json.Marshal(m{
		"node": m{"id": "test", "cluster": "server.default"}, "admin": at(0),
		"static_resources": m{
			"clusters": []m{cluster("app", upstream), cluster("collector", 1)},
			"listeners": []m{{
				"name": "inbound", "traffic_direction": "INBOUND", "address": at(0)["address"],
				"filter_chains": []m{{"filters": []m{{"name": "http", "typed_config": manager}}}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return bootstrap
}

// throughEnvoy sends one request and returns the headers that the upstream saw, without Host.
func throughEnvoy(t *testing.T, address string, upstream net.Listener, came header.Fields) header.Fields {
	t.Helper()
	client, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := "GET / HTTP/1.1\r\nHost: reviews:9080\r\n"
	for _, f := range came {
		request += f.Name + ": " + f.Value + "\r\n"
	}
	if _, err := io.WriteString(client, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := upstream.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	server, err := upstream.Accept()
	if err != nil {
		t.Fatalf("%q does not reach the upstream: %v", came, err)
	}
	defer server.Close()
	var seen header.Fields
	for r := bufio.NewReader(server); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
		if name, value, ok := strings.Cut(line, ":"); ok && name != "host" {
			seen.Add(name, strings.TrimSpace(value))
		}
	}
	// Each request gets a connection of its own, so that none is answered by an earlier one's.
	_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(client), nil); err != nil {
		t.Fatal(err)
	}
	return seen
}

// normal writes fields with ids that did not come as F and their length, and fresh request ids as their reason.
func normal(f, came header.Fields) string {
	given := strings.ToLower(fmt.Sprint(came))
	ids := regexp.MustCompile(`[0-9a-f]{16,32}`)
	var out strings.Builder
	for _, field := range f {
		value := field.Value
		switch {
		case field.Name == "x-request-id" && len(value) == 36 && !strings.Contains(given, value[:8]):
			value = "fresh, reason " + value[14:15]
		case field.Name == "b3" || strings.HasPrefix(field.Name, "x-b3-") || field.Name == "traceparent":
			value = ids.ReplaceAllStringFunc(value, func(id string) string {
				if strings.Contains(given, id) {
					return id
				}
				return fmt.Sprintf("F%d", len(id))
			})
		}
		fmt.Fprintf(&out, "%s: %s; ", field.Name, value)
	}
	return out.String()
}
