package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/report"
	"example.com/bookinfo/services/sidecar/trace"
)

// proxy is the program in a proxy's role.
func (s *settings) proxy(ctx context.Context, stdout io.Writer) error {
	switch s.role {
	case "sidecar":
		return s.sidecar(ctx, stdout)
	case "reverseproxy", "reverseproxy-64":
		return s.reverseProxy(ctx, stdout)
	}
	return fmt.Errorf("unknown role %q", s.role)
}

func (s *settings) sidecar(ctx context.Context, stdout io.Writer) error {
	debug.SetGCPercent(50) // as cmd/sidecar
	reporter, err := report.New("zipkin", report.Options{Collector: "http://" + s.collector, Service: "reviews.default", Address: "127.0.0.1"})
	if err != nil {
		return err
	}
	tracing := trace.Defaults(trace.Outbound)
	tracing.Format, tracing.Profile = trace.B3, trace.Envoy140
	d := &sidecar.Destinations{Retries: -1}
	if err := d.Add("reviews", "", []string{s.app}); err != nil {
		return err
	}
	p, err := sidecar.Start(ctx, sidecar.Config{
		Identity: sidecar.Identity{Service: "reviews", Version: "v1"}, Tracing: tracing, Reporter: reporter,
		Listeners: []sidecar.Listener{{Direction: trace.Outbound, Addr: "127.0.0.1:0", Table: d.Outbound()}},
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, p.Addrs(trace.Outbound)[0])
	<-ctx.Done()
	return p.Close()
}

func (s *settings) reverseProxy(ctx context.Context, stdout io.Writer) error {
	target := &url.URL{Scheme: "http", Host: s.app}
	p := httputil.NewSingleHostReverseProxy(target)
	if s.role == "reverseproxy-64" {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 64
		p.Transport = t
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { srv.Close() })
	fmt.Fprintln(stdout, ln.Addr())
	return srv.Serve(ln)
}

// envoyConfig is a bootstrap as Istio's, as far as cost goes: one listener, Zipkin at 100 %.
func envoyConfig(listen, app, collector string) string {
	at := func(addr string) string {
		host, port, _ := net.SplitHostPort(addr)
		return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port)
	}
	cluster := func(name, addr string) string {
		return fmt.Sprintf("  - {name: %s, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}}\n", name, name, at(addr))
	}
	return `
node: {id: "sidecar~127.0.0.1~reviews-v1-0.default~default.svc.cluster.local", cluster: reviews.default}
static_resources:
  listeners:
  - name: outbound
    traffic_direction: OUTBOUND
    address: ` + at(listen) + `
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: outbound
          generate_request_id: true
          tracing:
            client_sampling: {value: 100}
            random_sampling: {value: 100}
            overall_sampling: {value: 100}
            provider:
              name: envoy.tracers.zipkin
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig
                collector_cluster: zipkin
                collector_endpoint: /api/v2/spans
                collector_endpoint_version: HTTP_JSON
                trace_id_128bit: true
                shared_span_context: false
          route_config:
            virtual_hosts:
            - name: reviews
              domains: ["*"]
              routes: [{match: {prefix: /}, decorator: {operation: "reviews.default.svc.cluster.local:9080/*"}, route: {cluster: reviews, timeout: 0s}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
` + cluster("reviews", app) + cluster("zipkin", collector)
}

// clockTicks is USER_HZ, which is 100 on every Linux that Go runs on.
const clockTicks = 100

// cpuOf returns the processor time that a process has used, 0 where the system does not tell as Linux does.
func cpuOf(p *os.Process) time.Duration {
	if p == nil {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
	if err != nil {
		return 0
	}
	// Behind the name in brackets come the fields from the third on; utime and stime are the 14th and 15th.
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / clockTicks
}

// memoryOf returns the resident memory of a process in bytes.
func memoryOf(p *os.Process) int64 {
	if p == nil {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
