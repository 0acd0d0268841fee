package sidecar

import (
	"net/http"

	"example.com/bookinfo/services/sidecar/report"
	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/stats"
	"example.com/bookinfo/services/sidecar/trace"
)

// AdminHandler answers what Envoy's admin port answers: /ready, /stats, /stats/prometheus and /config_dump. reporter
// may be nil. It must be asked for once, and needs Config.Stats.
func (s *Sidecar) AdminHandler(reporter *report.Reporter) http.Handler {
	counters := new(stats.Tracing)
	if reporter != nil {
		counters.AddReporter(reporter)
	}
	for _, l := range s.listeners {
		counters.AddTracer(string(l.direction)+"_"+l.ln.Addr().String(), l.force.Load().tracer.Counters())
	}
	a := &stats.Admin{Stats: s.config.Stats, Tracing: counters, State: s.state, Dump: s.dump}
	return a.Handler()
}

func (s *Sidecar) state() stats.State {
	if s.closing.Load() {
		return stats.Draining
	}
	return stats.Live
}

// dumped is what /config_dump shows of a sidecar.
type dumped struct {
	Identity  Identity         `json:"identity"`
	Listeners []dumpedListener `json:"listeners"`
}

type dumpedListener struct {
	Name         string                    `json:"name"`
	Direction    trace.Direction           `json:"direction"`
	Address      string                    `json:"address"`
	Tracing      trace.Config              `json:"tracing"`
	Table        string                    `json:"route_table"`
	Version      uint64                    `json:"version"`
	VirtualHosts []*route.VirtualHost      `json:"virtual_hosts"`
	Clusters     map[string]*route.Cluster `json:"clusters"`
}

func (s *Sidecar) dump() any {
	d := dumped{Identity: s.config.Identity}
	for _, l := range s.listeners {
		f := l.force.Load()
		d.Listeners = append(d.Listeners, dumpedListener{
			Name: l.config.Name, Direction: l.direction, Address: l.ln.Addr().String(), Tracing: f.tracer.Config(),
			Table: f.table.Name, Version: f.table.Version, VirtualHosts: f.table.Hosts(), Clusters: f.table.Clusters,
		})
	}
	return d
}
