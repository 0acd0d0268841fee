package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/span"
)

// jaeger speaks version 3 of Jaeger's query API over HTTP (jaeger-idl, api_v3/query_service.proto), whose traces are
// OTLP. Parameters are named as all versions of Jaeger since 1.3x take them.
type jaeger struct{ *client }

// anyService is false: the memory store of Jaeger wants a service in every search.
func (j jaeger) anyService() bool { return false }

func (j jaeger) services(ctx context.Context) ([]string, error) {
	body, err := j.get(ctx, nil, "api", "v3", "services")
	if err != nil {
		return nil, err
	}
	var answer struct{ Services []string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, j.garbled("list of services", err)
	}
	return answer.Services, nil
}

func (j jaeger) names(ctx context.Context, service string) ([]string, error) {
	body, err := j.get(ctx, url.Values{"service": {service}}, "api", "v3", "operations")
	if err != nil {
		return nil, err
	}
	var answer struct{ Operations []struct{ Name string } }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, j.garbled("list of operations", err)
	}
	names := make([]string, len(answer.Operations))
	for i, o := range answer.Operations {
		names[i] = o.Name
	}
	return names, nil
}

func (j jaeger) trace(ctx context.Context, id span.TraceID) ([]span.Span, error) {
	body, err := j.get(ctx, nil, "api", "v3", "traces", id.String())
	if errors.Is(err, errNotFound) {
		return nil, fmt.Errorf("trace %s: %w", id, span.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	spans, err := j.decode(body)
	if err == nil && len(spans) == 0 {
		err = fmt.Errorf("trace %s: %w", id, span.ErrNotFound)
	}
	return spans, err
}

func (j jaeger) find(ctx context.Context, f filter) (found, error) {
	q := url.Values{
		"query.service_name":   {f.service},
		"query.start_time_min": {f.From.UTC().Format(time.RFC3339Nano)},
		"query.start_time_max": {f.To.UTC().Format(time.RFC3339Nano)},
		"query.search_depth":   {strconv.Itoa(f.limit)},
		"query.num_traces":     {strconv.Itoa(f.limit)}, // the name it had first
	}
	if f.name != "" {
		q.Set("query.operation_name", f.name)
	}
	if f.min > 0 {
		q.Set("query.duration_min", f.min.String())
	}
	if f.max > 0 {
		q.Set("query.duration_max", f.max.String())
	}
	attributes := map[string]string{}
	if f.failed {
		attributes["error"] = "true"
	}
	for _, c := range f.tags {
		if c.Equal {
			attributes[c.Key] = c.Value
		}
	}
	if len(attributes) > 0 {
		text, err := json.Marshal(attributes)
		if err != nil {
			return found{}, err
		}
		q.Set("query.attributes", string(text))
	}
	body, err := j.get(ctx, q, "api", "v3", "traces")
	if errors.Is(err, errNotFound) {
		return found{}, nil // so it says that no trace matches
	}
	if err != nil {
		return found{}, err
	}
	spans, err := j.decode(body)
	ids := map[span.TraceID]bool{}
	for i := range spans {
		ids[spans[i].TraceID] = true
	}
	return found{spans, len(ids)}, err
}

// decode reads one {"result": OTLP} after the other: Jaeger streams what it finds.
func (j jaeger) decode(body []byte) ([]span.Span, error) {
	var spans []span.Span
	for decoder := json.NewDecoder(bytes.NewReader(body)); ; {
		var part struct {
			Result json.RawMessage
			Error  struct{ Message string }
		}
		err := decoder.Decode(&part)
		if errors.Is(err, io.EOF) {
			return received(spans), nil
		}
		switch {
		case err != nil:
			return nil, j.garbled("trace", err)
		case part.Error.Message != "":
			return nil, j.failed(errors.New(excerpt([]byte(part.Error.Message))))
		case len(part.Result) == 0:
			return nil, j.garbled("trace", errors.New("it has no result"))
		}
		var batch ingest.Batch
		if err := batch.OTLPJSON(string(part.Result), time.Time{}, ingest.Limits{Spans: maxSpans}); err != nil {
			return nil, j.garbled("OTLP trace", err)
		}
		spans = append(spans, batch.Spans...)
	}
}
