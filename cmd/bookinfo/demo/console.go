package demo

import (
	"context"
	"fmt"
	"net"
	"time"

	"example.com/bookinfo/cmd/console/pages"
	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/web"
	"example.com/bookinfo/services/sidecar/trace"
)

// Ports of the console, as its binary has them.
const (
	consolePort  = 9411
	otlpGRPCPort = 4317
	otlpHTTPPort = 4318
)

// settle is how long after its last span a trace counts as whole. The demo's sidecars send every 200 ms, not every 5 s.
const settle = 1500 * time.Millisecond

// startConsole starts the trace console, which takes the spans of the sidecars, and of whatever else on this machine
// sends it some.
func (d *Demo) startConsole(ctx context.Context) error {
	running, err := console.Start(ctx, console.Config{
		Addr:     d.free(ctx, "the console", consolePort),
		OTLPGRPC: d.free(ctx, "OTLP over gRPC", otlpGRPCPort),
		OTLPHTTP: d.free(ctx, "OTLP over HTTP", otlpHTTPPort),
		Log:      d.cfg.Log.With("workload", "console"),
		Pages:    pages.With(web.Link{Name: "Demo", URL: d.info.Control + "/"}),
		Settle:   settle,
	})
	if err != nil {
		return err
	}
	d.lastClosers = append(d.lastClosers, running.Close)
	go func() {
		select {
		case err := <-running.Failed():
			if err != nil {
				d.fail(fmt.Errorf("console: %w", err))
			}
		case <-d.life.Done():
		}
	}()
	d.traces = running.Backend()
	d.info.Console = "http://" + running.Addr
	// As Envoy's tracers do: the one of W3C speaks OTLP, that of B3 speaks Zipkin.
	d.cfg.Collector = Collector{Protocol: "zipkin", URL: d.info.Console + "/api/v2/spans"}
	if d.cfg.Format == trace.W3C && d.cfg.Envoy != "" {
		d.cfg.Collector = Collector{Protocol: "otlp", URL: "grpc://" + running.OTLPGRPC}
	} else if d.cfg.Format == trace.W3C {
		d.cfg.Collector = Collector{Protocol: "otlp", URL: "http://" + running.OTLPHTTP + "/v1/traces"}
	}
	if d.cfg.TraceURL == "" {
		d.cfg.TraceURL = d.info.Console + "/traces/{traceId}"
	}
	d.rows = append(d.rows, Row{Name: "console", Address: d.info.Console})
	return nil
}

// free returns the address of the port, or of any if it is taken.
func (d *Demo) free(ctx context.Context, name string, port int) string {
	address := fmt.Sprintf("%s:%d", loopback, port)
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		d.progress("Port %d is taken, so %s listens on a free one.", port, name)
		return anyPort
	}
	_ = listener.Close()
	return address
}
