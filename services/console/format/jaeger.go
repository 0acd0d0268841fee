package format

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/console/span"
)

// JaegerTraces is what Jaeger's HTTP API answers and its UI downloads and takes back (jaeger, internal/uimodel).
type JaegerTraces struct {
	Data   []JaegerTrace `json:"data"`
	Total  int           `json:"total"`
	Limit  int           `json:"limit"`
	Offset int           `json:"offset"`
	Errors []JaegerError `json:"errors"`
}

// JaegerError is an error of Jaeger's HTTP API.
type JaegerError struct {
	Code    int    `json:"code,omitempty"`
	Message string `json:"msg"`
}

// JaegerTrace is one trace with the processes that its spans name.
type JaegerTrace struct {
	TraceID   string                   `json:"traceID"`
	Spans     []JaegerSpan             `json:"spans"`
	Processes map[string]JaegerProcess `json:"processes"`
	Warnings  []string                 `json:"warnings"`
}

// JaegerSpan is one span; times in µs.
type JaegerSpan struct {
	TraceID    string            `json:"traceID"`
	SpanID     string            `json:"spanID"`
	Flags      int               `json:"flags,omitempty"`
	Operation  string            `json:"operationName"`
	References []JaegerReference `json:"references"`
	Start      int64             `json:"startTime"`
	Duration   int64             `json:"duration"`
	Tags       []JaegerTag       `json:"tags"`
	Logs       []JaegerLog       `json:"logs"`
	ProcessID  string            `json:"processID"`
	Warnings   []string          `json:"warnings"`
}

// JaegerReference is CHILD_OF or FOLLOWS_FROM.
type JaegerReference struct {
	Type    string `json:"refType"`
	TraceID string `json:"traceID"`
	SpanID  string `json:"spanID"`
}

// JaegerTag has a type of string, bool, int64, float64 or binary.
type JaegerTag struct {
	Key   string `json:"key"`
	Type  string `json:"type"`
	Value any    `json:"value"`
}

// JaegerLog is an event.
type JaegerLog struct {
	Timestamp int64       `json:"timestamp"`
	Fields    []JaegerTag `json:"fields"`
}

// JaegerProcess is who made a span.
type JaegerProcess struct {
	ServiceName string      `json:"serviceName"`
	Tags        []JaegerTag `json:"tags"`
}

// Jaeger converts the spans of one trace.
func Jaeger(spans []span.Span) JaegerTrace {
	t := JaegerTrace{Spans: []JaegerSpan{}, Processes: map[string]JaegerProcess{}}
	known := map[string]string{}
	for i := range spans {
		s := &spans[i]
		t.TraceID = s.TraceID.String()
		identity := s.Service + "\x00" + s.IP + "\x00" + s.Host
		process, ok := known[identity]
		if !ok {
			process = "p" + strconv.Itoa(len(known)+1)
			known[identity] = process
			tags := jaegerTags(s.Resource)
			if s.IP != "" {
				tags = append(tags, JaegerTag{"ip", "string", s.IP})
			}
			if s.Host != "" {
				tags = append(tags, JaegerTag{"hostname", "string", s.Host})
			}
			t.Processes[process] = JaegerProcess{ServiceName: s.Service, Tags: tags}
		}
		t.Spans = append(t.Spans, jaegerSpan(s, process))
	}
	return t
}

func jaegerSpan(s *span.Span, process string) JaegerSpan {
	j := JaegerSpan{
		TraceID:    s.TraceID.String(),
		SpanID:     s.ID.String(),
		Flags:      1,
		Operation:  s.Name,
		References: []JaegerReference{},
		Start:      s.Start.UnixMicro(),
		Duration:   s.Duration.Microseconds(),
		Tags:       jaegerTags(s.Tags),
		Logs:       []JaegerLog{},
		ProcessID:  process,
	}
	if s.ParentID != 0 {
		j.References = append(j.References, JaegerReference{"CHILD_OF", j.TraceID, s.ParentID.String()})
	}
	for _, l := range s.Links {
		j.References = append(j.References, JaegerReference{"FOLLOWS_FROM", l.TraceID.String(), l.SpanID.String()})
	}
	if kind := strings.ToLower(s.Kind.String()); kind != "" {
		j.Tags = append(j.Tags, JaegerTag{"span.kind", "string", kind})
	}
	if _, ok := s.Tags.Get("error"); s.Error() && !ok {
		j.Tags = append(j.Tags, JaegerTag{"error", "bool", true})
	}
	for _, e := range s.Events {
		fields := append([]JaegerTag{{"event", "string", e.Name}}, jaegerTags(e.Tags)...)
		j.Logs = append(j.Logs, JaegerLog{Timestamp: e.Time.UnixMicro(), Fields: fields})
	}
	return j
}

