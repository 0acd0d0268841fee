package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"example.com/bookinfo/services/console/account"
	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/journal"
	"example.com/bookinfo/services/console/span"
)

// Format is what a body is written in. The numbers stand in journals.
type Format byte

// The formats that are taken.
const (
	ZipkinV2JSON Format = iota + 1
	ZipkinV2Proto
	ZipkinV1JSON
	OTLPProto
	OTLPJSON
	OTLPGRPC
	JaegerJSON
)

// String names the format as the push log shows it.
func (f Format) String() string {
	names := [...]string{"", "zipkin v2 json", "zipkin v2 protobuf", "zipkin v1 json", "otlp http protobuf",
		"otlp http json", "otlp grpc", "jaeger json"}
	if int(f) >= len(names) {
		return "unknown"
	}
	return names[f]
}

// Decode fills the batch from a body of that format.
func (b *Batch) Decode(f Format, body string, received time.Time, l Limits) error {
	switch f {
	case ZipkinV2JSON:
		return b.ZipkinJSON(body, received, l)
	case ZipkinV2Proto:
		return b.ZipkinProto(body, received, l)
	case ZipkinV1JSON:
		return b.ZipkinV1JSON(body, received, l)
	case OTLPProto, OTLPGRPC:
		return b.OTLP(body, received, l)
	case OTLPJSON:
		return b.OTLPJSON(body, received, l)
	case JaegerJSON:
		return b.Jaeger(body, received, l)
	}
	return &Malformed{Offset: -1, Reason: "a format that this version does not know"}
}

// Jaeger reads the JSON of Jaeger's query API, as its UI saves it.
func (b *Batch) Jaeger(body string, received time.Time, l Limits) error {
	b.reset(l)
	spans, err := format.ParseJaeger(strings.NewReader(body))
	if err != nil {
		return &Malformed{Offset: -1, Reason: err.Error()}
	}
	for i := range spans {
		s, err := b.next()
		if err != nil {
			b.Spans = b.Spans[:0]
			return err
		}
		*s = spans[i]
		b.accept(s, received)
	}
	return nil
}

// Store takes spans; they are not used after it returns.
type Store interface{ Append(spans []span.Span) }

// Journal keeps posts on disk. The frame's body is not used after Append returns.
type Journal interface{ Append(journal.Frame) }

// Receiver takes posts in: it decodes, counts against the quota, journals and stores, in this order, and answers
// when all is done.
type Receiver struct {
	Store   Store
	Account *account.Account
	// Journal may be nil.
	Journal Journal
	Limits  Limits
	Now     func() time.Time
	Metrics *Metrics
	// Token, when set, must come as a bearer token.
	Token string
	// AtOnce is how many large posts are decoded and stored at the same time; the others wait. 0 leaves one processor
	// to those who ask, where there are two or more: senders that post as fast as they can would have them all.
	AtOnce int

	// commit is held to read while a post is counted and journalled, to write while both are saved together.
	commit sync.RWMutex

	once   sync.Once
	places chan struct{}

	texts  texts
	idleMu sync.Mutex
	idle   []*Batch
}

// smallPost is the size up to which a post does not wait for a place: it is done before waiting would have paid.
const smallPost = 32 << 10

// enter waits for a place among the posts that are worked on, and returns what gives it back.
func (r *Receiver) enter(bytes int) (leave func()) {
	if bytes <= smallPost {
		return func() {}
	}
	r.once.Do(func() {
		n := r.AtOnce
		if n <= 0 {
			n = max(runtime.GOMAXPROCS(0)-1, 1)
		}
		r.places = make(chan struct{}, n)
	})
	r.places <- struct{}{}
	return func() { <-r.places }
}

// Commit calls save while no post stands between the quota and the journal.
func (r *Receiver) Commit(save func()) {
	r.commit.Lock()
	defer r.commit.Unlock()
	save()
}

// post is one request of a sender.
type post struct {
	format        Format
	sender, agent string
	wire          int64 // bytes as they came
	body          string
}

// outcome is what became of a post that was taken.
type outcome struct {
	spans    int
	rejected int
	reason   string
}

// take stores a post or returns why not: *Malformed, *TooLarge, or account.ErrQuota.
func (r *Receiver) take(p post) (outcome, error) {
	defer r.enter(len(p.body))()
	b := r.batch()
	defer r.release(b)
	received := r.Now()
	if err := b.Decode(p.format, p.body, received, r.Limits); err != nil {
		return outcome{}, err
	}
	out := outcome{len(b.Spans), b.Rejected, b.Reason}
	r.commit.RLock()
	err := r.Account.Take(int64(len(b.Spans)), p.wire)
	if err == nil && r.Journal != nil && len(b.Spans) > 0 {
		r.Journal.Append(journal.Frame{Format: byte(p.format), Received: received, Wire: p.wire, Body: p.body})
	}
	r.commit.RUnlock()
	if err != nil {
		r.Metrics.refused.Add(float64(len(b.Spans)))
		return out, err
	}
	r.Store.Append(b.Spans)
	r.Metrics.took(p.format, len(b.Spans), b.Cut, b.Rejected, p.wire)
	out.spans = len(b.Spans)
	r.logged(p, out, b.Cut, nil)
	return out, nil
}

// keepBatch is the size up to which a batch is used again, and keepIdle how many wait for that. A sync.Pool would be
// emptied by the collector, which runs often near the memory limit, when growing batches anew costs most.
const (
	keepBatch = 20_000
	keepIdle  = 8
)

