package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m, main) }

const volume = `{"items":[{"volumeInfo":{"authors":["William Shakespeare","Someone"],"publishedDate":"2002-01-01",
	"printType":"BOOK","pageCount":96,"publisher":"Dover & Co","language":"en","industryIdentifiers":[
	{"type":"OTHER","identifier":"x"},{"type":"ISBN_13","identifier":"9780486424613"},{"type":"ISBN_10","identifier":"0486424618"}]}}]}`

const volumeFacts = `{"id":7,"author":"William Shakespeare","year":"2002-01-01","type":"paperback","pages":96,"publisher":"Dover & Co","language":"English","ISBN-10":"0486424618","ISBN-13":"9780486424613"}`

// The process is given a proxy, which stands for the way to Google Books: it sees where the request would go.
func TestContract61_GoogleBooksInPlainHTTP(t *testing.T) {
	proxy := servertest.NewStub(t, servertest.Answer(200, volume))
	s := servertest.StartProcess(t, "ENABLE_EXTERNAL_BOOK_SERVICE=true", "DO_NOT_ENCRYPT=true", "HTTP_PROXY="+proxy.URL)
	if resp, body := s.Get(t, "/details/7"); resp.StatusCode != 200 || body != volumeFacts {
		t.Errorf("got %s %s", resp.Status, body)
	}
	seen := proxy.Seen()
	if len(seen) != 1 || seen[0].Method != "GET" || seen[0].Target != "http://www.googleapis.com/books/v1/volumes?q=isbn:0486424618" {
		t.Fatalf("asked %+v", seen)
	}
}

func TestGoogleBooksLearnsNothingOfTheUser(t *testing.T) {
	proxy := servertest.NewStub(t, servertest.Answer(200, volume))
	s := servertest.StartProcess(t, "ENABLE_EXTERNAL_BOOK_SERVICE=true", "DO_NOT_ENCRYPT=true", "HTTP_PROXY="+proxy.URL)
	s.Do(t, "GET", "/details/0", http.Header{
		"Cookie": {"session=secret"}, "Authorization": {"Basic c2VjcmV0"}, "Jwt": {"secret"}, "End-User": {"jason"},
		"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "X-Request-Id": {"r"}, "User-Agent": {"curl/8"},
	}, "")
	got := proxy.Seen()[0].Header
	for _, name := range []string{"Cookie", "Authorization", "Jwt", "End-User"} {
		if got.Get(name) != "" {
			t.Errorf("%s: %q was sent", name, got.Get(name))
		}
	}
	for name, want := range map[string]string{
		"Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "X-Request-Id": "r", "User-Agent": "curl/8",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
}

func TestContract61_GoogleBooksFails(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"quota":      servertest.Answer(403, `{"error":{"code":403,"message":"quota"}}`),
		"no JSON":    servertest.Answer(200, `<html>`),
		"no book":    servertest.Answer(200, `{"items":[]}`),
		"no author":  servertest.Answer(200, `{"items":[{"volumeInfo":{}}]}`),
		"no ISBN":    servertest.Answer(200, `{"items":[{"volumeInfo":{"authors":["x"]}}]}`),
		"wrong type": servertest.Answer(200, `{"items":[{"volumeInfo":{"authors":"x"}}]}`),
		"too much":   servertest.Answer(200, `"`+strings.Repeat("x", 1<<20)+`"`),
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
		},
		"cut": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := servertest.NewStub(t, handle)
			s := servertest.StartProcess(t, "ENABLE_EXTERNAL_BOOK_SERVICE=true", "DO_NOT_ENCRYPT=true", "HTTP_PROXY="+proxy.URL)
			resp, body := s.Get(t, "/details/0")
			if resp.StatusCode != 400 || !strings.HasPrefix(body, `{"error":"`) || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("got %s %s", resp.Status, body)
			}
			if resp, body := s.Get(t, "/details/abc"); resp.StatusCode != 400 || body != notNumeric {
				t.Errorf("wrong id: got %s %s", resp.Status, body)
			}
		})
	}
}

func TestContract61_GoogleBooksOverTLS(t *testing.T) {
	certificate, authority := certificateFor(t, "www.googleapis.com")
	var asked, tunnel string
	var proxy net.Listener
	google := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Host + r.RequestURI
		_, _ = io.WriteString(w, volume)
	})}
	front := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnel = r.Method + " " + r.Host
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		_ = google.Serve(&single{conn: tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})})
	})}
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = front.Serve(proxy) }()
	t.Cleanup(func() { front.Close(); google.Close() })

	s := servertest.StartProcess(t, "ENABLE_EXTERNAL_BOOK_SERVICE=true", "HTTPS_PROXY=http://"+proxy.Addr().String(), "SSL_CERT_FILE="+authority)
	if resp, body := s.Get(t, "/details/7"); resp.StatusCode != 200 || body != volumeFacts {
		t.Errorf("got %s %s", resp.Status, body)
	}
	if tunnel != "CONNECT www.googleapis.com:443" || asked != "www.googleapis.com/books/v1/volumes?q=isbn:0486424618" {
		t.Errorf("tunnel %q, asked %q", tunnel, asked)
	}
}

// single is a listener that yields one connection.
type single struct{ conn net.Conn }

func (s *single) Accept() (net.Conn, error) {
	if s.conn == nil {
		return nil, net.ErrClosed
	}
	conn := s.conn
	s.conn = nil
	return conn, nil
}
func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return &net.TCPAddr{} }

func certificateFor(t *testing.T, host string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

func TestContract66_TerminateWithARequestInFlight(t *testing.T) {
	asked, release := make(chan bool), make(chan bool)
	proxy := servertest.NewStub(t, func(w http.ResponseWriter, _ *http.Request) {
		asked <- true
		<-release
		_, _ = io.WriteString(w, volume)
	})
	s := servertest.StartProcess(t, "ENABLE_EXTERNAL_BOOK_SERVICE=true", "DO_NOT_ENCRYPT=true", "HTTP_PROXY="+proxy.URL)
	servertest.TerminateInFlight(t, s, "GET", "/details/7", func() { <-asked }, func() { close(release) })
}
