package check

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// call is a request that the service under test made to its upstream.
type call struct {
	path   string
	header map[string][]string // names in lower case
}

// upstream stands in for what the service under test calls: it answers everything and writes down every call.
type upstream struct {
	listener net.Listener
	server   *http.Server
	answer   string // body of an answer

	mu        sync.Mutex
	calls     []call
	arrived   chan struct{} // one value a call; never blocks
	behaviour behaviour
	expect    int           // how many calls holdsAll waits for
	released  chan struct{} // closed when they are there
}

// hold bounds how long the upstream keeps a call waiting for the others, since a service that works on one request at a
// time never makes them.
const hold = time.Second

// redirected is the path that the upstream sends callers to.
const redirected = "/redirected-by-the-check"

// startUpstream listens on address, HTTP/1.1 and HTTP/2 without TLS.
func startUpstream(ctx context.Context, address, answer string) (*upstream, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("stand in for the upstream: %w", err)
	}
	u := &upstream{listener: listener, answer: answer, arrived: make(chan struct{}, 1<<16)}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	u.server = &http.Server{
		Handler: u, Protocols: protocols, MaxHeaderBytes: 1 << 20,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		ErrorLog: log.New(io.Discard, "", 0), // what a broken service sends is in the calls, or they are missing
	}
	go func() { _ = u.server.Serve(listener) }()
	return u, nil
}

func (u *upstream) close() { _ = u.server.Close() }

// fill replaces {url}, {host}, {port} and {hostport} by where the upstream is.
func (u *upstream) fill(template string) string {
	address, _ := u.listener.Addr().(*net.TCPAddr)
	host, port := address.IP.String(), strconv.Itoa(address.Port)
	if address.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	hostport := net.JoinHostPort(host, port)
	return strings.NewReplacer("{url}", "http://"+hostport, "{hostport}", hostport, "{host}", host, "{port}", port).Replace(template)
}

// prepare forgets the calls so far and sets what is done with the next ones, of which expect are awaited.
func (u *upstream) prepare(b behaviour, expect int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls, u.behaviour, u.expect, u.released = nil, b, expect, make(chan struct{})
	for {
		select {
		case <-u.arrived:
		default:
			return
		}
	}
}

// take returns the calls since prepare, once there are at least want or nothing more has come for the time of grace: a
// service may answer first and call afterwards.
func (u *upstream) take(ctx context.Context, want int, grace time.Duration) []call {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for {
		u.mu.Lock()
		calls := append([]call(nil), u.calls...)
		u.mu.Unlock()
		if len(calls) >= want {
			return calls
		}
		select {
		case <-u.arrived:
		case <-timer.C:
			return calls
		case <-ctx.Done():
			return calls
		}
	}
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	c := call{path: r.URL.Path, header: map[string][]string{}}
	for name, lines := range r.Header {
		c.header[strings.ToLower(name)] = lines
	}
	u.mu.Lock()
	u.calls = append(u.calls, c)
	b, released := u.behaviour, u.released
	if b == holdsAll && len(u.calls) == u.expect {
		close(released)
	}
	u.mu.Unlock()
	u.arrived <- struct{}{}

	if b == holdsAll {
		timeout := time.NewTimer(hold)
		defer timeout.Stop()
		select {
		case <-released:
		case <-timeout.C:
		case <-r.Context().Done():
		}
	}
	switch {
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		answerGRPC(w, b == fails)
	case b == fails:
		http.Error(w, "upstream fails as the check wants", http.StatusServiceUnavailable)
	case b == redirects && r.URL.Path != redirected:
		http.Redirect(w, r, redirected, http.StatusFound)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, u.answer)
	}
}

// answerGRPC sends one empty message, which is a valid message of every type, or status 14 for unavailable.
func answerGRPC(w http.ResponseWriter, fail bool) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	if fail {
		w.Header().Set("Grpc-Status", "14")
		return
	}
	_, _ = w.Write(make([]byte, 5))
	w.Header().Set("Grpc-Status", "0")
}
