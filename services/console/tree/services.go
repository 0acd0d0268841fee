package tree

import (
	"cmp"
	"slices"
	"time"
)

// ServiceStats sums up what one service, or one operation of it, did in a trace.
type ServiceStats struct {
	Service, Name                       string // Name is "" in the line of the whole service
	Spans, Errors                       int
	Total, Self, Critical, Average, Max time.Duration
	Operations                          []ServiceStats
}

// Services gives the statistics of a trace by service and operation, the most self time first. Times of spans that
// run at the same time add up, so that Total may exceed the trace's duration; Self does not count a span twice.
func (t *Tree) Services() []ServiceStats {
	index := make(map[string]*ServiceStats)
	operations := make(map[[2]string]*ServiceStats)
	var order []*ServiceStats
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Span == nil {
			continue
		}
		service := index[n.Span.Service]
		if service == nil {
			service = &ServiceStats{Service: n.Span.Service}
			index[n.Span.Service] = service
			order = append(order, service)
		}
		key := [2]string{n.Span.Service, n.Span.Name}
		operation := operations[key]
		if operation == nil {
			operation = &ServiceStats{Service: n.Span.Service, Name: n.Span.Name}
			operations[key] = operation
		}
		service.add(n)
		operation.add(n)
	}
	for _, o := range operations {
		o.Average = o.Total / time.Duration(o.Spans)
		s := index[o.Service]
		s.Operations = append(s.Operations, *o)
	}
	out := make([]ServiceStats, 0, len(order))
	for _, s := range order {
		s.Average = s.Total / time.Duration(s.Spans)
		bySelf(s.Operations)
		out = append(out, *s)
	}
	bySelf(out)
	return out
}

func (s *ServiceStats) add(n *Node) {
	s.Spans++
	if n.Error() {
		s.Errors++
	}
	s.Total += n.Duration
	s.Self += n.Self
	s.Critical += n.CriticalTime()
	s.Max = max(s.Max, n.Duration)
}

func bySelf(stats []ServiceStats) {
	slices.SortFunc(stats, func(a, b ServiceStats) int {
		return cmp.Or(cmp.Compare(b.Self, a.Self), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
	})
}
