package compile

import (
	"strconv"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"example.com/bookinfo/services/sidecar/route"
)

// Istio retries what surely did no harm (istio: pilot/pkg/networking/core/route/retry). A wait between tries of 25 ms and
// up is Envoy's default.
const (
	retryOn      = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	retryBackoff = 25 * time.Millisecond
)

func defaultRetry() *route.Retry {
	return &route.Retry{Attempts: 2, On: retryOn, Backoff: retryBackoff, AvoidPrevious: 5}
}

func retry(in *networking.HTTPRetry) *route.Retry {
	if in == nil {
		return defaultRetry()
	}
	if in.Attempts <= 0 {
		return nil
	}
	out := defaultRetry()
	out.Attempts = int(in.Attempts)
	out.PerTryTimeout = in.PerTryTimeout.AsDuration()
	if in.RetryOn != "" {
		out.On, out.Statuses = splitRetryOn(in.RetryOn)
	}
	if ignore := in.RetryIgnorePreviousHosts; ignore != nil && !ignore.Value {
		out.AvoidPrevious = 0
	}
	if in.Backoff != nil {
		out.Backoff = in.Backoff.AsDuration()
	}
	return out
}

// splitRetryOn takes status codes out of the list, which may name both: "503,reset".
func splitRetryOn(list string) (on string, statuses []int) {
	var conditions []string
	for _, part := range strings.Split(list, ",") {
		part = strings.TrimSpace(part)
		if status, err := strconv.Atoi(part); err == nil {
			statuses = append(statuses, status)
		} else if part != "" {
			conditions = append(conditions, part)
		}
	}
	on = strings.Join(conditions, ",")
	if len(statuses) > 0 && !strings.Contains(on, "retriable-status-codes") {
		on = strings.TrimPrefix(on+",retriable-status-codes", ",")
	}
	return on, statuses
}
