package check

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/bookinfo/propagation"
)

// Verdict is what became of one header between the request to the service and its call to the upstream.
type Verdict string

// The verdicts, from none to worst.
const (
	Absent     Verdict = ""           // did not come and did not go
	Kept       Verdict = "kept"       // byte for byte
	Changed    Verdict = "changed"    // another value
	Lost       Verdict = "lost"       // came with a value and did not go
	Emptied    Verdict = "empty"      // went without a value
	Duplicated Verdict = "duplicated" // went on several lines, or several values in one
	Invented   Verdict = "invented"   // did not come, and went
	Leaked     Verdict = "leaked"     // went with the value of another request
)

// cell is a header in one case.
type cell struct {
	Verdict Verdict  `json:"verdict"`
	Sent    []string `json:"sent,omitempty"`
	Got     []string `json:"got,omitempty"`
}

// exchange is one request of a case with the calls that it caused.
type exchange struct {
	sent   map[string][]string // names in lower case
	status string              // "200", "grpc 14"
	err    error               // no answer
	calls  []call
}

// outcome is what happened in one case.
type outcome struct {
	probe
	skipped   string // why, or empty
	exchanges []exchange
	cells     map[string]cell // the worst for each header
}

// prober asks the service under test.
type prober struct {
	url      string
	protocol string // http, h2c or grpc
	message  string // body of gRPC calls: one message
	upstream *upstream
	http1    *http.Client
	http2    *http.Client
	grace    time.Duration // how long to wait for a call that the service makes after it answered
	usual    int           // calls that one request causes
}

func newProber(url, protocol, message string, up *upstream, timeout, grace time.Duration) *prober {
	client := func(h2 bool) *http.Client {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!h2)
		protocols.SetUnencryptedHTTP2(h2)
		return &http.Client{
			Timeout:       timeout,
			Transport:     &http.Transport{Protocols: protocols, DisableCompression: true, MaxResponseHeaderBytes: 1 << 20},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &prober{url: url, protocol: protocol, message: message, upstream: up, http1: client(false), http2: client(true), grace: grace}
}

func (p *prober) close() {
	p.http1.CloseIdleConnections()
	p.http2.CloseIdleConnections()
}

// learn asks once without any trace header, to know what the service does when all is well.
func (p *prober) learn(ctx context.Context) exchange {
	p.upstream.prepare(answers, 0)
	ex := p.send(ctx, request{})
	ex.calls = p.upstream.take(ctx, math.MaxInt, p.grace) // all that come in time
	p.usual = len(ex.calls)
	return ex
}

// run plays one case.
func (p *prober) run(ctx context.Context, pr probe) outcome {
	out := outcome{probe: pr}
	if (p.protocol != "http" && pr.name == "mixed-case") || (p.protocol != "http" && pr.name == "h2c") || (p.protocol == "grpc" && (pr.name == "post" || pr.name == "redirect")) {
		out.skipped = "says nothing over " + p.protocol
		return out
	}
	if pr.upstream == holdsAll {
		out.exchanges = p.atOnce(ctx, pr)
	} else {
		for _, r := range pr.requests {
			p.upstream.prepare(pr.upstream, 0)
			ex := p.send(ctx, r)
			want := p.usual
			if pr.upstream == redirects {
				want++
			}
			if ex.err == nil || !pr.optional {
				ex.calls = p.upstream.take(ctx, want, p.grace)
			}
			out.exchanges = append(out.exchanges, ex)
		}
	}
	if pr.optional {
		out.skipped = unanswered(pr, out.exchanges[0])
	}
	return out
}

// unanswered tells why an optional case says nothing about this service.
func unanswered(pr probe, ex exchange) string {
	switch {
	case ex.err != nil && pr.name == "h2c":
		return "the service does not speak HTTP/2 without TLS"
	case ex.err != nil:
		return ex.err.Error()
	case len(ex.calls) == 0:
		return "the service makes no call then (status " + ex.status + ")"
	case pr.upstream == redirects && !slices.ContainsFunc(ex.calls, func(c call) bool { return c.path == redirected }):
		return "the service does not follow redirects"
	}
	return ""
}

// atOnce sends all requests of a case together. Calls are told apart by the values they carry.
func (p *prober) atOnce(ctx context.Context, pr probe) []exchange {
	want := p.usual * len(pr.requests)
	p.upstream.prepare(holdsAll, want)
	exchanges := make([]exchange, len(pr.requests))
	var wg sync.WaitGroup
	for i, r := range pr.requests {
		wg.Go(func() { exchanges[i] = p.send(ctx, r) })
	}
	wg.Wait()
	for _, c := range p.upstream.take(ctx, want, p.grace) {
		best, most := 0, -1
		for i, ex := range exchanges {
			same := 0
			for name, lines := range ex.sent {
				if slices.Equal(c.header[name], lines) {
					same++
				}
			}
			same += sharedTraces(ex.sent, c.header)
			// A request that has all of its calls gets another only when every request has.
			if len(ex.calls) >= p.usual {
				same -= len(headerNames())
			}
			if i == 0 || same > most || same == most && len(ex.calls) < len(exchanges[best].calls) {
				best, most = i, same
			}
		}
		exchanges[best].calls = append(exchanges[best].calls, c)
	}
	return exchanges
}

// sharedTraces counts the contexts of a call that continue one of the request's.
func sharedTraces(sent, got map[string][]string) int {
	theirs, _ := contexts(sent)
	ours, _ := contexts(got)
	n := 0
	for _, a := range ours {
		if slices.ContainsFunc(theirs, func(b spanContext) bool { return sameTrace(a.trace, b.trace) }) {
			n++
		}
	}
	return n
}

func (p *prober) send(ctx context.Context, r request) exchange {
	ex := exchange{sent: map[string][]string{}}
	for _, l := range r.lines {
		name := strings.ToLower(l.name)
		ex.sent[name] = append(ex.sent[name], l.value)
	}
	method, body, client := r.method, r.body, p.http1
	if method == "" {
		method = http.MethodGet
	}
	if r.h2c || p.protocol != "http" {
		client = p.http2
	}
	if p.protocol == "grpc" {
		method, body = http.MethodPost, frame(p.message)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url, strings.NewReader(body))
	if err != nil {
		ex.err = err
		return ex
	}
	if body == "" {
		req.Body = http.NoBody
	}
	// The map is written to directly: Set and Add would change the case of the names.
	for _, l := range r.lines {
		req.Header[l.name] = append(req.Header[l.name], l.value)
	}
	req.Header.Set("User-Agent", "bookinfo-check")
	switch {
	case p.protocol == "grpc":
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	case body != "":
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		ex.err = err
		return ex
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 16<<20)); err != nil {
		ex.err = fmt.Errorf("read the answer: %w", err)
		return ex
	}
	ex.status = fmt.Sprint(resp.StatusCode)
	if p.protocol == "grpc" {
		ex.status = "grpc " + resp.Trailer.Get("Grpc-Status") + resp.Header.Get("Grpc-Status") // the latter without a body
	}
	return ex
}

