package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/compile"
	"example.com/bookinfo/services/sidecar/report"
	"example.com/bookinfo/services/sidecar/trace"
)

// App is an application of the user's that joins the running demo.
type App struct {
	Name string `json:"name"` // of the service, a DNS label
	Port int    `json:"port"` // on which the application listens, and by which others call the service
}

// Attached says where the application's sidecar listens.
type Attached struct {
	Inbound  string `json:"inbound"`
	Outbound string `json:"outbound"`
}

// dnsLabel is what Kubernetes allows as the name of a Service (RFC 1035).
var dnsLabel = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Check says what is wrong with a name or a port.
func (a App) Check() error {
	switch {
	case !dnsLabel.MatchString(a.Name):
		return fmt.Errorf("name %q: want a DNS label, such as my-app", a.Name)
	case a.Port < 1 || a.Port > 65535:
		return fmt.Errorf("port %d: want the application's port, from 1 to 65535", a.Port)
	}
	return nil
}

// attach puts a sidecar beside an application of the user's. It answers one line of JSON and then keeps the answer
// open: the application belongs to the mesh for as long as the connection lasts, so that none is forgotten.
func (c *control) attach(w http.ResponseWriter, r *http.Request) error {
	var app App
	if err := json.NewDecoder(r.Body).Decode(&app); err != nil {
		return server.Errorf(http.StatusBadRequest, "want JSON with name and port: %v", err)
	}
	if err := app.Check(); err != nil {
		return server.Errorf(http.StatusBadRequest, "%v", err)
	}
	if c.mesh == nil {
		return server.Errorf(http.StatusConflict, "this demo has no mesh that an application could join")
	}
	host := mesh.FullHost(app.Name, namespace)
	if s := c.mesh.Snapshot().Service(host); s != nil && len(c.mesh.Snapshot().WorkloadsOf(s)) > 0 {
		return server.Errorf(http.StatusConflict, "there is a service %s already", app.Name)
	}
	attached, detach, err := c.join(app)
	if err != nil {
		return err
	}
	defer detach()
	w.Header().Set("Content-Type", "application/json")
	stream := http.NewResponseController(w)
	_ = stream.SetReadDeadline(time.Time{}) // the server's limits are for ordinary requests
	_ = stream.SetWriteDeadline(time.Time{})
	if err := json.NewEncoder(w).Encode(attached); err != nil {
		return err
	}
	if err := stream.Flush(); err != nil {
		return err
	}
	select {
	case <-r.Context().Done():
	case <-c.life.Done():
	}
	return nil
}

// join makes the service, its workload and the workload's sidecar.
func (c *control) join(app App) (Attached, func(), error) {
	labels := map[string]string{"app": app.Name, "version": "v1"}
	pod := &mesh.Workload{
		Name: app.Name + "-v1", Namespace: namespace, Pod: app.Name + "-v1-local", IP: "10.244.1.10",
		Labels: labels, ServiceAccount: app.Name,
	}
	c.mesh.AddService(mesh.Service{
		Name: app.Name, Namespace: namespace, Selector: map[string]string{"app": app.Name},
		Ports: []mesh.ServicePort{{Name: "http", Number: app.Port, Protocol: "HTTP"}},
	})
	c.mesh.AddWorkload(*pod)
	address := fmt.Sprintf("%s:%d", loopback, app.Port)
	proxy, stop, err := c.beside(pod, app.Port, address)
	detach := func() {
		if stop != nil {
			stop()
		}
		c.mesh.RemoveWorkload(pod.Pod)
	}
	if err != nil {
		detach()
		return Attached{}, nil, err
	}
	attached := Attached{Inbound: proxy.Addr(inboundListener), Outbound: proxy.Addr(outboundListener)}
	if err := c.mesh.SetAddress(pod.Pod, app.Port, mesh.Address{App: address, Proxy: attached.Inbound}); err != nil {
		detach()
		return Attached{}, nil, err
	}
	return attached, detach, nil
}

// beside starts the sidecar of an application that listens at address.
func (c *control) beside(pod *mesh.Workload, port int, address string) (*sidecar.Sidecar, func(), error) {
	if err := c.mesh.SetAddress(pod.Pod, port, mesh.Address{App: address, Proxy: address}); err != nil {
		return nil, nil, err
	}
	snapshot := c.mesh.Snapshot()
	tables := compile.For(snapshot, snapshot.Workload(pod.Pod))
	listeners := []sidecar.Listener{
		{Name: inboundListener, Direction: trace.Inbound, Addr: anyPort, Port: port, Table: tables.Inbound},
		{Name: outboundListener, Direction: trace.Outbound, Addr: anyPort, Table: tables.Outbound},
	}
	reporter, closeReporter, err := c.reporterOf(pod)
	if err != nil {
		return nil, nil, err
	}
	tracing := trace.Defaults(trace.Outbound)
	tracing.Format, tracing.Profile, tracing.Sampling = c.cfg.Format, c.cfg.Profile, c.cfg.Sampling
	tracing.RecordHeaders = true
	proxy, err := sidecar.Start(c.life, sidecar.Config{
		Identity: sidecar.Identity{
			Service: pod.App(), Version: pod.Version(), Namespace: pod.Namespace, Pod: pod.Pod, PodIP: pod.IP,
			ServiceAccount: pod.ServiceAccount,
		},
		Listeners: listeners, Tracing: tracing, Reporter: reporter,
	})
	if err != nil {
		closeReporter()
		return nil, nil, err
	}
	unwatch := compile.Watch(c.mesh, pod.Pod, func(t compile.Tables) {
		for _, l := range listeners {
			if err := proxy.SetTable(l.Name, tableOf(t, l.Direction)); err != nil {
				c.cfg.Log.Error("a change of the mesh is not in force", "proxy", pod.Pod, "error", err)
			}
		}
	})
	return proxy, func() {
		unwatch()
		_ = proxy.Cut() // the application has gone
		closeReporter()
	}, nil
}

// reporterOf is the reporter of a proxy that may end before the demo does.
func (c *control) reporterOf(pod *mesh.Workload) (trace.Reporter, func(), error) {
	if c.cfg.Collector.URL == "" {
		return trace.Discard{}, func() {}, nil
	}
	reporter, err := report.New(c.cfg.Collector.Protocol, report.Options{
		Collector: c.cfg.Collector.URL, Service: pod.App() + "." + pod.Namespace, Address: pod.IP,
		FlushInterval: flushInterval, Profile: c.cfg.Profile, Log: c.cfg.Log.With("workload", pod.Name),
	})
	if err != nil {
		return nil, nil, err
	}
	return reporter, func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		_ = reporter.Close(ctx) // spans that a dead collector does not take are lost
	}, nil
}
