package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/bookinfo/deploy/istio"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/compile"
	"example.com/bookinfo/services/sidecar/report"
	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/trace"
)

// firstFile is applied from the start.
const firstFile = "bookinfo-gateway.yaml"

// gatewayPort is the port that bookinfo-gateway.yaml names.
const gatewayPort = 8080

// Collector is where the sidecars report their spans: a URL and the protocol spoken there, zipkin or otlp.
type Collector struct{ Protocol, URL string }

// flushInterval of the spans is shorter than Envoy's 5 s, so that a trace is there when somebody looks.
const flushInterval = 200 * time.Millisecond

// startMesh makes the mesh's state and applies the gateway's file.
func (d *Demo) startMesh() error {
	d.mesh = mesh.New(mesh.Bookinfo())
	return d.apply(firstFile)
}

// subsetsFile defines the subsets that most of the other files route to.
const subsetsFile = "destination-rule-all.yaml"

// notFoundCode is istioctl's, for a file that refers to what is not there.
const notFoundCode = "IST0101"

// apply puts one of the files of deploy/istio in force, and with it the subsets that it refers to.
func (d *Demo) apply(name string) error {
	err := d.applyAll(name)
	if problem := (*fileProblem)(nil); errors.As(err, &problem) && problem.Code == notFoundCode {
		return d.applyAll(subsetsFile, name)
	}
	return err
}

// fileProblem is why a file was refused.
type fileProblem struct{ mesh.Problem }

func (p *fileProblem) Error() string { return p.String() }

func (d *Demo) applyAll(names ...string) error {
	var files []mesh.File
	for _, name := range names {
		data, err := fs.ReadFile(istio.Files(), name)
		if err != nil {
			return err
		}
		files = append(files, mesh.File{Name: name, Data: data})
	}
	return firstProblem(d.mesh.Apply(files, namespace, false).Problems)
}

// firstProblem is the first finding that is more than a warning.
func firstProblem(problems []mesh.Problem) error {
	for _, problem := range problems {
		if !problem.Warning {
			return &fileProblem{problem}
		}
	}
	return nil
}

// undo deletes what is in one of the files of deploy/istio. What is not there need not be deleted.
func (d *Demo) undo(name string) error {
	data, err := fs.ReadFile(istio.Files(), name)
	if err != nil {
		return err
	}
	resources, problems := mesh.Decode(mesh.File{Name: name, Data: data}, namespace)
	if err := firstProblem(problems); err != nil {
		return err
	}
	var keys []mesh.Key
	for _, resource := range resources {
		keys = append(keys, resource.Key())
	}
	if _, err := d.mesh.Delete(keys, false); err != nil && !errors.Is(err, mesh.ErrNotFound) {
		return err
	}
	return nil
}

