package sidecar_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/access"
	"example.com/bookinfo/services/sidecar/route"
	"example.com/bookinfo/services/sidecar/trace"
)

// to starts an outbound listener in front of one application.
func to(t testing.TB, appAddr string) (addr string) {
	t.Helper()
	return start(t, sidecar.Config{Tracing: trace.Defaults(trace.Outbound)}, trace.Outbound, tableTo(appAddr, nil))
}

func tableTo(appAddr string, retry *route.Retry) *route.Table {
	rt := &route.Route{Name: "default", Operation: operation, Retry: retry, Clusters: []route.WeightedCluster{{Cluster: serverName}}}
	return route.NewTable("9080", 1,
		[]*route.VirtualHost{{Name: "server", Domains: []string{"*"}, Routes: []*route.Route{rt}}},
		map[string]*route.Cluster{serverName: {Name: serverName, Endpoints: []route.Endpoint{{Address: appAddr}}}})
}

// dialTo connects as a client with a deadline.
func dialTo(t testing.TB, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc, bufio.NewReader(nc)
}

// TestRefusesSmuggling sends messages that two parsers could understand in two ways. Nothing of them may reach the
// application, and the connection must not be used again.
func TestRefusesSmuggling(t *testing.T) {
	const rest = "\r\nGET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n"
	for _, tt := range []struct {
		name, raw string
		status    int
	}{
		{"both lengths", "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + rest, 400},
		{"two lengths", "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n" + rest, 400},
		{"two equal lengths", "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n" + rest, 400},
		{"list of lengths", "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 0, 40\r\n\r\n" + rest, 400},
		{"signed length", "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: +3\r\n\r\nabc" + rest, 400},
		{"hexadecimal length", "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 0x3\r\n\r\nabc" + rest, 400},
		{"huge length", "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 99999999999999999999\r\n\r\n" + rest, 400},
		{"bare line feeds", "GET / HTTP/1.1\nHost: s\n\n" + rest, 400},
		{"one bare line feed", "GET / HTTP/1.1\r\nHost: s\nX-A: b\r\n\r\n" + rest, 400},
		{"carriage return in a value", "GET / HTTP/1.1\r\nHost: s\r\nX-A: b\rX-C: d\r\n\r\n" + rest, 400},
		{"null in a value", "GET / HTTP/1.1\r\nHost: s\r\nX-A: b\x00c\r\n\r\n" + rest, 400},
		{"folded line", "GET / HTTP/1.1\r\nHost: s\r\nX-A: b\r\n c\r\n\r\n" + rest, 400},
		{"folded first line", "GET / HTTP/1.1\r\n Host: s\r\nHost: s\r\n\r\n" + rest, 400},
		{"two hosts", "GET / HTTP/1.1\r\nHost: s\r\nHost: t\r\n\r\n" + rest, 400},
		{"host that is a path", "GET / HTTP/1.1\r\nHost: s/x\r\n\r\n" + rest, 400},
		{"blank before the colon", "GET / HTTP/1.1\r\nHost: s\r\nContent-Length : 3\r\n\r\nabc" + rest, 400},
		{"line without a colon", "GET / HTTP/1.1\r\nHost: s\r\nnonsense\r\n\r\n" + rest, 400},
		{"empty name", "GET / HTTP/1.1\r\nHost: s\r\n: x\r\n\r\n" + rest, 400},
		{"two codings", "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + rest, 501},
		{"unknown coding beside a length", "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\nabc" + rest, 400},
		{"origin named as hop-by-hop", "GET / HTTP/1.1\r\nHost: s\r\nConnection: X-Forwarded-For\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n" + rest, 400},
		{"pseudo header named as hop-by-hop", "GET / HTTP/1.1\r\nHost: s\r\nConnection: :path\r\n\r\n" + rest, 400},
		{"host named as hop-by-hop", "GET / HTTP/1.1\r\nHost: s\r\nConnection: close, Host\r\n\r\n" + rest, 400},
		{"ten fields named as hop-by-hop", "GET / HTTP/1.1\r\nHost: s\r\nConnection: a,b,c,d,e,f,g,h,i,j\r\n\r\n" + rest, 400},
		{"target beyond ASCII", "GET /caf\xc3\xa9 HTTP/1.1\r\nHost: s\r\n\r\n" + rest, 400},
		{"encoded null", "GET /a%00b HTTP/1.1\r\nHost: s\r\n\r\n" + rest, 400},
		{"greeting of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
		{"blank before the method", " GET / HTTP/1.1\r\nHost: s\r\n\r\n" + rest, 400},
		{"another coding", "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n" + rest, 501},
		{"disguised coding", "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n" + rest, 501},
		{"blank in the target", "GET /a b HTTP/1.1\r\nHost: s\r\n\r\n" + rest, 400},
		{"version 2.0", "GET / HTTP/2.0\r\nHost: s\r\n\r\n" + rest, 426},
		{"version 1.1x", "GET / HTTP/1.1x\r\nHost: s\r\n\r\n" + rest, 400},
		{"open proxy", "CONNECT s:443 HTTP/1.1\r\nHost: s:443\r\n\r\n" + rest, 404},
		{"relative target", "GET abc HTTP/1.1\r\nHost: s\r\n\r\n" + rest, 400},
		{"chunk size with a sign", "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n" + rest, 400},
		{"chunk size in 0x", "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n" + rest, 400},
		{"chunk longer than it says", "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n" + rest, 400},
		{"chunk line ends in a bare line feed", "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n" + rest, 400},
		{"huge chunk", "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + rest, 400},
		{"too many fields", "GET / HTTP/1.1\r\nHost: s\r\n" + strings.Repeat("a: b\r\n", 101) + "\r\n" + rest, 431},
		{"endless head", "GET / HTTP/1.1\r\nHost: s\r\nx: " + strings.Repeat("y", 70<<10), 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newApp(t)
			nc, br := dialTo(t, to(t, a.addr))
			io.WriteString(nc, tt.raw)
			g, whole := readResponse(br, false)
			if g.status() != tt.status || !whole {
				t.Errorf("answer %q, whole %v, want %d", g.Line, whole, tt.status)
			}
			nc.(*net.TCPConn).CloseWrite() // the proxy need not wait for what else may come
			if more, err := io.ReadAll(br); len(more) > 0 || err != nil {
				t.Errorf("after it came %q, %v; want the end of the connection", more, err)
			}
			for _, r := range a.took() {
				// A malformed chunk shows only when the request is under way.
				if strings.Contains(r.Line, "smuggled") || !strings.Contains(tt.name, "chunk") {
					t.Errorf("the application saw %q", r.Line)
				}
			}
		})
	}
}

func TestBodiesAndTrailers(t *testing.T) {
	a := newApp(t)
	a.answer = func(c net.Conn, r seen) (bool, bool) {
		switch {
		case strings.Contains(r.Line, "/trailers"):
			io.WriteString(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5;ext=1\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n")
		case strings.Contains(r.Line, "/until-close"):
			io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nto the end")
			return true, false
		case strings.Contains(r.Line, "/none"):
			io.WriteString(c, "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")
		case strings.Contains(r.Line, "/not-modified"):
			io.WriteString(c, "HTTP/1.1 304 Not Modified\r\ncontent-length: 12\r\n\r\n")
		case strings.Contains(r.Line, "/hints"):
			io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
		case strings.HasPrefix(r.Line, "HEAD"):
			io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
		default:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(r.Body), r.Body)
		}
		return true, true
	}
	nc, br := dialTo(t, to(t, a.addr))
	// All on one connection: a body read wrongly would show in the next answer.
	for _, tt := range []struct{ name, raw, status, body, header string }{
		{"length", "POST /echo HTTP/1.1\r\nhost: s\r\ncontent-length: 5\r\n\r\nabcde", "200 OK", "abcde", ""},
		{"chunks", "POST /echo HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "200 OK", "abcde", ""},
		{"request trailers", "POST /echo HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nHost: evil\r\nX-T: 1\r\nX-Request-Id: evil\r\nContent-Length: 9\r\nX-Envoy-Force-Trace: 1\r\nAuthorization: evil\r\n\r\n", "200 OK", "abc", ""},
		{"response trailers", "GET /trailers HTTP/1.1\r\nhost: s\r\nte: trailers\r\n\r\n", "200 OK", "hello", "trailer x-sum 7"},
		{"no content", "GET /none HTTP/1.1\r\nhost: s\r\n\r\n", "204 No Content", "", ""},
		{"early hints", "GET /hints HTTP/1.1\r\nhost: s\r\n\r\n", "200 OK", "ok", ""},
		{"empty post", "POST /echo HTTP/1.1\r\nhost: s\r\ncontent-length: 0\r\n\r\n", "200 OK", "", "content-length 0"},
		{"until close", "GET /until-close HTTP/1.1\r\nhost: s\r\n\r\n", "200 OK", "to the end", "transfer-encoding chunked"},
		{"empty lines before", "\r\n\r\nGET /none HTTP/1.1\r\nhost: s\r\n\r\n", "204 No Content", "", ""},
	} {
		io.WriteString(nc, tt.raw)
		g, whole := readResponse(br, false)
		if g.Line != "HTTP/1.1 "+tt.status || g.Body != tt.body || !whole {
			t.Errorf("%s: %q %q, whole %v; want %s %q", tt.name, g.Line, g.Body, whole, tt.status, tt.body)
		}
		if strings.HasPrefix(tt.status, "204") && slices.ContainsFunc(g.Headers, func(h vectors.Pair) bool { return h[0] == "content-length" }) {
			t.Errorf("%s: %q, want no length", tt.name, g.Headers)
		}
		found := tt.header == ""
		for _, h := range g.Headers {
			found = found || h[0]+" "+h[1] == tt.header
		}
		if !found {
			t.Errorf("%s: no %q in %q", tt.name, tt.header, g.Headers)
		}
	}
	for _, tt := range []struct{ name, raw, length string }{
		{"head", "HEAD / HTTP/1.1\r\nhost: s\r\n\r\n", "1000"},
		{"not modified", "GET /not-modified HTTP/1.1\r\nhost: s\r\n\r\n", "12"},
	} {
		io.WriteString(nc, tt.raw)
		if g, _ := readResponse(br, true); len(g.Headers) == 0 || g.Headers[0][1] != tt.length {
			t.Errorf("%s: %q, want the application's length", tt.name, g.Headers)
		}
	}
	for _, r := range a.took() {
		if strings.Contains(r.Line, "/echo") && r.Body == "abc" {
			if last := r.Headers[len(r.Headers)-1]; last != [2]string{"trailer x-t", "1"} {
				t.Errorf("the request's trailer arrived as %q", last)
			}
			for _, h := range r.Headers {
				if h[1] == "evil" || h[0] == "trailer content-length" || h[0] == "trailer x-envoy-force-trace" {
					t.Errorf("a trailer that none may be arrived: %q", h)
				}
			}
		}
	}
}

func TestExpectContinue(t *testing.T) {
	a := newApp(t)
	nc, br := dialTo(t, to(t, a.addr))
	io.WriteString(nc, "POST / HTTP/1.1\r\nhost: s\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
	if line, _ := br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q before the body", line)
	}
	br.ReadString('\n')
	io.WriteString(nc, "hello")
	if g, _ := readResponse(br, false); g.status() != 200 {
		t.Errorf("status %d", g.status())
	}
	r := a.took()
	if len(r) != 1 || r[0].Body != "hello" {
		t.Fatalf("the application saw %+v", r)
	}
	for _, h := range r[0].Headers {
		if h[0] == "expect" {
			t.Error("expect was passed on though it was answered")
		}
	}
}

// TestWatchDoesNotStall: the connection must be usable after an answer that was late enough to be watched for, with
// and without a request that was sent ahead meanwhile.
func TestWatchDoesNotStall(t *testing.T) {
	a := newApp(t)
	nc, br := dialTo(t, to(t, a.addr))
	for i := range 5 {
		io.WriteString(nc, "GET /slow?do=sleep:60 HTTP/1.1\r\nhost: s\r\n\r\n")
		if i%2 == 1 { // pipelined: the watch reads it, and must give it back
			time.Sleep(40 * time.Millisecond)
			io.WriteString(nc, "GET /fast HTTP/1.1\r\nhost: s\r\n\r\n")
		}
		for range 1 + i%2 {
			if g, whole := readResponse(br, false); g.status() != 200 || !whole {
				t.Fatalf("round %d: %+v", i, g)
			}
		}
	}
	// A body that dribbles in while the answer is late is read to its end.
	io.WriteString(nc, "POST /slow?do=sleep:60 HTTP/1.1\r\nhost: s\r\ncontent-length: 3\r\n\r\n")
	for _, piece := range []string{"a", "b", "c"} {
		time.Sleep(30 * time.Millisecond)
		io.WriteString(nc, piece)
	}
	if g, _ := readResponse(br, false); g.status() != 200 {
		t.Fatalf("dribbled body: %+v", g)
	}
}

// TestDepartingClient: when the client leaves during a late answer, the endpoint's connection is ended at once and the
// log says DC.
func TestDepartingClient(t *testing.T) {
	a := newApp(t)
	ended := make(chan time.Duration, 1)
	a.answer = func(c net.Conn, r seen) (bool, bool) {
		start := time.Now()
		c.Read(make([]byte, 1)) // ends when the proxy closes the connection
		ended <- time.Since(start)
		return true, false
	}
	var out lockedBuffer
	log, err := access.New(&out, "text")
	if err != nil {
		t.Fatal(err)
	}
	addr := start(t, sidecar.Config{Tracing: trace.Defaults(trace.Outbound), AccessLog: log}, trace.Outbound, tableTo(a.addr, nil))
	for _, body := range []string{"", "half of it"} {
		nc, _ := dialTo(t, addr)
		fmt.Fprintf(nc, "POST /leave HTTP/1.1\r\nhost: s\r\ncontent-length: %d\r\n\r\n%s", 2*len(body), body)
		waitFor(t, func() bool { return body != "" || a.length() > 0 })
		nc.Close()
		if body == "" {
			if took := <-ended; took > 2*time.Second {
				t.Errorf("the endpoint was left waiting for %v", took)
			}
		}
	}
	waitFor(t, func() bool { return strings.Count(out.String(), "\n") == 2 }) // the log writes every second
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, `" 0 DC downstream_remote_disconnect`) {
			t.Errorf("log line %q", line)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestCircuitBreaker: one connection and one request that waits for it; the third is refused.
func TestCircuitBreaker(t *testing.T) {
	a := newApp(t)
	gate := make(chan struct{})
	a.answer = func(net.Conn, seen) (bool, bool) {
		<-gate
		return false, false
	}
	table := tableTo(a.addr, nil)
	table.Clusters[serverName].Limits = route.Limits{MaxConnections: 1, MaxPending: 1, MaxRequestsPerConnection: 1}
	addr := start(t, sidecar.Config{Tracing: trace.Defaults(trace.Outbound)}, trace.Outbound, table)
	var readers []*bufio.Reader
	for range 3 {
		nc, br := dialTo(t, addr)
		io.WriteString(nc, "GET / HTTP/1.1\r\nhost: s\r\n\r\n")
		readers = append(readers, br)
		if len(readers) == 1 {
			waitFor(t, func() bool { return a.length() == 1 })
		}
	}
	statuses := make(chan int, 3)
	for _, br := range readers {
		go func() {
			g, _ := readResponse(br, false)
			statuses <- g.status()
		}()
	}
	if first := <-statuses; first != 503 {
		t.Errorf("the request beyond the limits got %d first, want 503", first)
	}
	close(gate)
	for range 2 {
		if status := <-statuses; status != 200 {
			t.Errorf("a request within the limits got %d", status)
		}
	}
}

// TestTLSOrigination sends a request to an endpoint that speaks TLS.
func TestTLSOrigination(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS.ServerName) }))
	defer srv.Close()
	table := tableTo(srv.Listener.Addr().String(), nil)
	table.Clusters[serverName].TLS = &route.TLS{SNI: "books.example", Insecure: true}
	nc, br := dialTo(t, start(t, sidecar.Config{Tracing: trace.Defaults(trace.Outbound)}, trace.Outbound, table))
	for range 2 {
		io.WriteString(nc, "GET / HTTP/1.1\r\nhost: s\r\n\r\n")
		if g, _ := readResponse(br, false); g.status() != 200 || g.Body != "books.example" {
			t.Errorf("answer %+v", g)
		}
	}
}

// TestTunnel upgrades a connection and passes bytes both ways, and the end of one direction without the other's.
func TestTunnel(t *testing.T) {
	a := newApp(t)
	a.answer = func(c net.Conn, r seen) (bool, bool) {
		upgrade := ""
		for _, h := range r.Headers {
			if h[0] == "upgrade" || h[0] == "connection" {
				upgrade += h[1] + " "
			}
		}
		if upgrade != "Upgrade websocket " {
			t.Errorf("the application saw %q of the upgrade", upgrade)
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nwelcome ")
		said, _ := io.ReadAll(c) // to the client's end of its direction
		fmt.Fprintf(c, "you said %s", said)
		return true, false
	}
	nc, br := dialTo(t, to(t, a.addr))
	io.WriteString(nc, "GET /chat HTTP/1.1\r\nhost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello ")
	g, _ := readResponse(br, true)
	if g.status() != 101 {
		t.Fatalf("answer %+v", g)
	}
	io.WriteString(nc, "there")
	nc.(*net.TCPConn).CloseWrite()
	if all, err := io.ReadAll(br); string(all) != "welcome you said hello there" || err != nil {
		t.Errorf("the tunnel brought %q, %v", all, err)
	}
}

// TestIdleConnectionsThatEnd: an application that closes idle connections, as one that is restarted does, costs no request.
func TestIdleConnectionsThatEnd(t *testing.T) {
	a := newApp(t)
	var served atomic.Int64
	a.answer = func(c net.Conn, r seen) (bool, bool) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
		return true, served.Add(1)%2 == 0 // every other connection ends after an answer that did not say so
	}
	nc, br := dialTo(t, to(t, a.addr))
	for i := range 40 {
		io.WriteString(nc, "POST / HTTP/1.1\r\nhost: s\r\ncontent-length: 2\r\n\r\nhi")
		if g, _ := readResponse(br, false); g.status() != 200 {
			t.Fatalf("request %d: %+v", i, g)
		}
		time.Sleep(time.Millisecond) // for the end to arrive
	}
}

// TestAnswerWithoutTheBody: an answer of the proxy's own to a request with a body leaves the connection fit for the next
// request, or says that it is not.
func TestAnswerWithoutTheBody(t *testing.T) {
	b := newBench(t)
	nc, br := dialTo(t, to(t, b.refused))
	for range 3 {
		io.WriteString(nc, "POST / HTTP/1.1\r\nhost: s\r\ncontent-length: 5\r\n\r\nhello")
		if g, _ := readResponse(br, false); g.status() != 503 {
			t.Fatalf("answer %+v", g)
		}
	}
	io.WriteString(nc, "POST / HTTP/1.1\r\nhost: s\r\ncontent-length: 100000\r\n\r\nhello")
	g, _ := readResponse(br, false)
	closing := false
	for _, h := range g.Headers {
		closing = closing || h[0] == "connection" && h[1] == "close"
	}
	if g.status() != 503 || !closing {
		t.Errorf("with most of the body to come: %+v, want an answer that ends the connection", g)
	}
}

// TestEarlyAnswer: an endpoint that answers before it read a long request is heard, and the connection ends.
func TestEarlyAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.Read(make([]byte, 1000))
				io.WriteString(c, "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nbig")
				io.CopyN(io.Discard, c, 10<<20)
			}()
		}
	}()
	nc, br := dialTo(t, to(t, ln.Addr().String()))
	fmt.Fprintf(nc, "POST / HTTP/1.1\r\nhost: s\r\ncontent-length: %d\r\n\r\n", 100<<20)
	go func() {
		piece := make([]byte, 64<<10)
		for {
			if _, err := nc.Write(piece); err != nil {
				return
			}
		}
	}()
	g, whole := readResponse(br, false)
	if g.status() != 413 || g.Body != "big" || !whole {
		t.Errorf("answer %+v, whole %v", g, whole)
	}
	// A client that is not told sends its next request into a connection that ends.
	if !slices.Contains(g.Headers, vectors.Pair{"connection", "close"}) {
		t.Errorf("the answer does not say that the connection ends: %q", g.Headers)
	}
	for _, h := range g.Headers {
		if h[0] == "x-envoy-upstream-service-time" { // from the end of the request, which did not come
			t.Errorf("a time was measured: %q", g.Headers)
		}
	}
}

