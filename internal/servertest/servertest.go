// Package servertest starts the entry points of the services in tests, on free ports, and holds load on them.
package servertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookinfo/internal/settings"
)

// Entry is the run function of a service's command.
type Entry func(ctx context.Context, args []string, lookup settings.Lookup, stdout io.Writer) error

// Instance is a service that a test started.
type Instance struct {
	URL  string // without a slash at the end
	Addr string // host:port

	cancel context.CancelFunc
	ended  chan error
	output *output
}

// Start runs an entry point with the given environment, to which it adds LISTEN_HOST=127.0.0.1 and PORT=0 unless they
// are set, and waits until it listens. The service is stopped at the end of the test, which fails if that is an error.
func Start(t testing.TB, run Entry, env map[string]string) *Instance {
	t.Helper()
	environment := map[string]string{"LISTEN_HOST": "127.0.0.1", "PORT": "0"}
	maps.Copy(environment, env)
	ctx, cancel := context.WithCancel(t.Context())
	i := &Instance{cancel: cancel, ended: make(chan error, 1), output: newOutput()}
	go func() { i.ended <- run(ctx, nil, settings.Map(environment), i.output) }()

	select {
	case i.Addr = <-i.output.address:
	case err := <-i.ended:
		t.Fatalf("the service ended at once: %v\n%s", err, i.Log())
	case <-time.After(10 * time.Second):
		t.Fatalf("the service does not listen:\n%s", i.Log())
	}
	i.URL = "http://" + i.Addr
	t.Cleanup(func() {
		if err := i.Stop(); err != nil {
			t.Errorf("stop %s: %v", i.Addr, err)
		}
	})
	return i
}

// Stop asks the service to stop, as SIGTERM does, and returns what its run function did. Later calls return nil.
func (i *Instance) Stop() error {
	i.cancel()
	err, ended := <-i.ended
	if ended {
		close(i.ended)
	}
	return err
}

// Log is what the service has written so far.
func (i *Instance) Log() string { return i.output.String() }

// Get asks the service for a path and returns the answer with its body read.
func (i *Instance) Get(t testing.TB, path string) (*http.Response, string) {
	t.Helper()
	return i.Do(t, http.MethodGet, path, nil, "")
}

// Do sends a request, with the given headers spelt as they are, and returns the answer with its body read. Redirects
// are not followed.
func (i *Instance) Do(t testing.TB, method, path string, header http.Header, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, i.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(got)
}

// output keeps what a service writes and finds the address in it.
type output struct {
	mu      sync.Mutex
	written bytes.Buffer
	address chan string
	lines   *io.PipeWriter
}

func newOutput() *output {
	reader, writer := io.Pipe()
	o := &output{address: make(chan string, 1), lines: writer}
	go func() {
		scanner := bufio.NewScanner(reader)
		for scanner.Scan() {
			var line struct{ Msg, Address string }
			if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Msg == "listening" {
				o.address <- line.Address
				break
			}
		}
		_, _ = io.Copy(io.Discard, reader)
	}()
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	o.written.Write(p)
	o.mu.Unlock()
	return o.lines.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.written.String()
}

// Request is one as a stub received it.
type Request struct {
	Method, Target string
	Host           string
	Header         http.Header
}

// Stub is a server that stands for a service that the one under test calls. It keeps what it was asked.
type Stub struct {
	URL, Host, Port string

	mu   sync.Mutex
	seen []Request
}

// NewStub starts a stub that answers with handle.
func NewStub(t testing.TB, handle http.HandlerFunc) *Stub {
	t.Helper()
	listener, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Stub{URL: "http://" + listener.Addr().String()}
	if s.Host, s.Port, err = net.SplitHostPort(listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, Request{r.Method, r.RequestURI, r.Host, r.Header.Clone()})
		s.mu.Unlock()
		handle(w, r)
	})}
	go func() { _ = srv.Serve(listener) }() // ends with ErrServerClosed
	t.Cleanup(func() { _ = srv.Close() })
	return s
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", address)
}

// Answer is a handler that answers every request with a status and a JSON body.
func Answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Seen returns the requests so far.
func (s *Stub) Seen() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.seen...)
}

// BothFamilies checks that a service without LISTEN_HOST answers on IPv4 and on IPv6. On a machine without IPv6 it checks
// IPv4 and skips the rest.
func BothFamilies(t *testing.T, run Entry, env map[string]string) {
	t.Helper()
	environment := maps.Clone(env)
	if environment == nil {
		environment = map[string]string{}
	}
	environment["LISTEN_HOST"] = ""
	i := Start(t, run, environment)
	_, port, err := net.SplitHostPort(i.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		if host == "::1" {
			probe, err := listen(t.Context(), "[::1]:0")
			if err != nil {
				t.Skipf("no IPv6 on this machine: %v", err)
			}
			probe.Close()
		}
		i.URL = "http://" + net.JoinHostPort(host, port)
		if err := once(t.Context(), http.DefaultClient, i.URL+"/health"); err != nil {
			t.Error(err)
		}
	}
}
