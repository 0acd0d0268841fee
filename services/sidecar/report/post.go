package report

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// poster posts reports over HTTP/1.1.
type poster struct {
	url       *url.URL
	header    http.Header
	transport http.RoundTripper
}

// newPoster returns a poster whose requests carry what those of Envoy's own HTTP client carry.
func newPoster(u *url.URL, contentType, userAgent string, o *Options) *poster {
	header := http.Header{
		"Content-Type":                   {contentType},
		"User-Agent":                     {userAgent}, // empty: net/http then sends none
		"X-Envoy-Internal":               {"true"},
		"X-Envoy-Expected-Rq-Timeout-Ms": {strconv.FormatInt(o.Timeout.Milliseconds(), 10)},
	}
	if o.Address != "" {
		header.Set("X-Forwarded-For", o.Address)
	}
	if password, ok := u.User.Password(); ok {
		credentials := u.User.Username() + ":" + password
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
	}
	for name, values := range o.Headers {
		header[http.CanonicalHeaderKey(name)] = values
	}
	return &poster{url: u, header: header, transport: &http.Transport{
		DialContext:            (&net.Dialer{Timeout: o.Timeout}).DialContext,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        time.Minute,
		TLSHandshakeTimeout:    o.Timeout,
		ResponseHeaderTimeout:  o.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
		WriteBufferSize:        32 << 10, // head and body of a report in one system call
	}}
}

// post sends the parts as one body, chunked as Envoy sends it. taken tells which status means that the collector has
// the spans. Redirects are not followed: Envoy would not.
func (p *poster) post(ctx context.Context, taken func(status int) bool, parts ...[]byte) error {
	body := newBody(parts)
	r := (&http.Request{
		Method: http.MethodPost, URL: p.url, Host: p.url.Host, Header: p.header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: body, ContentLength: -1,
	}).WithContext(ctx)
	response, err := p.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	reason, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", errBrokenOff, err)
	}
	if taken(response.StatusCode) {
		select {
		case <-body.closed:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the report was taken before its end: %w", ctx.Err())
		}
	}
	return &refusal{status: response.StatusCode, reason: firstLine(response.Status, reason)}
}

// body is a request body that tells when the transport has let go of it.
type body struct {
	io.Reader
	closed chan struct{}
	once   sync.Once
}

func newBody(parts [][]byte) *body {
	readers := make([]io.Reader, len(parts))
	for i := range parts {
		readers[i] = bytes.NewReader(parts[i])
	}
	return &body{Reader: io.MultiReader(readers...), closed: make(chan struct{})}
}

func (b *body) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
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
	if p == nil {
		return
	}
	if t, ok := p.transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}
