package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"example.com/bookinfo/services/console/span"
)

// v1Span is a span of Zipkin's first format (zipkin-api.yaml): kind and times are in annotations.
type v1Span struct {
	TraceID           string         `json:"traceId"`
	ID                string         `json:"id"`
	ParentID          string         `json:"parentId"`
	Name              string         `json:"name"`
	Timestamp         int64          `json:"timestamp"`
	Duration          int64          `json:"duration"`
	Annotations       []v1Annotation `json:"annotations"`
	BinaryAnnotations []v1Binary     `json:"binaryAnnotations"`
}

type v1Annotation struct {
	Timestamp int64       `json:"timestamp"`
	Value     string      `json:"value"`
	Endpoint  *v1Endpoint `json:"endpoint"`
}

type v1Binary struct {
	Key      string      `json:"key"`
	Value    any         `json:"value"`
	Endpoint *v1Endpoint `json:"endpoint"`
}

type v1Endpoint struct {
	ServiceName string `json:"serviceName"`
	IPv4        string `json:"ipv4"`
	IPv6        string `json:"ipv6"`
	Port        int    `json:"port"`
}

func (e *v1Endpoint) endpoint() span.Endpoint {
	if e == nil {
		return span.Endpoint{}
	}
	ip := e.IPv4
	if ip == "" {
		ip = e.IPv6
	}
	return span.Endpoint{Service: e.ServiceName, IP: ip, Port: e.Port}
}

// ZipkinV1JSON reads a JSON array of Zipkin v1 spans. A span with both halves of a call becomes two, as Zipkin's own
// server has it.
func (b *Batch) ZipkinV1JSON(body string, received time.Time, l Limits) error {
	b.reset(l)
	var in []v1Span
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		return v1Error(err)
	}
	for i := range in {
		if err := b.v1(&in[i], received); err != nil {
			b.Spans = b.Spans[:0]
			var m *Malformed
			if errors.As(err, &m) {
				m.Path = "[" + strconv.Itoa(i) + "]" + m.Path
			}
			return err
		}
	}
	return nil
}

func v1Error(err error) error {
	m := &Malformed{Offset: -1, Reason: err.Error()}
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		m.Offset = int(syntax.Offset)
	case errors.As(err, &typ):
		m.Offset = int(typ.Offset)
		m.Path = typ.Field
		m.Reason = fmt.Sprintf("expected %s, found a JSON %s", typ.Type, typ.Value)
	}
	return m
}

func (b *Batch) v1(in *v1Span, received time.Time) error {
	bad := func(path, reason string) error { return &Malformed{Offset: -1, Path: path, Reason: reason} }
	trace, err := span.ParseTraceID(in.TraceID)
	if err != nil || trace.IsZero() {
		return bad(".traceId", "expected 16 or 32 hex digits that are not all zero")
	}
	id, err := span.ParseID(in.ID)
	if err != nil || id == 0 {
		return bad(".id", "expected 16 hex digits that are not all zero")
	}
	var parent span.ID
	if in.ParentID != "" {
		if parent, err = span.ParseID(in.ParentID); err != nil {
			return bad(".parentId", "expected 16 hex digits")
		}
	}
	if !inMicros(in.Timestamp) || !inMicros(in.Duration) {
		return bad(".timestamp", "times are microseconds from 0 to "+strconv.FormatInt(maxMicros, 10))
	}
	base := span.Span{TraceID: trace, ID: id, ParentID: parent, Name: in.Name,
		Start: micro(in.Timestamp), Duration: time.Duration(in.Duration) * time.Microsecond}
	var local span.Endpoint
	at := map[string]time.Time{}
	from := map[string]span.Endpoint{}
	for _, a := range in.Annotations {
		if !inMicros(a.Timestamp) {
			return bad(".annotations", "times are microseconds from 0 to "+strconv.FormatInt(maxMicros, 10))
		}
		if local == (span.Endpoint{}) {
			local = a.Endpoint.endpoint()
		}
		switch a.Value {
		case "cs", "cr", "sr", "ss", "ms", "mr":
			at[a.Value], from[a.Value] = micro(a.Timestamp), a.Endpoint.endpoint()
		default:
			base.Events = append(base.Events, span.Event{Time: micro(a.Timestamp), Name: a.Value})
		}
	}
	var ca, sa, ma span.Endpoint
	for _, t := range in.BinaryAnnotations {
		e := t.Endpoint.endpoint()
		_, isAddress := t.Value.(bool)
		switch {
		case t.Key == "ca" && isAddress:
			ca = e
			continue
		case t.Key == "sa" && isAddress:
			sa = e
			continue
		case t.Key == "ma" && isAddress:
			ma = e
			continue
		}
		if local == (span.Endpoint{}) {
			local = e
		}
		value, isText := t.Value.(string)
		if !isText {
			value = jsonText(t.Value)
		}
		if t.Key == "error" {
			base.Status = span.StatusError
		}
		base.Tags = append(base.Tags, span.Tag{Key: t.Key, Value: value})
	}
	add := func(kind span.Kind, start, end string, remote span.Endpoint, shared bool) error {
		s, err := b.next()
		if err != nil {
			return err
		}
		*s = base
		s.Kind, s.Remote, s.Shared = kind, remote, shared
		own := local
		for _, name := range [...]string{start, end} {
			if e := from[name]; e != (span.Endpoint{}) {
				own = e
			}
		}
		s.Service, s.IP = own.Service, own.IP
		t0, hasStart := at[start]
		t1, hasEnd := at[end]
		if hasStart && (shared || s.Start.IsZero()) {
			s.Start = t0
		}
		if hasStart && hasEnd && t1.After(t0) && (shared || s.Duration == 0) {
			s.Duration = t1.Sub(t0)
		}
		if s.Start.IsZero() && hasEnd {
			s.Start = t1.Add(-s.Duration)
		}
		if s.Start.IsZero() && len(s.Events) > 0 {
			s.Start = s.Events[0].Time
		}
		if s.Start.IsZero() {
			s.Start = received
		}
		b.finish(s, received)
		return nil
	}
	has := func(names ...string) bool {
		for _, n := range names {
			if _, ok := at[n]; ok {
				return true
			}
		}
		return false
	}
	client, server := has("cs", "cr"), has("sr", "ss")
	switch {
	case client && server:
		remote := from["sr"]
		if remote == (span.Endpoint{}) {
			remote = sa
		}
		if err := add(span.KindClient, "cs", "cr", remote, false); err != nil {
			return err
		}
		return add(span.KindServer, "sr", "ss", ca, true)
	case client:
		return add(span.KindClient, "cs", "cr", sa, false)
	case server:
		// Without a time of its own the client reports the span too.
		return add(span.KindServer, "sr", "ss", ca, in.Timestamp == 0 && parent != 0)
	case has("ms"):
		return add(span.KindProducer, "ms", "", ma, false)
	case has("mr"):
		return add(span.KindConsumer, "mr", "", ma, false)
	}
	return add(span.KindUnspecified, "", "", sa, false)
}

func inMicros(us int64) bool { return us >= 0 && us <= maxMicros }

func micro(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