// pod returns the mesh's instance of the workload with that name.
func (d *Demo) pod(name string) (*mesh.Workload, error) {
	workloads := d.mesh.Snapshot().Workloads
	i := slices.IndexFunc(workloads, func(w *mesh.Workload) bool { return w.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("the mesh has no workload %q", name)
	}
	return workloads[i], nil
}

// outbound is the way from an application to its own sidecar, which stands there once the sidecar has started. On a
// cluster iptables leads every connection of the pod there.
type outbound struct{ address atomic.Pointer[string] }

func (o *outbound) dial(ctx context.Context, network, address string) (net.Conn, error) {
	to := o.address.Load()
	if to == nil {
		return nil, fmt.Errorf("connect to %s: the sidecar has not started", address)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, *to)
}

// startSidecar puts a sidecar beside the application that listens on app, and tells the mesh and the application.
func (d *Demo) startSidecar(ctx context.Context, pod *mesh.Workload, app string, way *outbound) error {
	if err := d.mesh.SetAddress(pod.Pod, firstPort, mesh.Address{App: app, Proxy: app}); err != nil {
		return err
	}
	proxy, err := d.startProxy(ctx, pod, []sidecar.Listener{
		{Name: inboundListener, Direction: trace.Inbound, Addr: anyPort, Port: firstPort},
		{Name: outboundListener, Direction: trace.Outbound, Addr: anyPort},
	})
	if err != nil {
		return err
	}
	address := proxy.Addr(outboundListener)
	way.address.Store(&address)
	return d.mesh.SetAddress(pod.Pod, firstPort, mesh.Address{App: app, Proxy: proxy.Addr(inboundListener)})
}

// startGateway starts the proxy that users enter by.
func (d *Demo) startGateway(ctx context.Context) error {
	pod, err := d.pod("istio-ingressgateway")
	if err != nil {
		return err
	}
	listener := sidecar.Listener{Name: gatewayListener, Direction: trace.Gateway, Addr: fmt.Sprintf("%s:%d", loopback, gatewayPort)}
	proxy, err := d.startProxy(ctx, pod, []sidecar.Listener{listener})
	if errors.Is(err, syscall.EADDRINUSE) {
		listener.Addr = anyPort
		if proxy, err = d.startProxy(ctx, pod, []sidecar.Listener{listener}); err == nil {
			d.progress("Port %d is taken, so the gateway listens on %s.", gatewayPort, proxy.Addr(gatewayListener))
		}
	}
	if err != nil {
		return err
	}
	d.enterBy(pod, proxy.Addr(gatewayListener))
	return nil
}

// enterBy tells where the gateway listens.
func (d *Demo) enterBy(pod *mesh.Workload, address string) {
	d.info.Gateway = "http://" + address
	d.rows = append(d.rows, Row{Name: pod.Name, Address: d.info.Gateway, Pod: pod.Pod, PodIP: pod.IP})
}

const (
	inboundListener  = "inbound"
	outboundListener = "outbound"
	gatewayListener  = "gateway"

	anyPort = loopback + ":0"
)

// startProxy starts the proxy of a pod. It follows the mesh: whatever is applied is in force in it when Apply returns.
func (d *Demo) startProxy(ctx context.Context, pod *mesh.Workload, listeners []sidecar.Listener) (*sidecar.Sidecar, error) {
	tables := compile.For(d.mesh.Snapshot(), d.mesh.Snapshot().Workload(pod.Pod))
	for i := range listeners {
		listeners[i].Table = tableOf(tables, listeners[i].Direction)
	}
	reporter, err := d.reporter(pod)
	if err != nil {
		return nil, err
	}
	tracing := trace.Defaults(trace.Outbound)
	tracing.Format, tracing.Profile, tracing.Sampling = d.cfg.Format, d.cfg.Profile, d.cfg.Sampling
	tracing.RecordHeaders = true
	proxy, err := sidecar.Start(ctx, sidecar.Config{
		Identity: sidecar.Identity{
			Service: pod.App(), Version: pod.Version(), Namespace: pod.Namespace,
			Pod: pod.Pod, PodIP: pod.IP, ServiceAccount: pod.ServiceAccount,
		},
		Listeners: listeners,
		Tracing:   tracing,
		Reporter:  reporter,
	})
	if err != nil {
		return nil, err
	}
	stop := compile.Watch(d.mesh, pod.Pod, func(t compile.Tables) {
		for _, l := range listeners {
			if err := proxy.SetTable(l.Name, tableOf(t, l.Direction)); err != nil {
				d.cfg.Log.Error("a change of the mesh is not in force", "proxy", pod.Pod, "error", err)
			}
		}
	})
	d.onClose(func() error {
		stop()
		return proxy.Close()
	})
	return proxy, nil
}

func tableOf(tables compile.Tables, direction trace.Direction) *route.Table {
	switch direction {
	case trace.Inbound:
		return tables.Inbound
	case trace.Gateway:
		return tables.Gateway
	}
	return tables.Outbound
}

// reporter sends the spans of a pod's proxy to the collector, or nowhere without one.
func (d *Demo) reporter(pod *mesh.Workload) (trace.Reporter, error) {
	if d.cfg.Collector.URL == "" {
		return trace.Discard{}, nil
	}
	reporter, err := report.New(d.cfg.Collector.Protocol, report.Options{
		Collector: d.cfg.Collector.URL, Service: pod.App() + "." + pod.Namespace, Address: pod.IP,
		FlushInterval: flushInterval, Profile: d.cfg.Profile, Log: d.cfg.Log.With("workload", pod.Name),
	})
	if err != nil {
		return nil, err
	}
	d.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		_ = reporter.Close(ctx) // spans that a dead collector does not take are lost
		return nil
	})
	return reporter, nil
}
