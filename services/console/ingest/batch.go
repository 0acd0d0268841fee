// Package ingest turns what senders post (Zipkin v1 and v2, OTLP) into spans, within limits, and serves the routes
// that they post to.
package ingest

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/bookinfo/services/console/span"
)

// Limits bound one post. A zero field takes the value of DefaultLimits.
type Limits struct {
	Body    int64 // bytes as they cross the wire
	Decoded int64 // bytes after decompression
	Spans   int   // spans in one post; more are refused
	Tags    int   // tags, resource attributes, events and links of one span, each; more are cut
	Value   int   // bytes of one tag's value or one name; more are cut
	Key     int   // bytes of one tag's key; longer ones are cut with their value
}

// DefaultLimits are those of a console that says nothing else. A trace of 50,000 spans fits one compressed post.
func DefaultLimits() Limits {
	return Limits{Body: 16 << 20, Decoded: 64 << 20, Spans: 100_000, Tags: 256, Value: 4096, Key: 256}
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	pick := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	if l.Body == 0 {
		l.Body = d.Body
	}
	if l.Decoded == 0 {
		l.Decoded = d.Decoded
	}
	pick(&l.Spans, d.Spans)
	pick(&l.Tags, d.Tags)
	pick(&l.Value, d.Value)
	pick(&l.Key, d.Key)
	return l
}

// Malformed says where a body breaks its format, and why. Nothing of such a body is stored.
type Malformed struct {
	Offset int    // byte in the decompressed body, -1 when not known
	Path   string // such as "[3].tags"
	Reason string
}

func (e *Malformed) Error() string {
	var b strings.Builder
	b.WriteString("malformed body")
	if e.Offset >= 0 {
		fmt.Fprintf(&b, ", byte %d", e.Offset)
	}
	if e.Path != "" {
		b.WriteString(", " + e.Path)
	}
	return b.String() + ": " + e.Reason
}

// TooLarge says which limit a post is over.
type TooLarge struct {
	Limit string
	Max   int64
}

func (e *TooLarge) Error() string { return fmt.Sprintf("over the limit of %d %s", e.Max, e.Limit) }

// Batch is what one post brought. It is filled again and again; its spans, whose text is part of the post's body, are
// valid until then.
type Batch struct {
	Spans []span.Span
	// Rejected spans were left out because their ids are invalid; Reason says why the first one was.
	Rejected int
	Reason   string
	// Cut counts the spans from which a limit cut something.
	Cut int

	tags   []span.Tag
	events []span.Event
	limits Limits
}

func (b *Batch) reset(l Limits) {
	b.Spans, b.Rejected, b.Reason, b.Cut = b.Spans[:0], 0, "", 0
	b.tags, b.events = b.tags[:0], b.events[:0]
	b.limits = l.orDefault()
}

// next returns a new span at the end of the batch.
func (b *Batch) next() (*span.Span, error) {
	if len(b.Spans) >= b.limits.Spans {
		return nil, &TooLarge{"spans in one post", int64(b.limits.Spans)}
	}
	if len(b.Spans) < cap(b.Spans) {
		b.Spans = b.Spans[:len(b.Spans)+1]
		b.Spans[len(b.Spans)-1] = span.Span{}
	} else {
		b.Spans = append(b.Spans, span.Span{})
	}
	return &b.Spans[len(b.Spans)-1], nil
}

func (b *Batch) drop(reason string) {
	b.Spans[len(b.Spans)-1] = span.Span{}
	b.Spans = b.Spans[:len(b.Spans)-1]
	if b.Rejected == 0 {
		b.Reason = reason
	}
	b.Rejected++
}