// frame is a message as gRPC sends it: uncompressed, behind its length.
func frame(message string) string {
	n := len(message)
	return string([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + message
}

// judge compares every call of the case with its request. owner tells which case or request a value was sent in.
func (o *outcome) judge(owner map[string]string) {
	o.cells = map[string]cell{}
	names := headerNames()
	for i, ex := range o.exchanges {
		for _, name := range names {
			for _, c := range ex.calls {
				got := cell{Sent: ex.sent[name], Got: c.header[name]}
				got.Verdict = compare(name, got.Sent, got.Got)
				if got.Verdict == Lost && slices.Contains(hopHeaders(), name) {
					got.Verdict = Absent // as it should be
				}
				if got.Verdict == Changed || got.Verdict == Invented {
					if from := owner[got.Got[0]]; from != "" && from != owned(o.name, i) {
						got.Verdict = Leaked
					}
				}
				if worst, seen := o.cells[name]; !seen || worse(got.Verdict, worst.Verdict) {
					o.cells[name] = got
				}
			}
		}
	}
}

func owned(name string, request int) string { return fmt.Sprintf("%s %d", name, request) }

// owners lists who sent which value. Values that several could have sent are left out.
func owners(list []probe) map[string]string {
	owner := map[string]string{}
	for _, pr := range list {
		for i, r := range pr.requests {
			for _, l := range r.lines {
				if len(l.value) >= 16 {
					owner[l.value] = owned(pr.name, i)
				}
			}
		}
	}
	return owner
}

// headerNames lists the headers that are compared: those of the table and the ones of a hop.
func headerNames() []string {
	var names []string
	for _, h := range propagation.Table() {
		names = append(names, h.Name)
	}
	return append(names, hopHeaders()...)
}

func hopHeaders() []string {
	return []string{"x-envoy-attempt-count", "x-envoy-decorator-operation", "x-envoy-peer-metadata-id"}
}

// compare tells what became of a header that came on the lines sent and went on the lines got.
func compare(name string, sent, got []string) Verdict {
	want := ""
	switch {
	case len(sent) == 0:
	case name == "tracestate":
		want = joined(sent)
	default:
		want = sent[0]
	}
	value := joined(got)
	switch {
	case len(got) == 0 && want == "":
		return Absent
	case len(got) == 0:
		return Lost
	case value == "" && name != "tracestate": // an empty tracestate is allowed and harmless
		return Emptied
	case value == "":
		return Absent
	case want == "":
		return Invented
	case name == "tracestate" && value == want:
		return Kept
	case len(got) > 1, len(sent) > 1 && value == joined(sent):
		return Duplicated
	case got[0] == want:
		return Kept
	}
	return Changed
}

// joined is the value of a list header that came on several lines, without blanks around its members.
func joined(lines []string) string {
	var members []string
	for _, l := range lines {
		for m := range strings.SplitSeq(l, ",") {
			if m = strings.TrimSpace(m); m != "" {
				members = append(members, m)
			}
		}
	}
	return strings.Join(members, ",")
}

func worse(a, b Verdict) bool {
	order := []Verdict{Absent, Kept, Changed, Lost, Emptied, Duplicated, Invented, Leaked}
	return slices.Index(order, a) > slices.Index(order, b)
}