func jaegerTags(tags span.Tags) []JaegerTag {
	out := make([]JaegerTag, 0, len(tags)+2)
	for _, t := range tags {
		out = append(out, JaegerTag{t.Key, "string", t.Value})
	}
	return out
}

// ParseJaeger reads what Jaeger's API answered or its UI downloaded. An error names the trace, the span and the
// field; no span of the file is returned with it.
func ParseJaeger(r io.Reader) ([]span.Span, error) {
	var file JaegerTraces
	decoder := json.NewDecoder(r)
	decoder.UseNumber()
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("jaeger JSON: %w", err)
	}
	var spans []span.Span
	for i, trace := range file.Data {
		for j := range trace.Spans {
			s, err := fromJaeger(&trace.Spans[j], trace.Processes)
			if err != nil {
				return nil, fmt.Errorf("data[%d].spans[%d]: %w", i, j, err)
			}
			spans = append(spans, s)
		}
	}
	return spans, nil
}

func fromJaeger(j *JaegerSpan, processes map[string]JaegerProcess) (s span.Span, err error) {
	if s.TraceID, err = span.ParseTraceID(j.TraceID); err != nil {
		return s, err
	}
	if s.ID, err = span.ParseID(j.SpanID); err != nil {
		return s, err
	}
	process, ok := processes[j.ProcessID]
	if !ok {
		return s, fmt.Errorf("processID %q: no such process in the trace", j.ProcessID)
	}
	s.Service = process.ServiceName
	s.Resource = fromJaegerTags(process.Tags)
	s.IP, _ = s.Resource.Get("ip")
	s.Host, _ = s.Resource.Get("hostname")
	s.Name = j.Operation
	s.Start = time.UnixMicro(j.Start)
	s.Duration = time.Duration(j.Duration) * time.Microsecond
	for _, ref := range j.References {
		id, err := span.ParseID(ref.SpanID)
		if err != nil {
			return s, fmt.Errorf("references: %w", err)
		}
		trace, err := span.ParseTraceID(ref.TraceID)
		if err != nil {
			return s, fmt.Errorf("references: %w", err)
		}
		if ref.Type == "CHILD_OF" && trace == s.TraceID && s.ParentID == 0 {
			s.ParentID = id
		} else {
			s.Links = append(s.Links, span.Link{TraceID: trace, SpanID: id})
		}
	}
	s.Tags = fromJaegerTags(j.Tags)
	if kind, ok := s.Tags.Get("span.kind"); ok {
		s.Kind = parseKind(kind)
	}
	if value, ok := s.Tags.Get("error"); ok && value != "false" {
		s.Status = span.StatusError
	}
	for _, l := range j.Logs {
		e := span.Event{Time: time.UnixMicro(l.Timestamp), Tags: fromJaegerTags(l.Fields)}
		e.Name, _ = e.Tags.Get("event")
		s.Events = append(s.Events, e)
	}
	return s, nil
}

func parseKind(kind string) span.Kind {
	for k := span.KindInternal; k <= span.KindConsumer; k++ {
		if k.String() != "" && strings.EqualFold(k.String(), kind) {
			return k
		}
	}
	return span.KindInternal
}

func fromJaegerTags(tags []JaegerTag) span.Tags {
	var out span.Tags
	for _, t := range tags {
		text, ok := t.Value.(string)
		if !ok {
			text = fmt.Sprint(t.Value)
		}
		out = append(out, span.Tag{Key: t.Key, Value: text})
	}
	return out
}
