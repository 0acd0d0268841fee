// Package recorded gives tests the spans of Bookinfo chains as a real Envoy made them, in the form in which the
// console holds spans. Ids, parents, names and request ids are the recording's; times are invented, always the same.
package recorded

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/console/span"
)

// Chain is one request through Bookinfo behind real proxies.
type Chain struct {
	ID      string   `json:"id"`      // scenario/format/gateway
	Envoy   []string `json:"envoy"`   // versions that behaved so
	Forward string   `json:"forward"` // what the applications passed on
	Traces  []struct {
		Trace                 string
		Spans, Roots, Orphans int
	} `json:"traces"`
	Recorded []struct {
		Service, Kind, Name, Trace, ID, Parent string
		RequestID                              string `json:"request_id"`
		ClientTraceID                          string `json:"client_trace_id"`
	} `json:"spans"`
}

// Scenario is the first part of ID.
func (c Chain) Scenario() string { return strings.SplitN(c.ID, "/", 2)[0] }

// Chains loads every recorded chain.
func Chains(t testing.TB) []Chain {
	t.Helper()
	var file struct{ Chains []Chain }
	vectors.Load(t, "chains.json", &file)
	return file.Chains
}

// Find gives the chain with that id which the newest Envoy made.
func Find(t testing.TB, id string) Chain {
	t.Helper()
	all := Chains(t)
	slices.Reverse(all)
	for _, c := range all {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("no chain %q was recorded", id)
	return Chain{}
}

// Options place a chain in time.
type Options struct {
	Start time.Time
	// Seed tells requests of one chain apart: fresh ids are drawn from it.
	Seed uint64
	// Reviews is the version of reviews that answers, default v3.
	Reviews string
	// Slow lengthens the calls of a service ("ratings.default"), Fail makes it answer 500.
	Slow map[string]time.Duration
	Fail string
}

// Spans gives the chain's spans with every symbol replaced.
func (c Chain) Spans(o Options) []span.Span {
	if o.Reviews == "" {
		o.Reviews = "v3"
	}
	out := make([]span.Span, len(c.Recorded))
	for i, r := range c.Recorded {
		trace, err := span.ParseTraceID(c.value(r.Trace, o.Seed, 32))
		if err != nil {
			panic(err)
		}
		id, _ := span.ParseID(c.value(r.ID, o.Seed, 16))
		s := span.Span{TraceID: trace, ID: id, Service: r.Service, Name: r.Name, Kind: span.KindServer}
		if r.Parent != "" {
			s.ParentID, _ = span.ParseID(c.value(r.Parent, o.Seed, 16))
		}
		if r.Kind == "CLIENT" {
			s.Kind = span.KindClient
		}
		describe(&s, o, c.value(r.RequestID, o.Seed, 36))
		out[i] = s
	}
	c.lay(out, o)
	return out
}

// value replaces a symbol of the recording by a value drawn from the seed.
func (c Chain) value(symbol string, seed uint64, width int) string {
	if !strings.HasPrefix(symbol, "$") {
		return symbol
	}
	name, right := strings.CutSuffix(symbol, ".right16")
	var b [16]byte
	for half := range 2 {
		h := fnv.New64a()
		fmt.Fprint(h, name, "/", seed, "/", half)
		// FNV alone leaves the high bits of short inputs alike; the constant is the 64-bit golden ratio.
		v := h.Sum64()
		v = (v ^ v>>29) * 0x9e3779b97f4a7c15
		binary.BigEndian.PutUint64(b[half*8:], v^v>>32)
	}
	hex := fmt.Sprintf("%x", b)
	switch {
	case width == 36:
		return fmt.Sprintf("%s-%s-9%s-a%s-%s", hex[:8], hex[8:12], hex[13:16], hex[17:20], hex[20:])
	case right || width == 16:
		return hex[16:]
	}
	return hex
}

// describe adds what Envoy adds in Istio: see internal/vectors/spans.json.
func describe(s *span.Span, o Options, requestID string) {
	app, namespace, _ := strings.Cut(s.Service, ".")
	s.Version = map[string]string{"reviews": o.Reviews, "istio-ingressgateway": "latest"}[app]
	if s.Version == "" {
		s.Version = "v1"
	}
	h := fnv.New32a()
	fmt.Fprint(h, app, s.Version)
	n := h.Sum32()
	s.IP = fmt.Sprintf("10.0.%d.%d", n%4, 10+n/4%200)
	s.Host = fmt.Sprintf("%s-%s-%08x-x%04d", app, s.Version, n, n%10000)
	if app == "istio-ingressgateway" {
		s.Host = fmt.Sprintf("%s-%08x-x%04d", app, n, n%10000)
	}
	status := "200"
	if s.Service == o.Fail {
		status, s.Status = "500", span.StatusError
	}
	s.Tags = span.Tags{{Key: "component", Value: "proxy"}, {Key: "http.method", Value: "GET"},
		{Key: "http.protocol", Value: "HTTP/1.1"}, {Key: "http.status_code", Value: status}}
	if requestID != "" {
		s.Tags = append(s.Tags, span.Tag{Key: "guid:x-request-id", Value: requestID},
			span.Tag{Key: "http.url", Value: "http://" + strings.Replace(s.Name, ":9080/*", "/"+app+"/0", 1)},
			span.Tag{Key: "user_agent", Value: "Mozilla/5.0"}, span.Tag{Key: "node_id", Value: "sidecar~" + s.IP + "~" +
				s.Host + "." + namespace + "~" + namespace + ".svc.cluster.local"})
	}
	s.Tags = append(s.Tags, span.Tag{Key: "istio.canonical_revision", Value: s.Version},
		span.Tag{Key: "istio.canonical_service", Value: app}, span.Tag{Key: "istio.cluster_id", Value: "Kubernetes"},
		span.Tag{Key: "istio.mesh_id", Value: "cluster.local"}, span.Tag{Key: "istio.namespace", Value: namespace},
		span.Tag{Key: "response_flags", Value: "-"}, span.Tag{Key: "upstream_cluster", Value: "inbound|9080||"})
	if s.Status == span.StatusError {
		s.Tags = append(s.Tags, span.Tag{Key: "error", Value: "true"})
	}
}

// lay gives each span its time: a call takes what the service needs itself plus what its own calls take, one after
// the other. The order of the recording is that of the calls.
func (c Chain) lay(spans []span.Span, o Options) {
	children := make(map[int][]int)
	var tops []int
	for i := range spans {
		parent := slices.IndexFunc(spans, func(p span.Span) bool {
			return p.ID == spans[i].ParentID && p.TraceID == spans[i].TraceID
		})
		// The first span that the application of a broken trace makes is still caused by its server's.
		if parent < 0 && i > 0 {
			parent = cause(spans, i)
		}
		if parent < 0 || parent == i {
			tops = append(tops, i)
			continue
		}
		children[parent] = append(children[parent], i)
	}
	var place func(i int, at time.Time) time.Time
	place = func(i int, at time.Time) time.Time {
		s := &spans[i]
		s.Start = at
		step := 300 * time.Microsecond
		if s.Kind == span.KindServer {
			step = 1500*time.Microsecond + time.Duration(o.Seed*7919%1000)*time.Microsecond + o.Slow[s.Service]
		}
		at = at.Add(step / 2)
		for _, child := range children[i] {
			at = place(child, at)
		}
		at = at.Add(step / 2)
		s.Duration = at.Sub(s.Start)
		s.Received = at.Add(200 * time.Millisecond)
		event := "ss"
		if s.Kind == span.KindClient {
			event = "cr"
		}
		s.Events = []span.Event{{Time: at, Name: event}}
		return at
	}
	at := o.Start
	for _, top := range tops {
		at = place(top, at)
	}
}

// cause finds the span that made span i be although it does not say so: for a server its caller's last call to it, for
// a client the server's span of the same service.
func cause(spans []span.Span, i int) int {
	for j := i - 1; j >= 0; j-- {
		calls := spans[i].Kind == span.KindServer && spans[j].Kind == span.KindClient && spans[j].Name == spans[i].Name
		makes := spans[i].Kind == span.KindClient && spans[j].Kind == span.KindServer && spans[j].Service == spans[i].Service
		if calls || makes {
			return j
		}
	}
	return -1
}
