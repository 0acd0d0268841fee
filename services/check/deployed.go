package check

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// zipkinSpan is what the check reads of a span in the backend
// (https://zipkin.io/zipkin-api/, which Zipkin and the console of this suite answer).
type zipkinSpan struct {
	ID            string `json:"id"`
	ParentID      string `json:"parentId"`
	LocalEndpoint struct {
		ServiceName string `json:"serviceName"`
	} `json:"localEndpoint"`
}

// application is the name of the span's service without its namespace.
func (s zipkinSpan) application() string {
	name, _, _ := strings.Cut(s.LocalEndpoint.ServiceName, ".")
	return name
}

// sent is one request to a deployed suite.
type sent struct {
	trace, span string // of the context that went with it
	exchange    exchange
	spans       []zipkinSpan // that the backend has of the trace
}

// checkDeployed asks services that run behind their sidecars, and reads from the backend whether one trace came of each
// request. A sidecar hides what an application forwards, but the tree of spans shows it.
func checkDeployed(ctx context.Context, cfg config, g ids) (Report, error) {
	p := newProber(cfg.url, cfg.protocol, cfg.message, nil, cfg.timeout, cfg.grace)
	defer p.close()
	requests := make([]sent, cfg.requests)
	for i := range requests {
		lines := append(g.both(), line{"x-client-trace-id", g.uuid()}) // asks a gateway to trace it whatever its sampling
		requests[i] = sent{trace: lines[0].value, span: lines[1].value, exchange: p.send(ctx, request{lines: lines})}
		if err := requests[i].exchange.err; err != nil {
			return Report{}, fmt.Errorf("ask the service: %w", err)
		}
	}
	if err := awaitTraces(ctx, cfg, requests); err != nil {
		return Report{}, err
	}
	return deployedReport(cfg, requests, judgeDeployed(cfg, requests)), nil
}

// awaitTraces reads the traces until they have stopped growing and nothing is wrong with them, or the time is over: each
// proxy sends its spans every few seconds, so what looks broken may only not have arrived yet.
func awaitTraces(ctx context.Context, cfg config, requests []sent) error {
	client := &http.Client{Timeout: cfg.timeout}
	deadline := time.NewTimer(cfg.backendTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(cfg.grace)
	defer tick.Stop()
	before, calm := -1, 0
	for {
		total := 0
		for i := range requests {
			spans, err := readTrace(ctx, client, cfg.backend, requests[i].trace)
			if err != nil {
				return fmt.Errorf("read the backend: %w", err)
			}
			requests[i].spans = spans
			total += len(spans)
		}
		if calm++; total != before {
			calm = 0
		}
		before = total
		if calm >= 2 && len(judgeDeployed(cfg, requests)) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return nil // what is missing now is judged
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readTrace returns the spans of a trace; a trace that the backend does not have is no error.
func readTrace(ctx context.Context, client *http.Client, backend, id string) ([]zipkinSpan, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(backend, "/")+"/api/v2/trace/"+id, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d; does it speak Zipkin's API v2?", req.URL, resp.StatusCode)
	}
	var spans []zipkinSpan
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&spans); err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL, err)
	}
	return spans, nil
}

// missing lists the expected services that none of the traces holds.
func missing(expect []string, requests []sent) []string {
	return slices.DeleteFunc(slices.Clone(expect), func(name string) bool {
		return slices.ContainsFunc(requests, func(s sent) bool {
			return slices.ContainsFunc(s.spans, func(span zipkinSpan) bool { return span.application() == name })
		})
	})
}

func judgeDeployed(cfg config, requests []sent) []Finding {
	f := &findings{required: cfg.require}
	if !slices.ContainsFunc(requests, func(s sent) bool { return len(s.spans) > 0 }) {
		for i := range requests {
			f.add(ruleNoTrace, "", traceName(i))
		}
		return f.list
	}
	if absent := missing(cfg.expect, requests); len(absent) > 0 {
		for i := range requests {
			f.add(ruleServiceMissing, "", traceName(i))
		}
		f.list[0].Message += ": " + strings.Join(absent, ", ")
	}
	for i, s := range requests {
		known := map[string]bool{s.span: true, "": true}
		for _, span := range s.spans {
			known[span.ID] = true
		}
		if slices.ContainsFunc(s.spans, func(span zipkinSpan) bool { return !known[span.ParentID] }) {
			f.add(ruleOrphan, "", traceName(i))
		}
	}
	return f.list
}

func traceName(i int) string { return fmt.Sprintf("trace-%d", i+1) }

func deployedReport(cfg config, requests []sent, found []Finding) Report {
	var outcomes []outcome
	for i, s := range requests {
		var services []string
		for _, span := range s.spans {
			if name := span.application(); !slices.Contains(services, name) {
				services = append(services, name)
			}
		}
		slices.Sort(services)
		about := fmt.Sprintf("%s: %d spans of %s", s.trace, len(s.spans), strings.Join(services, ", "))
		outcomes = append(outcomes, outcome{probe: probe{name: traceName(i), about: about}, exchanges: []exchange{s.exchange}})
	}
	return newReport(cfg, outcomes, found)
}
