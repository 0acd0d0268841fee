package sidecar

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/sidecar/route"
)

// shouldRetry decides as Envoy's retry state (source/common/router/retry_state_impl.cc). exhausted tells that the
// outcome would have deserved another try but the policy's number is used up.
func (x *exchange) shouldRetry(p *route.Retry, out outcome) (again, exhausted bool) {
	if p == nil || p.Attempts <= 0 || out.departed || out.local != nil || !x.retriable(p, out) {
		return false, false
	}
	if x.attempts > p.Attempts {
		return false, true
	}
	if !x.bodyIsSaved() || !x.cluster.BeginRetry() {
		return false, false
	}
	x.retries++
	return true, false
}

func (x *exchange) retriable(p *route.Retry, out outcome) bool {
	on := func(name string) bool { return hasToken(p.On, name) }
	if !out.answered {
		switch {
		case out.timeout == routeTimeout, out.timeout == idleStream, out.flag == "UO", out.flag == "UH":
			return false
		case on("5xx"), on("gateway-error"), on("reset"):
			return true
		case out.timeout != noTimeout:
			return false
		case on("connect-failure"):
			return out.flag == "UF"
		}
		return false
	}
	status := x.resp.Status
	switch {
	case on("5xx") && status >= 500,
		on("gateway-error") && status >= 502 && status <= 504,
		on("retriable-4xx") && status == 409,
		on("retriable-status-codes") && slices.Contains(p.Statuses, status),
		slices.Contains(p.Statuses, status) && on(strconv.Itoa(status)):
		return true
	}
	return x.retriableGRPC(on)
}

func (x *exchange) retriableGRPC(on func(string) bool) bool {
	code, ok := x.resp.Fields.Lookup("grpc-status")
	if !ok {
		return false
	}
	name, ok := map[string]string{
		"1": "cancelled", "4": "deadline-exceeded", "8": "resource-exhausted", "13": "internal", "14": "unavailable",
	}[strings.TrimSpace(code)]
	return ok && on(name)
}

// backOff waits a random part of an exponentially growing time; false if the client left meanwhile.
func (x *exchange) backOff(ctx context.Context, p *route.Retry) bool {
	base := p.Backoff
	if base <= 0 {
		base = 25 * time.Millisecond
	}
	limit := min(base<<min(x.attempts-1, 10), 10*base)
	return x.wait(ctx, time.Duration(x.l.sidecar.dice.Uint64()%uint64(limit)))
}