// finish cuts the span to the limits and derives the fields that the protocols have as tags.
func (b *Batch) finish(s *span.Span, received time.Time) {
	s.Received = received
	cut := len(s.Cut)
	l := &b.limits
	b.cutText(s, "service name", &s.Service)
	b.cutText(s, "span name", &s.Name)
	b.cutText(s, "status message", &s.StatusMessage)
	b.cutText(s, "tracestate", &s.TraceState)
	b.cutText(s, "scope", &s.Scope)
	b.cutText(s, "remote service name", &s.Remote.Service)
	s.Tags = b.cutTags(s, "tags", s.Tags)
	s.Resource = b.cutTags(s, "resource attributes", s.Resource)
	if len(s.Events) > l.Tags {
		s.Events = s.Events[:l.Tags]
		s.Cut = append(s.Cut, "events")
	}
	for i := range s.Events {
		b.cutText(s, "event", &s.Events[i].Name)
		s.Events[i].Tags = b.cutTags(s, "event attributes", s.Events[i].Tags)
	}
	if len(s.Links) > l.Tags {
		s.Links = s.Links[:l.Tags]
		s.Cut = append(s.Cut, "links")
	}
	for i := range s.Links {
		s.Links[i].Tags = b.cutTags(s, "link attributes", s.Links[i].Tags)
	}
	if len(s.Cut) > cut {
		b.Cut++
	}
	derive(s)
}

func (b *Batch) cutText(s *span.Span, what string, text *string) {
	if len(*text) > b.limits.Value {
		*text = truncate(*text, b.limits.Value)
		s.Cut = append(s.Cut, what)
	}
}

func (b *Batch) cutTags(s *span.Span, what string, tags span.Tags) span.Tags {
	l := &b.limits
	if len(tags) > l.Tags {
		tags = tags[:l.Tags]
		s.Cut = append(s.Cut, what)
	}
	for i := range tags {
		t := &tags[i]
		if len(t.Key) > l.Key {
			t.Key = truncate(t.Key, l.Key)
			s.Cut = append(s.Cut, "key "+t.Key)
		}
		if len(t.Value) > l.Value {
			t.Value = truncate(t.Value, l.Value)
			s.Cut = append(s.Cut, "value of "+t.Key)
		}
	}
	return tags
}

// truncate cuts at the beginning of a character.
func truncate(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// derive fills version, address, server name and the other side from tags, where the protocol has no field for them.
func derive(s *span.Span) {
	var version, nodeID, hostName, pod string
	remote := s.Remote
	look := func(tags span.Tags, own bool) {
		for i := range tags {
			v := tags[i].Value
			switch tags[i].Key {
			case "istio.canonical_revision":
				s.Version = v
			case "service.version":
				version = v
			case "node_id":
				nodeID = v
			case "host.name":
				hostName = v
			case "k8s.pod.name":
				pod = v
			case "k8s.pod.ip", "host.ip", "net.host.ip":
				if s.IP == "" && strings.IndexByte(v, '[') < 0 {
					s.IP = v
				}
			case "peer.service":
				if own && remote.Service == "" {
					s.Remote.Service = v
				}
			case "network.peer.address", "net.peer.ip", "net.sock.peer.addr":
				if own && remote.IP == "" {
					s.Remote.IP = v
				}
			case "network.peer.port", "net.peer.port", "net.sock.peer.port":
				if own && remote.Port == 0 {
					s.Remote.Port = port(v)
				}
			}
		}
	}
	look(s.Resource, false)
	look(s.Tags, true)
	if s.Version == "" {
		s.Version = version
	}
	s.Host = hostName
	if s.Host == "" {
		s.Host = pod
	}
	// Istio's node id: type~address~pod.namespace~domain.
	if nodeID != "" {
		if _, rest, ok := strings.Cut(nodeID, "~"); ok {
			address, rest, _ := strings.Cut(rest, "~")
			name, _, _ := strings.Cut(rest, "~")
			if s.IP == "" {
				s.IP = address
			}
			if s.Host == "" {
				if i := strings.LastIndexByte(name, '.'); i > 0 {
					name = name[:i]
				}
				s.Host = name
			}
		}
	}
	const longest = 253 // of a DNS name
	for _, text := range [...]*string{&s.Version, &s.IP, &s.Host, &s.Remote.IP} {
		if len(*text) > longest {
			*text = truncate(*text, longest)
		}
	}
}

func port(s string) (n int) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || n > 65535 {
			return 0
		}
		n = n*10 + int(s[i]-'0')
	}
	if n > 65535 {
		return 0
	}
	return n
}
