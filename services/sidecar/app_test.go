package sidecar_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/bookinfo/internal/vectors"
)

// seen is a request as an application received it: the request line and every header line in order.
type seen struct {
	Line    string
	Headers []vectors.Pair
	Body    string
}

// app is an application on a raw socket. It does what the query parameter do says (see internal/vectors/README.md) and
// keeps what it saw.
type app struct {
	t    testing.TB
	addr string

	mu    sync.Mutex
	seen  []seen
	count map[string]int
	// answer, if set, is asked first; it may write anything and returns whether the connection goes on.
	answer func(c net.Conn, r seen) (handled, keep bool)
}

func newApp(t testing.TB) *app {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{t: t, addr: ln.Addr().String(), count: map[string]int{}}
	var conns sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			conns.Go(func() {
				defer c.Close()
				a.serve(c)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		conns.Wait()
	})
	return a
}

// took returns what was seen since the last call.
func (a *app) took() []seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.seen
	a.seen = nil
	return s
}

func (a *app) serve(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		r, err := readRequest(br)
		if err != nil {
			return
		}
		a.mu.Lock()
		a.seen = append(a.seen, r)
		a.mu.Unlock()
		if a.answer != nil {
			if handled, keep := a.answer(c, r); handled {
				if !keep {
					return
				}
				continue
			}
		}
		if !a.do(c, r) {
			return
		}
	}
}

// do answers and tells whether the connection goes on.
func (a *app) do(c net.Conn, r seen) bool {
	target := strings.Fields(r.Line)[1]
	_, query, _ := strings.Cut(target, "?")
	_, what, _ := strings.Cut(query, "do=")
	verb, arg, _ := strings.Cut(what, ":")
	n, _ := strconv.Atoi(arg)
	a.mu.Lock()
	a.count[target]++
	nth := a.count[target]
	a.mu.Unlock()
	reply := func(status int, reason, body string) {
		fmt.Fprintf(c, "HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\nx-upstream: yes\r\nserver: app/1\r\ncontent-length: %d\r\n\r\n%s",
			status, reason, len(body), body)
	}
	switch verb {
	case "status":
		reply(n, "Whatever", fmt.Sprintf("upstream says %d", n))
	case "fail":
		if nth <= n {
			reply(503, "Service Unavailable", "try again")
		} else {
			reply(200, "OK", "ok")
		}
	case "sleep":
		time.Sleep(time.Duration(n) * time.Millisecond) // the recorded upstream is slow in real time
		reply(200, "OK", "ok")
	case "reset":
		if arg == "" || nth <= n {
			return false
		}
		reply(200, "OK", "ok")
	case "garbage":
		io.WriteString(c, "this is not HTTP\r\n\r\n")
		return false
	case "half":
		io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
		return false
	case "stream":
		io.WriteString(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n")
		time.Sleep(time.Duration(n) * time.Millisecond)
		io.WriteString(c, "3\r\nllo\r\n0\r\n\r\n")
	case "grpc":
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: %d\r\ngrpc-message: m%d\r\ncontent-length: 0\r\n\r\n", n, n)
	case "decorator":
		io.WriteString(c, "HTTP/1.1 200 OK\r\nx-envoy-decorator-operation: named.by.upstream\r\ncontent-length: 2\r\n\r\nok")
	default:
		reply(200, "OK", "ok")
	}
	return true
}

// readRequest reads one request without any of the proxy's own code, keeping its lines as they came.
func readRequest(br *bufio.Reader) (seen, error) {
	var r seen
	line, err := br.ReadString('\n')
	if err != nil {
		return r, err
	}
	r.Line = strings.TrimRight(line, "\r\n")
	length, chunked := 0, false
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return r, err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		r.Headers = append(r.Headers, vectors.Pair{name, value})
		switch strings.ToLower(name) {
		case "content-length":
			length, _ = strconv.Atoi(value)
		case "transfer-encoding":
			chunked = true
		}
	}
	var body []byte
	if chunked {
		for {
			size, err := br.ReadString('\n')
			if err != nil {
				return r, err
			}
			n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 32)
			if err != nil {
				return r, err
			}
			piece := make([]byte, n+2)
			if n == 0 {
				for {
					line, err := br.ReadString('\n')
					if err != nil {
						return r, err
					}
					if line = strings.TrimRight(line, "\r\n"); line == "" {
						r.Body = string(body)
						return r, nil
					}
					name, value, _ := strings.Cut(line, ": ")
					r.Headers = append(r.Headers, vectors.Pair{"trailer " + name, value})
				}
			}
			if _, err := io.ReadFull(br, piece); err != nil {
				return r, err
			}
			body = append(body, piece[:n]...)
		}
	}
	body = make([]byte, length)
	if _, err := io.ReadFull(br, body); err != nil {
		return r, err
	}
	r.Body = string(body)
	return r, nil
}

// got is an answer as a client received it.
type got struct {
	Line    string
	Headers []vectors.Pair
	Body    string
}

func (g got) status() int {
	f := strings.Fields(g.Line)
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// readResponse reads one answer; whole is false when the connection ended before it did.
func readResponse(br *bufio.Reader, head bool) (g got, whole bool) {
	line, err := br.ReadString('\n')
	if err != nil {
		return g, false
	}
	g.Line = strings.TrimRight(line, "\r\n")
	length, chunked := 0, false
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return g, false
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ": ")
		if strings.HasSuffix(line, ":") {
			name = strings.TrimSuffix(line, ":")
		}
		g.Headers = append(g.Headers, vectors.Pair{name, value})
		switch name {
		case "content-length":
			length, _ = strconv.Atoi(value)
		case "transfer-encoding":
			chunked = true
		}
	}
	if head {
		return g, true
	}
	if !chunked {
		body := make([]byte, length)
		n, err := io.ReadFull(br, body)
		g.Body = string(body[:n])
		return g, err == nil
	}
	for {
		size, err := br.ReadString('\n')
		if err != nil {
			return g, false
		}
		n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 32)
		if err != nil {
			return g, false
		}
		if n == 0 {
			for {
				line, err := br.ReadString('\n')
				if err != nil {
					return g, false
				}
				if line = strings.TrimRight(line, "\r\n"); line == "" {
					return g, true
				}
				name, value, _ := strings.Cut(line, ": ")
				g.Headers = append(g.Headers, vectors.Pair{"trailer " + name, value})
			}
		}
		piece := make([]byte, n+2)
		if _, err := io.ReadFull(br, piece); err != nil {
			return g, false
		}
		g.Body += string(piece[:n])
	}
}
