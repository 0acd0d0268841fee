package report

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"example.com/bookinfo/services/sidecar/jsontext"
	"example.com/bookinfo/services/sidecar/trace"
)

// zipkin writes JSON of Zipkin's second version, by hand: it runs once for every request.
type zipkin struct {
	poster   *poster
	endpoint []byte // localEndpoint with its key, the same in every span
}

func newZipkin(o *Options) (*zipkin, error) {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	z := &zipkin{}
	if o.Collector != "" {
		u, err := parseCollector(o.Collector, "/api/v2/spans", "http", "https")
		if err != nil {
			return nil, err
		}
		z.poster = newPoster(u, "application/json", "", o)
	}
	z.endpoint = append(z.endpoint, `,"localEndpoint":{`...)
	if o.Address != "" {
		z.endpoint = append(z.endpoint, ipKey(o.Address)...)
		z.endpoint = append(jsontext.AppendString(z.endpoint, o.Address), ',')
	}
	z.endpoint = append(z.endpoint, `"port":0,"serviceName":`...)
	z.endpoint = append(jsontext.AppendString(z.endpoint, o.Service), '}')
	return z, nil
}

func ipKey(address string) string {
	for i := range len(address) {
		if address[i] == ':' {
			return `"ipv6":`
		}
	}
	return `"ipv4":`
}

func (z *zipkin) send(ctx context.Context, batch []byte) error {
	if z.poster == nil {
		return errNoCollector
	}
	return z.poster.post(ctx, func(status int) bool { return status == http.StatusAccepted }, batch, []byte{']'})
}

func (z *zipkin) close() error {
	z.poster.close()
	return nil
}

func (z *zipkin) appendSpan(b []byte, n int, s *trace.Span) []byte {
	if n == 0 {
		b = append(b, '[')
	} else {
		b = append(b, ',')
	}
	b = append(b, `{"traceId":"`...)
	b = s.AppendTraceID(b)
	b = append(b, `","id":"`...)
	b = trace.AppendHex(b, s.ID)
	if s.HasParent {
		b = append(b, `","parentId":"`...)
		b = trace.AppendHex(b, s.Parent)
	}
	b = append(b, '"')
	if s.Name != "" {
		b = append(b, `,"name":`...)
		b = jsontext.AppendString(b, s.Name)
	}
	b = append(b, `,"kind":"`...)
	b = append(b, s.Kind.String()...)
	start := s.Start.UnixMicro()
	b = append(b, `","timestamp":`...)
	b = strconv.AppendInt(b, start, 10)
	b = append(b, `,"duration":`...)
	b = strconv.AppendInt(b, s.Duration.Microseconds(), 10)
	b = append(b, z.endpoint...)
	b = append(b, `,"annotations":[{"timestamp":`...)
	b = strconv.AppendInt(b, start+s.Duration.Microseconds(), 10)
	b = append(b, `,"value":"`...)
	if s.Kind == trace.Client {
		b = append(b, `cr"}]`...)
	} else {
		b = append(b, `ss"}]`...)
	}
	b = append(b, `,"tags":{`...)
	b = appendTags(b, s.Tags)
	b = append(b, '}')
	if s.Shared {
		b = append(b, `,"shared":true`...)
	}
	return append(b, '}')
}

// appendTags leaves out empty values, as Envoy does.
func appendTags(b []byte, tags []trace.Tag) []byte {
	first := true
	for i := range tags {
		if tags[i].Value == "" {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = jsontext.AppendString(b, tags[i].Key)
		b = append(b, ':')
		b = jsontext.AppendString(b, tags[i].Value)
	}
	return b
}
