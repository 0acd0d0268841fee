package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"example.com/bookinfo/services/sidecar/wire"
)

// FuzzRequest reads any bytes as requests, writes those that were accepted as the proxy would, and has net/http read
// them: if it finds other requests or other bodies than were meant, the two could be played against each other.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /a?b=c HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\r\nhost: b\r\n\r\n",
		"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nt: u\r\n\r\n",
		"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\nhost: a\n\n",
		"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
		"\r\n\r\nGET * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// One byte at a time finds what depends on where a read ends.
		whole, pieces := accepted(t, bytes.NewReader(data)), accepted(t, oneByte{bytes.NewReader(data)})
		if !bytes.Equal(whole.out, pieces.out) || whole.count != pieces.count {
			t.Fatalf("read at once %q, in pieces %q", whole.out, pieces.out)
		}
		br := bufio.NewReader(bytes.NewReader(whole.out))
		for i := range whole.count {
			r, err := http.ReadRequest(br)
			if err != nil {
				t.Fatalf("request %d of %q: net/http says %v", i, whole.out, err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(body, whole.bodies[i]) {
				t.Fatalf("body %d of %q: net/http reads %q, %v; want %q", i, whole.out, body, err, whole.bodies[i])
			}
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Fatalf("net/http leaves %q of %q", rest, whole.out)
		}
	})
}

type read struct {
	out    []byte // the requests as the proxy writes them
	bodies [][]byte
	count  int
}

// accepted reads requests until something is refused.
func accepted(t *testing.T, src io.Reader) (got read) {
	r := wire.NewReader(src)
	var q wire.Request
	for {
		if err := r.ReadRequest(&q); err != nil {
			return got
		}
		body := r.Body(q.Length)
		data, err := io.ReadAll(struct{ io.Reader }{&body})
		if err != nil {
			return got
		}
		if !body.Done() {
			t.Fatal("a body was read without an error and is not done")
		}
		if !q.HasOne || q.Method == "CONNECT" || q.Target[0] != '/' {
			continue // the proxy answers these itself
		}
		var out bytes.Buffer
		w := wire.NewWriter(&out)
		fields := q.Fields[:0]
		for _, f := range q.Fields {
			switch f.Name {
			case "transfer-encoding", "connection", "upgrade", "trailer", "expect", "te", "keep-alive":
			default:
				fields = append(fields, f)
			}
		}
		q.Fields = fields
		w.Request(&q, q.Target)
		w.Data(data)
		if err := w.End(nil); err != nil {
			t.Fatal(err)
		}
		if !readable(out.Bytes()) {
			continue // net/http refuses some targets and hosts for reasons of its own
		}
		got.out = append(got.out, out.Bytes()...)
		got.bodies = append(got.bodies, data)
		got.count++
	}
}

// readable tells whether net/http's parser takes the request's head at all.
func readable(raw []byte) bool {
	_, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	return err == nil
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// FuzzResponse reads any bytes as an answer: it must end, without a panic, in an answer or an error.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.0 200\r\n\r\nto the end",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
	} {
		f.Add([]byte(seed), "GET")
	}
	f.Fuzz(func(t *testing.T, data []byte, method string) {
		r := wire.NewReader(bytes.NewReader(data))
		var p wire.Response
		for range 10 {
			err := r.ReadResponse(&p, method)
			if err != nil {
				if !wire.IsProtocol(err) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("the error %v is neither of the message nor of the connection", err)
				}
				return
			}
			if p.Status < 100 || p.Status > 999 {
				t.Fatalf("status %d", p.Status)
			}
			body := r.Body(p.Length)
			if n, err := io.Copy(io.Discard, struct{ io.Reader }{&body}); err == nil && p.Length >= 0 && n != p.Length {
				t.Fatalf("%d bytes of %d without an error", n, p.Length)
			}
		}
	})
}