// TestBodyBehindItsHead: a request of which the body comes later than the head leaves the connection open.
func TestBodyBehindItsHead(t *testing.T) {
	a := newApp(t)
	nc, br := dialTo(t, to(t, a.addr))
	for range 50 {
		for _, raw := range [][2]string{
			{"POST / HTTP/1.1\r\nhost: s\r\ncontent-length: 5\r\n\r\n", "hello"},
			{"POST / HTTP/1.1\r\nhost: s\r\ntransfer-encoding: chunked\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"},
		} {
			io.WriteString(nc, raw[0])
			time.Sleep(time.Millisecond)
			io.WriteString(nc, raw[1])
			g, whole := readResponse(br, false)
			if g.status() != 200 || !whole || slices.Contains(g.Headers, vectors.Pair{"connection", "close"}) {
				t.Fatalf("answer %+v, whole %v", g, whole)
			}
		}
	}
}

// TestTargets: absolute targets in any case of the scheme, and paths as Envoy writes them.
func TestTargets(t *testing.T) {
	a := newApp(t)
	nc, br := dialTo(t, to(t, a.addr))
	for _, tt := range []struct{ target, host, want string }{
		{"http://S:9080/p?q=1", "S:9080", "/p?q=1"},
		{"HTTP://s/p", "s", "/p"},
		{"Https://s", "s", "/"},
		{"/a\"b<c>d^e`f{g|h}i", "other", "/a%22b%3Cc%3Ed%5Ee%60f%7Bg%7Ch%7Di"},
		{"/a%2fb\\c/./d/../e?x={}", "other", "/a%2fb/c/e?x={}"},
	} {
		fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nhost: other\r\n\r\n", tt.target)
		if g, _ := readResponse(br, false); g.status() != 200 {
			t.Fatalf("%s: %+v", tt.target, g)
		}
		saw := a.took()
		if len(saw) != 1 || saw[0].Line != "GET "+tt.want+" HTTP/1.1" || saw[0].Headers[0] != (vectors.Pair{"host", tt.host}) {
			t.Errorf("%s arrived as %+v, want %s of %s", tt.target, saw, tt.want, tt.host)
		}
	}
}

