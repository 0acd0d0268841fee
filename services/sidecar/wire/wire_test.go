package wire_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/wire"
)

// halting is a connection on which a read times out before every byte.
type halting struct {
	data  string
	ready bool
}

func (h *halting) Read(p []byte) (int, error) {
	if h.ready = !h.ready; h.ready {
		return 0, os.ErrDeadlineExceeded
	}
	if h.data == "" {
		return 0, io.EOF
	}
	n := copy(p[:1], h.data)
	h.data = h.data[n:]
	return n, nil
}

// again repeats what timed out.
func again(do func() error) (err error) {
	for err = os.ErrDeadlineExceeded; errors.Is(err, os.ErrDeadlineExceeded); {
		err = do()
	}
	return err
}

// TestTimeoutsLoseNothing reads messages over a connection on which a deadline expires before every single byte: in
// the start line, in fields, in chunk sizes, in trailers.
func TestTimeoutsLoseNothing(t *testing.T) {
	const raw = "POST /a HTTP/1.1\r\nHost: b\r\nX-Y:  z \r\nTransfer-Encoding: chunked\r\n\r\n" +
		"3;ext=\"1\"\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: u\r\n\r\n" +
		"GET /next HTTP/1.1\r\nhost: b\r\n\r\n"
	r := wire.NewReader(&halting{data: raw})
	var q wire.Request
	if err := again(func() error { return r.ReadRequest(&q) }); err != nil {
		t.Fatal(err)
	}
	want := header.Fields{{Name: "x-y", Value: "z"}, {Name: "transfer-encoding", Value: "chunked"}}
	if q.Method != "POST" || q.Target != "/a" || q.Host != "b" || q.Length != wire.Chunked || len(q.Fields) != 2 || q.Fields[0] != want[0] {
		t.Errorf("read as %+v", q)
	}
	body := r.Body(q.Length)
	var got bytes.Buffer
	if err := again(func() error {
		_, err := io.Copy(&got, struct{ io.Reader }{&body})
		return err
	}); err != nil || got.String() != "abc0123456789abcdef" {
		t.Errorf("body %q, %v", got.String(), err)
	}
	if tr := body.Trailers(); !body.Done() || len(tr) != 1 || tr[0] != (header.Field{Name: "x-t", Value: "u"}) {
		t.Errorf("trailers %v, done %v", tr, body.Done())
	}
	if err := again(func() error { return r.ReadRequest(&q) }); err != nil || q.Target != "/next" {
		t.Errorf("the next request: %+v, %v", q, err)
	}
	if err := again(func() error { return r.ReadRequest(&q) }); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

func TestBodyThatIsCut(t *testing.T) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
		"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n",
	} {
		r := wire.NewReader(strings.NewReader(raw))
		var p wire.Response
		if err := r.ReadResponse(&p, "GET"); err != nil {
			t.Fatal(err)
		}
		body := r.Body(p.Length)
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{&body}); !errors.Is(err, io.ErrUnexpectedEOF) || body.Done() {
			t.Errorf("%q: %v, done %v; want an unexpected end", raw, err, body.Done())
		}
	}
}

// counting counts writes.
type counting struct {
	bytes.Buffer
	writes int
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(p)
}

func TestWriterGathers(t *testing.T) {
	var out counting
	w := wire.NewWriter(&out)
	w.Response(200, header.Fields{{Name: "transfer-encoding", Value: "chunked"}}, true)
	w.Data([]byte("hello "))
	w.Data(nil) // an empty chunk would end the body
	w.Data([]byte("there, my friend"))
	if err := w.End(header.Fields{{Name: "x-t", Value: "u"}}); err != nil {
		t.Fatal(err)
	}
	want := "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello \r\n10\r\nthere, my friend\r\n0\r\nx-t: u\r\n\r\n"
	if out.String() != want || out.writes != 1 || w.Written() != 22 {
		t.Errorf("%d writes, %d bytes of body: %q", out.writes, w.Written(), out.String())
	}
	out.Reset()
	w.Request(&wire.Request{Method: "POST", Host: "h", Fields: header.Fields{{Name: "a", Value: ""}}}, "/p")
	if w.End(nil); out.String() != "POST /p HTTP/1.1\r\nhost: h\r\na: \r\ncontent-length: 0\r\n\r\n" {
		t.Errorf("request %q", out.String())
	}
}

// TestRefusals sorts what is refused by the answer that it deserves.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, raw string
		kind      wire.Kind
	}{
		{"fields", "GET / HTTP/1.1\r\nhost: a\r\n" + strings.Repeat("x: y\r\n", 100) + "\r\n", wire.HeadTooLarge},
		{"bytes", "GET / HTTP/1.1\r\nhost: a\r\nx: " + strings.Repeat("y", wire.MaxHead) + "\r\n\r\n", wire.HeadTooLarge},
		{"version", "GET / HTTP/1.0\r\nhost: a\r\n\r\n", wire.UnsupportedVersion},
		{"coding", "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: br\r\n\r\n", wire.UnsupportedCoding},
		{"folding", "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n\tz\r\n\r\n", wire.BadMessage},
	} {
		var q wire.Request
		err := wire.NewReader(strings.NewReader(tt.raw)).ReadRequest(&q)
		var p *wire.ProtocolError
		if !errors.As(err, &p) || p.Kind != tt.kind {
			t.Errorf("%s: %v, want kind %d", tt.name, err, tt.kind)
		}
	}
}
