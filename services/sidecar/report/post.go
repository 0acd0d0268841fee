package report

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/upstream"
	"example.com/bookinfo/services/sidecar/wire"
)

// poster posts reports over HTTP/1.1, as the proxy itself asks endpoints: a report is made for every few requests, and
// net/http's client would take more time for it than the requests did.
type poster struct {
	target  upstream.Target
	request wire.Request
	path    string
	timeout time.Duration
	pools   *upstream.Pools // made for the first report

	// ask sends one report; [poster.overWire] outside of tests.
	ask func(ctx context.Context, parts [][]byte) (answer, error)
}

// answer is a collector's.
type answer struct {
	status int
	body   []byte
}

// newPoster returns a poster whose requests carry what those of Envoy's own HTTP client carry, in its order.
func newPoster(u *url.URL, contentType, userAgent string, o *Options) *poster {
	fields := header.Fields{{Name: "content-type", Value: contentType}}
	if userAgent != "" {
		fields.Add("user-agent", userAgent)
	}
	fields.Add("x-envoy-internal", "true")
	if o.Address != "" {
		fields.Add("x-forwarded-for", o.Address)
	}
	fields.Add("x-envoy-expected-rq-timeout-ms", strconv.FormatInt(o.Timeout.Milliseconds(), 10))
	if password, ok := u.User.Password(); ok {
		credentials := u.User.Username() + ":" + password
		fields.Add("authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
	}
	for _, name := range slices.Sorted(maps.Keys(o.Headers)) {
		fields.Del(strings.ToLower(name))
		for _, value := range o.Headers[name] {
			fields.Add(strings.ToLower(name), value)
		}
	}
	p := &poster{
		target:  upstream.Target{Addr: u.Host, TLS: u.Scheme == "https", SNI: u.Hostname()},
		request: wire.Request{Method: http.MethodPost, Host: u.Host, Fields: fields, Length: wire.Chunked},
		path:    u.RequestURI(), timeout: o.Timeout,
	}
	if u.Port() == "" {
		port := map[bool]string{false: "80", true: "443"}[p.target.TLS]
		p.target.Addr = net.JoinHostPort(u.Hostname(), port)
	}
	p.ask = p.overWire
	return p
}

// post sends the parts as one body, chunked as Envoy sends it. taken tells which status means that the collector has
// the spans. Redirects are not followed: Envoy would not.
func (p *poster) post(ctx context.Context, taken func(status int) bool, parts ...[]byte) error {
	a, err := p.ask(ctx, parts)
	switch {
	case err != nil:
		return err
	case taken(a.status):
		return nil
	}
	return &refusal{status: a.status, reason: firstLine(fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)), a.body)}
}

// overWire sends a report over the connection that was kept, if that is still open, or a new one. A kept one that the
// collector closed without having read the report is replaced once: that is no second try.
func (p *poster) overWire(ctx context.Context, parts [][]byte) (answer, error) {
	if p.pools == nil {
		p.pools = upstream.NewPools(nil)
	}
	// Idle does not ask the system about a connection used just before, and a report must not be lost for that.
	if conn := p.pools.Idle(p.target, 0); conn != nil && !conn.Alive() {
		conn.Close()
	} else if conn != nil {
		a, err := p.exchange(ctx, conn, parts)
		if err == nil || ctx.Err() != nil || !conn.Unread(err) {
			return a, err
		}
	}
	conn, err := p.pools.Dial(ctx, p.target, p.timeout)
	if err != nil {
		return answer{}, err
	}
	return p.exchange(ctx, conn, parts)
}

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// exchange sends a report over conn and reads the answer. Only a connection that is fit for the next one is kept.
func (p *poster) exchange(ctx context.Context, conn *upstream.Conn, parts [][]byte) (a answer, err error) {
	cut := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	keep := false
	defer func() {
		if cut() && keep {
			conn.Release()
			return
		}
		conn.Close()
		if err != nil && ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	conn.W.Request(&p.request, p.path)
	for _, part := range parts {
		_ = conn.W.Data(part) // shows at the end
	}
	sent := conn.W.End(nil)
	var response wire.Response
	for response.Status < 200 {
		if err := conn.R.ReadResponse(&response, p.request.Method); err != nil {
			return answer{}, errors.Join(sent, err)
		}
	}
	body := conn.R.Body(response.Length)
	text, err := io.ReadAll(io.LimitReader(&body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errBrokenOff, err)
	}
	keep = sent == nil && body.Done() && !response.Close
	return answer{response.Status, text}, nil
}

// firstLine returns the status with as much of the body as a log line bears.
func firstLine(status string, body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	if line == "" {
		return status
	}
	return status + ": " + line
}

func (p *poster) close() {
	if p != nil && p.pools != nil {
		p.pools.Close()
	}
}
