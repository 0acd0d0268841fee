package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/bootstrap"
	"example.com/bookinfo/services/sidecar/compile"
	"example.com/bookinfo/services/sidecar/envoy"
)

// envoyBeside is a real Envoy beside a workload, or the gateway.
type envoyBeside struct {
	pod   string
	app   string    // address of the application; "" at the gateway
	way   *outbound // of the application's calls
	proxy *envoy.Proxy
}

// planEnvoy has an Envoy started beside the application once all applications run: a process takes its time, so that
// all of them start together.
func (d *Demo) planEnvoy(pod *mesh.Workload, app string, way *outbound) error {
	d.envoys = append(d.envoys, &envoyBeside{pod: pod.Pod, app: app, way: way})
	return d.mesh.SetAddress(pod.Pod, firstPort, mesh.Address{App: app, Proxy: app})
}

// startEnvoys starts the Envoys of all workloads and of the gateway, and has them follow the mesh.
func (d *Demo) startEnvoys(ctx context.Context) error {
	gateway, err := d.pod("istio-ingressgateway")
	if err != nil {
		return err
	}
	d.envoys = append(d.envoys, &envoyBeside{pod: gateway.Pod})
	entry := d.free(ctx, "the gateway", gatewayPort)
	err = d.eachEnvoy(func(e *envoyBeside) (err error) {
		e.proxy, err = d.startEnvoy(ctx, e, entry)
		return err
	})
	for _, e := range d.envoys {
		if e.proxy != nil {
			d.onClose(e.proxy.Close)
		}
	}
	if err != nil {
		return err
	}
	for _, e := range d.envoys {
		d.watchEnvoy(e)
		if e.app == "" {
			d.enterBy(gateway, e.proxy.Addr(gatewayListener))
			continue
		}
		address := e.proxy.Addr(outboundListener)
		e.way.address.Store(&address)
		if err := d.mesh.SetAddress(e.pod, firstPort, mesh.Address{App: e.app, Proxy: e.proxy.Addr(inboundListener)}); err != nil {
			return err
		}
	}
	stop := d.mesh.OnChange(d.tellEnvoys)
	d.onClose(func() error { stop(); return nil })
	return nil
}

func (d *Demo) startEnvoy(ctx context.Context, e *envoyBeside, entry string) (*envoy.Proxy, error) {
	snapshot := d.mesh.Snapshot()
	workload := snapshot.Workload(e.pod)
	config := bootstrap.Config{
		Workload: workload, TrustDomain: snapshot.TrustDomain, Tables: compile.For(snapshot, workload),
		Format: string(d.cfg.Format), Sampling: d.cfg.Sampling, GatewaySpans: 2,
	}
	if workload.Gateway {
		config.Gateway = entry
	} else {
		config.Inbound, config.Outbound = anyPort, anyPort
	}
	if d.cfg.Collector.URL != "" {
		u, err := url.Parse(d.cfg.Collector.URL)
		if err != nil {
			return nil, err
		}
		config.Collector = u.Host
	}
	return envoy.Start(ctx, envoy.Config{
		Binary: d.cfg.Envoy, Bootstrap: config, FlushInterval: flushInterval, Log: d.cfg.Log.With("workload", workload.Name),
	})
}

// tellEnvoys puts the mesh's state in force in all of them, and returns when it is.
func (d *Demo) tellEnvoys(s *mesh.Snapshot) {
	err := d.eachEnvoy(func(e *envoyBeside) error {
		return e.proxy.SetTables(d.life, compile.For(s, s.Workload(e.pod)))
	})
	if err != nil && d.life.Err() == nil {
		d.cfg.Log.Error("a change of the mesh is not in force", "error", err)
	}
}

// eachEnvoy does the same to all of them at once. The error names the workloads with which it did not succeed.
func (d *Demo) eachEnvoy(do func(*envoyBeside) error) error {
	failed := make([]error, len(d.envoys))
	var wg sync.WaitGroup
	for i, e := range d.envoys {
		wg.Go(func() {
			if err := do(e); err != nil {
				failed[i] = fmt.Errorf("%s: %w", e.pod, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

// watchEnvoy ends the demo with an Envoy that ends by itself.
func (d *Demo) watchEnvoy(e *envoyBeside) {
	go func() {
		select {
		case <-e.proxy.Ended():
			if d.life.Err() == nil {
				d.fail(fmt.Errorf("%s: %w", e.pod, e.proxy.Err()))
			}
		case <-d.life.Done():
		}
	}()
}
