package productpage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/bookinfo/services/productpage/pyjson"
)

const (
	// inactivity is how long a backend may take to be connected to, and then how long it may send nothing. It is not a
	// limit on the whole answer. That it is shorter than reviews' own timeout is one of Bookinfo's deliberate bugs.
	inactivity = 3 * time.Second
	// total bounds one try all the same, for a backend that sends a byte now and then.
	total = 30 * time.Second

	maxAnswer       = 1 << 20  // bytes of a body
	maxAnswerHeader = 64 << 10 // bytes of the headers
	maxRedirects    = 30       // as the original's client follows
)

// backend is one of the services that productpage asks.
type backend struct {
	name  string // details, reviews or ratings: path prefix and label
	base  string // http://HOST:PORT
	tries int
	// sorry is the error that clients see in place of whatever the backend said.
	sorry string

	client  *http.Client
	results *prometheus.CounterVec
}

// fetch asks for the document of a product. Only 200 gives one; any other status is returned alone, and 500 if there
// was no answer. The error is about a 200 that holds no JSON.
func (b *backend) fetch(ctx context.Context, id string) (status int, document pyjson.Value, err error) {
	var body []byte
	for range b.tries {
		status, body, err = b.get(ctx, id)
		if err != nil {
			status = http.StatusInternalServerError
		}
		if status == http.StatusOK || ctx.Err() != nil {
			break
		}
	}
	b.results.WithLabelValues(b.name, strconv.Itoa(status)).Inc()
	if ctx.Err() != nil {
		return status, pyjson.Value{}, ctx.Err()
	}
	if status != http.StatusOK {
		return status, pyjson.Value{}, nil
	}
	document, err = pyjson.Parse(body)
	if err != nil {
		return status, pyjson.Value{}, fmt.Errorf("%s answers 200 with a body that is %w", b.name, err)
	}
	return status, document, nil
}

// get makes one try. The trace headers and the caller's identity are in ctx; the transports set them.
func (b *backend) get(ctx context.Context, id string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, total)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url(id), nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header["Accept"] = []string{"*/*"}
	req.Header["User-Agent"] = []string{""} // none of our own: the caller's or nothing
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusOK {
		return 0, nil, fmt.Errorf("%s answers %s", b.name, resp.Status)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("%s answers more than %d bytes", b.name, maxAnswer)
	}
	return resp.StatusCode, body, err
}

// url is the address of a product's document. Any id is passed on, as one segment of the path; "." and ".." are
// resolved, as clients do, and end at the backend's own paths.
func (b *backend) url(id string) string {
	switch id {
	case ".":
		return b.base + "/" + b.name + "/"
	case "..":
		return b.base + "/"
	}
	return b.base + "/" + b.name + "/" + url.PathEscape(id)
}

// failure is the document that stands for a backend's failure.
func (b *backend) failure() pyjson.Value {
	return pyjson.Value{}.With("error", pyjson.Text(b.sorry))
}

// transport returns the way to the backends. Unless pool is set each request has a connection of its own, so that
// balancing by connection spreads requests over replicas.
func transport(dial func(ctx context.Context, network, address string) (net.Conn, error), pool bool, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	t := &http.Transport{
		Proxy: proxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, inactivity)
			defer cancel()
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return watched{conn}, nil
		},
		MaxResponseHeaderBytes: maxAnswerHeader,
		// Requests and answers are small: net/http's 4 KiB for each direction of each connection would be a quarter of
		// what a page allocates.
		WriteBufferSize: 1 << 10,
		ReadBufferSize:  1 << 10,
		// A negative number closes the connection after the answer, without telling the backend to: a proxy between
		// keeps its own connections.
		MaxIdleConnsPerHost: -1,
	}
	if pool {
		t.MaxIdleConnsPerHost = 64
		t.IdleConnTimeout = 2 * time.Second // before an idle connection fails for inactivity
	}
	return t
}

// watched is a connection that fails when nothing moves on it for the time of inactivity. A write begins a request, so
// it gives the pending read its full time.
type watched struct{ net.Conn }

func (c watched) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(inactivity)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c watched) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && err == nil {
		err = c.SetReadDeadline(time.Now().Add(inactivity))
	}
	return n, err
}

func followRedirects(_ *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errors.New("too many redirects")
	}
	return nil
}
