// Package sidecar is the stand-in for a mesh's proxy: it listens in front of an application, for its calls, or at the
// edge, sends requests to endpoints, and makes the spans that Envoy makes under Istio. The path of a request is
//
//	listener -> http1 or http2 (client) -> exchange (check, trace, route, fault) -> forward (tries) -> attempt -> answer
//
// What it does in each case was recorded from a real Envoy (internal/vectors). It uses neither net/http's server nor
// its client for HTTP/1.1: both rename and sort fields and accept messages that a proxy must refuse.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/stats"
	"example.com/bookinfo/services/sidecar/trace"
	"example.com/bookinfo/services/sidecar/upstream"
)

// Sidecar is a running proxy.
type Sidecar struct {
	config    Config
	listeners []*listener
	pools     *upstream.Pools
	h2        *h2Side
	dice      dice
	date      date
	cancel    context.CancelFunc
	done      sync.WaitGroup

	self        *stats.Workload
	certificate string // of the fields that tell who the caller is
	metadata    string
	callers     callers
	closing     atomic.Bool
}

// dice makes a function a source.
type dice func() uint64

func (d dice) Uint64() uint64 { return d() }

// Start listens on every address of c before it returns, so that an error says what is wrong with the settings. The
// sidecar runs until Close, or until ctx ends.
func Start(ctx context.Context, c Config) (*Sidecar, error) {
	c.Identity = c.Identity.WithDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Reporter == nil {
		c.Reporter = trace.Discard{}
	}
	if c.Random == nil {
		c.Random = rand.Uint64
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Sidecar{config: c, pools: upstream.NewPools(c.Dial), dice: c.Random, cancel: cancel}
	s.self, s.certificate, s.metadata = c.workload(), "URI="+c.principal(), c.metadata()
	s.h2 = newH2Side(s)
	for i := range c.Listeners {
		l, err := s.listen(ctx, &s.config.Listeners[i])
		if err != nil {
			cancel()
			_ = s.Close() // the error that matters is err
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	for _, l := range s.listeners {
		s.done.Go(func() { l.serve(ctx) })
	}
	context.AfterFunc(ctx, s.shut)
	return s, nil
}

// Addr returns the address of the listener with that name, "" if there is none.
func (s *Sidecar) Addr(name string) string {
	for _, l := range s.listeners {
		if l.config.Name == name {
			return l.ln.Addr().String()
		}
	}
	return ""
}

// Addrs returns the addresses of the listeners of one direction, in the order of the configuration.
func (s *Sidecar) Addrs(d trace.Direction) []string {
	var addrs []string
	for _, l := range s.listeners {
		if l.direction == d {
			addrs = append(addrs, l.ln.Addr().String())
		}
	}
	return addrs
}

// SetTable puts a route table in force for the listener with that name. A request sees the old one or the new one;
// none in flight is disturbed.
func (s *Sidecar) SetTable(name string, table *route.Table) error {
	for _, l := range s.listeners {
		if l.config.Name == name {
			return l.put(table)
		}
	}
	return fmt.Errorf("no listener %q", name)
}

// shut stops accepting and ends what waits for a request.
func (s *Sidecar) shut() {
	for _, l := range s.listeners {
		l.ln.Close()
		l.closeConns(false)
	}
}

// Close stops accepting, lets exchanges in flight end for a few seconds, and cuts the rest. Only the first call acts.
func (s *Sidecar) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	s.cancel()
	s.shut()
	ended := make(chan struct{})
	go func() {
		s.h2.shutdown()
		s.done.Wait()
		close(ended)
	}()
	timer := time.NewTimer(shutdownGrace)
	defer timer.Stop()
	var err error
	select {
	case <-ended:
	case <-timer.C:
		err = errors.New("exchanges in flight were cut")
		for _, l := range s.listeners {
			l.closeConns(true)
		}
		<-ended
	}
	s.h2.close()
	s.pools.Close()
	return err
}

// Cut closes the sidecar without waiting for exchanges in flight.
func (s *Sidecar) Cut() error {
	s.cancel()
	s.shut()
	for _, l := range s.listeners {
		l.closeConns(true)
	}
	return s.Close()
}

// inForce is what one listener acts on: all of it is swapped at once.
type inForce struct {
	table    *route.Table
	tracer   *trace.Tracer
	clusters map[*route.Cluster]*upstream.Cluster
	names    map[*route.Cluster]*trace.Cluster

	workloads syncMap[*route.Endpoint, *stats.Workload]
}

// put makes what is in force from a table, keeping what is known of clusters that stay.
func (l *listener) put(table *route.Table) error {
	l.change.Lock()
	defer l.change.Unlock()
	s := l.sidecar
	node, err := s.config.node(l.direction == trace.Gateway)
	if err != nil {
		return err
	}
	before := map[string]*upstream.Cluster{}
	old := l.force.Load()
	if old != nil {
		for r, c := range old.clusters {
			before[r.Name] = c
		}
	}
	f := &inForce{table: table, clusters: map[*route.Cluster]*upstream.Cluster{}, names: map[*route.Cluster]*trace.Cluster{}}
	for _, r := range table.Clusters {
		f.clusters[r] = upstream.NewCluster(r, before[r.Name])
		f.names[r] = trace.NewCluster(r.Name)
	}
	o := trace.Options{Random: s.config.Random, Getenv: s.config.Getenv}
	if old != nil {
		o.Counters = old.tracer.Counters() // they go on, and the admin port has them
	}
	if f.tracer, err = trace.New(s.config.tracingOf(l.config, table), node, s.config.Reporter, o); err != nil {
		return err
	}
	l.force.Store(f)
	return nil
}

// date gives the Date field, made once a second.
type date struct{ last atomic.Pointer[stamp] }

type stamp struct {
	second int64
	text   string
}

func (d *date) now() string {
	now := time.Now()
	if s := d.last.Load(); s != nil && s.second == now.Unix() {
		return s.text
	}
	s := &stamp{now.Unix(), now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	d.last.Store(s)
	return s.text
}

func listenError(l *Listener, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s %s: cannot listen: %w", l.Direction, l.Addr, err)
}
