package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/bookinfo/services/console/backend"
)

const (
	// requestTimeout bounds one question to the engine, maxAnswer its answer in bytes.
	requestTimeout = 20 * time.Second
	maxAnswer      = 64 << 20
	// atOnce is how many questions the engine gets at the same time.
	atOnce = 4
)

// errNotFound is the engine's 404.
var errNotFound = errors.New("not found")

// client asks the engine by HTTP.
type client struct {
	engine string // for errors: "Jaeger"
	base   *url.URL
	header http.Header
	http   *http.Client
}

func newClient(engine string, base *url.URL, header http.Header) *client {
	return &client{engine: engine, base: base, header: header, http: &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: requestTimeout,
			MaxIdleConnsPerHost:   atOnce,
			IdleConnTimeout:       time.Minute,
			ForceAttemptHTTP2:     true,
		},
	}}
}

// get asks for a path below the engine's address. The error wraps backend.ErrUnavailable, or errNotFound.
func (c *client) get(ctx context.Context, query url.Values, path ...string) ([]byte, error) {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	address := c.base.JoinPath(path...)
	address.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, c.failed(err)
	}
	req.Header.Set("Accept", "application/json")
	maps.Copy(req.Header, c.header)
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // without the address, which may hold a password
			err = wrapped.Err
		}
		return nil, c.failed(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.failed(err)
	case len(body) > maxAnswer:
		return nil, c.failed(fmt.Errorf("its answer to %s has more than %d MiB; ask for fewer traces or a shorter time", address.Path, maxAnswer>>20))
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", c.engine, errNotFound)
	case resp.StatusCode != http.StatusOK:
		return nil, c.failed(fmt.Errorf("it answered %d to %s: %s", resp.StatusCode, address.Path, excerpt(body)))
	}
	return body, nil
}

// failed says which engine, and where it was looked for.
func (c *client) failed(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %s at %s: %w", backend.ErrUnavailable, c.engine, c.base.Redacted(), err)
}

// garbled is the error of an answer that is not what the engine's API says.
func (c *client) garbled(what string, err error) error {
	return c.failed(fmt.Errorf("its answer is no %s: %w", what, err))
}

// excerpt is the beginning of an engine's message, on one line.
func excerpt(body []byte) string {
	text := strings.Join(strings.Fields(string(body[:min(len(body), 1000)])), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}