// TestGiganticBody sends 1 GiB both ways at once and looks at the memory.
func TestGiganticBody(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
	})}
	defer srv.Close()
	go srv.Serve(ln)
	addr := to(t, ln.Addr().String())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/", io.LimitReader(endless{}, size))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Fatalf("%d bytes came back, %v; want %d", n, err, size)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestHTTP2 speaks HTTP/2 in cleartext through the sidecar, with trailers, as gRPC does.
func TestHTTP2(t *testing.T) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Protocols: protocols, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" || r.Header.Get("X-Request-Id") == "" {
			t.Errorf("the application was asked over %s with %v", r.Proto, r.Header)
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
		w.Header().Set("Grpc-Status", "5")
		w.Header().Set("Grpc-Message", "no such book")
	})}
	defer srv.Close()
	go srv.Serve(ln)
	var spans collector
	addr := start(t, sidecar.Config{Tracing: trace.Defaults(trace.Outbound), Reporter: &spans}, trace.Outbound, tableTo(ln.Addr().String(), nil))
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	ask := func(target string) (*http.Response, string) {
		req, _ := http.NewRequestWithContext(context.Background(), "POST", "http://"+target+"/Books/Get", strings.NewReader("message"))
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp, string(body)
	}
	resp, body := ask(addr)
	if resp.StatusCode != 200 || body != "message" || resp.Trailer.Get("Grpc-Status") != "5" || resp.Header.Get("Server") != "envoy" {
		t.Errorf("answer %d %q, trailer %v, header %v", resp.StatusCode, body, resp.Trailer, resp.Header)
	}
	waitFor(t, func() bool { return len(spans.spans) == 1 })
	tags := tagsOf(spans.took()[0], false)
	if tags["grpc.status_code"] != "5" || tags["request_size"] != "7" || tags["http.protocol"] != "HTTP/2" {
		t.Errorf("tags %v", tags)
	}
	// An endpoint that is not there is a gRPC status too.
	b := newBench(t)
	resp, _ = ask(to(t, b.refused))
	if resp.StatusCode != 200 || resp.Header.Get("Grpc-Status") != "14" {
		t.Errorf("refused: %d %v", resp.StatusCode, resp.Header)
	}
}

// TestSetTable changes routes under load: every request is answered by the old table or the new one.
func TestSetTable(t *testing.T) {
	a, b := newApp(t), newApp(t)
	s, err := sidecar.Start(t.Context(), sidecar.Config{
		Identity: identity(), Tracing: trace.Defaults(trace.Outbound),
		Listeners: []sidecar.Listener{{Direction: trace.Outbound, Addr: "127.0.0.1:0", Table: tableTo(a.addr, nil)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nc, br := dialTo(t, s.Addr("outbound"))
	for i := range 200 {
		if err := s.SetTable("outbound", tableTo([]string{a.addr, b.addr}[i%2], nil)); err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, "GET / HTTP/1.1\r\nhost: s\r\n\r\n")
		if g, _ := readResponse(br, false); g.status() != 200 {
			t.Fatalf("request %d: %+v", i, g)
		}
	}
	if a.length() != 100 || b.length() != 100 {
		t.Errorf("%d and %d requests, want 100 each", a.length(), b.length())
	}
	if err := s.SetTable("nowhere", tableTo(a.addr, nil)); err == nil {
		t.Error("a table for a listener that does not exist was accepted")
	}
}
