package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/console/expr"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/span"
)

// zipkin speaks Zipkin's API v2 (openzipkin/zipkin-api, zipkin2-api.yaml).
type zipkin struct{ *client }

func (z zipkin) anyService() bool { return true }

func (z zipkin) words(ctx context.Context, path string, query url.Values) ([]string, error) {
	body, err := z.get(ctx, query, "api", "v2", path)
	if err != nil {
		return nil, err
	}
	var list []string
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, z.garbled("list of names", err)
	}
	return list, nil
}

func (z zipkin) services(ctx context.Context) ([]string, error) { return z.words(ctx, "services", nil) }

func (z zipkin) names(ctx context.Context, service string) ([]string, error) {
	return z.words(ctx, "spans", url.Values{"serviceName": {service}})
}

func (z zipkin) trace(ctx context.Context, id span.TraceID) ([]span.Span, error) {
	body, err := z.get(ctx, nil, "api", "v2", "trace", format.TraceID(id))
	if errors.Is(err, errNotFound) {
		return nil, fmt.Errorf("trace %s: %w", id, span.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return z.decode(body)
}

func (z zipkin) find(ctx context.Context, f filter) (found, error) {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("serviceName", f.service)
	set("spanName", f.name)
	if f.min > 0 {
		set("minDuration", strconv.FormatInt(f.min.Microseconds(), 10))
		if f.max > 0 { // Zipkin takes a longest duration beside a shortest one only
			set("maxDuration", strconv.FormatInt(int64((f.max+time.Microsecond-1)/time.Microsecond), 10))
		}
	}
	set("annotationQuery", annotationQuery(f))
	q.Set("endTs", strconv.FormatInt(f.To.UnixMilli(), 10))
	q.Set("lookback", strconv.FormatInt(max(f.To.UnixMilli()-f.From.UnixMilli(), 1), 10))
	q.Set("limit", strconv.Itoa(f.limit))
	body, err := z.get(ctx, q, "api", "v2", "traces")
	if err != nil {
		return found{}, err
	}
	var traces []json.RawMessage
	if err := json.Unmarshal(body, &traces); err != nil {
		return found{}, z.garbled("list of traces", err)
	}
	out := found{traces: len(traces)}
	for _, t := range traces {
		spans, err := z.decode(t)
		if err != nil {
			return found{}, err
		}
		out.spans = append(out.spans, spans...)
	}
	return out, nil
}

func (z zipkin) decode(body []byte) ([]span.Span, error) {
	var batch ingest.Batch
	if err := batch.ZipkinJSON(string(body), time.Time{}, ingest.Limits{Spans: maxSpans}); err != nil {
		return nil, z.garbled("Zipkin trace", err)
	}
	return received(batch.Spans), nil
}

// annotationQuery gives the conditions that Zipkin's language can express: key, or key=value, joined by " and ".
func annotationQuery(f filter) string {
	var terms []string
	if f.failed {
		terms = append(terms, "error")
	}
	plain := func(c expr.Condition) bool {
		return !strings.Contains(c.Key, "=") && !strings.Contains(c.Key+c.Value, " and ") && strings.TrimSpace(c.Value) == c.Value
	}
	for _, c := range f.tags {
		switch {
		case !plain(c):
		case c.Equal:
			terms = append(terms, c.Key+"="+c.Value)
		default:
			terms = append(terms, c.Key)
		}
	}
	return strings.Join(terms, " and ")
}