func (r *Receiver) batch() *Batch {
	r.idleMu.Lock()
	defer r.idleMu.Unlock()
	n := len(r.idle)
	if n == 0 {
		return &Batch{}
	}
	b := r.idle[n-1]
	r.idle = r.idle[:n-1]
	return b
}

func (r *Receiver) release(b *Batch) {
	if cap(b.Spans) > keepBatch {
		return
	}
	// What waits must not hold the text of the last post.
	clear(b.Spans)
	clear(b.tags)
	clear(b.events)
	r.idleMu.Lock()
	defer r.idleMu.Unlock()
	if len(r.idle) < keepIdle {
		r.idle = append(r.idle, b)
	}
}

// Replay stores a post that a journal brings back. Its spans count as received when they came first.
func (r *Receiver) Replay(f journal.Frame, block uint64) {
	b := &Batch{}
	if b.Decode(Format(f.Format), f.Body, f.Received, r.Limits) != nil {
		return
	}
	r.Account.Replay(f.Received, int64(len(b.Spans)), f.Wire, block)
	r.Store.Append(b.Spans)
}

// Import takes in a file: Zipkin JSON (v2 or v1), OTLP JSON, also one object a line as the OpenTelemetry Collector
// writes, or Jaeger JSON.
func (r *Receiver) Import(_ context.Context, file io.Reader) ([]span.TraceID, error) {
	limit := r.Limits.orDefault().Decoded
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &TooLarge{"bytes", limit}
	}
	var ids []span.TraceID
	seen := map[span.TraceID]bool{}
	posts, err := r.split(string(data))
	if err != nil {
		return nil, err
	}
	// Decode all before storing any, so that a broken file leaves nothing behind.
	for _, p := range posts {
		var b Batch
		if err := b.Decode(p.format, p.body, r.Now(), r.Limits); err != nil {
			return nil, err
		}
		for i := range b.Spans {
			if id := b.Spans[i].TraceID; !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil, &Malformed{Offset: -1, Reason: "the file holds no span"}
	}
	for _, p := range posts {
		if _, err := r.take(p); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// split tells what a file is from its first bytes.
func (r *Receiver) split(data string) ([]post, error) {
	trimmed := strings.TrimLeft(strings.TrimPrefix(data, "\uFEFF"), " \t\r\n")
	one := func(f Format, body string) post {
		return post{format: f, sender: "import", wire: int64(len(body)), body: body}
	}
	switch {
	case strings.HasPrefix(trimmed, "["):
		f := ZipkinV2JSON
		if strings.Contains(trimmed, `"binaryAnnotations"`) {
			f = ZipkinV1JSON
		}
		return []post{one(f, trimmed)}, nil
	case !strings.HasPrefix(trimmed, "{"):
		return nil, &Malformed{Offset: 0, Reason: "want JSON: a Zipkin array, an OTLP object, or a Jaeger object"}
	case strings.Contains(trimmed, `"resourceSpans"`) || strings.Contains(trimmed, `"resource_spans"`):
		var posts []post
		if lines := strings.Split(strings.TrimRight(trimmed, " \t\r\n"), "\n"); oneObjectEach(lines) {
			for _, line := range lines {
				posts = append(posts, one(OTLPJSON, line))
			}
			return posts, nil
		}
		return []post{one(OTLPJSON, trimmed)}, nil
	}
	return []post{one(JaegerJSON, trimmed)}, nil
}

func oneObjectEach(lines []string) bool {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}") || len(line) < 10 {
			return false
		}
	}
	return true
}

// status is the one place where a post's fate becomes an HTTP status.
func status(err error) int {
	var tooLarge *TooLarge
	var maxBytes *http.MaxBytesError
	var unknown *unsupported
	switch {
	case errors.Is(err, account.ErrQuota):
		return http.StatusNotAcceptable
	case errors.As(err, &tooLarge), errors.As(err, &maxBytes):
		return http.StatusRequestEntityTooLarge
	case errors.As(err, &unknown):
		return http.StatusUnsupportedMediaType
	case errors.Is(err, errToken):
		return http.StatusUnauthorized
	}
	return http.StatusBadRequest
}

type unsupported struct{ what string }

func (e *unsupported) Error() string { return e.what }

var errToken = errors.New("ingest wants the bearer token that the console was started with")

// logged writes the push log's line and counts.
func (r *Receiver) logged(p post, out outcome, cut int, err error) {
	line := backend.Push{Time: r.Now(), Sender: p.sender, Agent: p.agent, Protocol: p.format.String(), Bytes: p.wire, Spans: out.spans}
	switch {
	case err == nil && (p.format == OTLPProto || p.format == OTLPJSON || p.format == OTLPGRPC):
		line.Status = http.StatusOK
	case err == nil:
		line.Status = http.StatusAccepted
	case p.format == OTLPGRPC && errors.Is(err, account.ErrQuota):
		line.Status = http.StatusTooManyRequests
	default:
		line.Status = status(err)
	}
	if err != nil {
		line.Error = err.Error()
	} else if out.rejected > 0 {
		line.Error = fmt.Sprintf("%d spans rejected: %s", out.rejected, out.reason)
	}
	r.Account.Push(line, cut, IsMalformed(err))
	r.Metrics.answered(p.format, line.Status, err)
}
