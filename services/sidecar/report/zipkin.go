package report

import (
	"context"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

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
		z.endpoint = append(appendString(z.endpoint, o.Address), ',')
	}
	z.endpoint = append(z.endpoint, `"port":0,"serviceName":`...)
	z.endpoint = append(appendString(z.endpoint, o.Service), '}')
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
		b = appendString(b, s.Name)
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
		b = appendString(b, tags[i].Key)
		b = append(b, ':')
		b = appendString(b, tags[i].Value)
	}
	return b
}

// appendString appends s as a JSON string (RFC 8259, section 7). Bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, s[from:i]...)
		b = appendEscaped(b, c)
		i++
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

func appendEscaped(b []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	switch {
	case c >= utf8.RuneSelf:
		return append(b, `\ufffd`...)
	case c == '"' || c == '\\':
		return append(b, '\\', c)
	case c == '\n':
		return append(b, `\n`...)
	case c == '\t':
		return append(b, `\t`...)
	}
	return append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}
