package propagation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// roundTrip lets a test look at a request in place of a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// chain starts a service that forwards to an upstream and returns its address. The upstream hands the headers of every
// request that it gets to seen.
func chain(t *testing.T, set Set, seen func(http.Header)) string {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen(r.Header) }))
	t.Cleanup(upstream.Close)
	client := &http.Client{Transport: Transport{Base: IdentityTransport{}}}
	service := httptest.NewServer(Handler(set, IdentityHandler(Identity(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call, err := http.NewRequestWithContext(r.Context(), http.MethodGet, upstream.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := client.Do(call)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
	}))))
	t.Cleanup(service.Close)
	return service.URL
}

func send(t *testing.T, url string, h http.Header) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = h
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestForwardOverTheWire(t *testing.T) {
	var got http.Header
	url := chain(t, All(), func(h http.Header) { got = h })
	send(t, url, http.Header{
		"x-b3-traceid":      {"463ac35c9f6413ad"}, // as it stands, not in canonical form
		"X-B3-SPANID":       {"a2fb4a1d1a96d312", "ffffffffffffffff"},
		"X-B3-ParentSpanId": {""},
		"x-request-id":      {"not a uuid"},
		"tracestate":        {"a=1", "b=2"},
		"end-user":          {"jason"},
		"X-Forwarded-For":   {"10.0.0.7"},
		"X-Envoy-Internal":  {"true"},
		"X-Other":           {"1"},
	})
	want := http.Header{
		"X-B3-Traceid": {"463ac35c9f6413ad"}, "X-B3-Spanid": {"a2fb4a1d1a96d312"}, "X-Request-Id": {"not a uuid"},
		"Tracestate": {"a=1,b=2"}, "End-User": {"jason"}, "User-Agent": {"Go-http-client/1.1"}, "Accept-Encoding": {"gzip"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the upstream got %v, want %v", got, want)
	}
}

// TestHandlersKeepTheTablesApart hands each handler the other's set.
func TestHandlersKeepTheTablesApart(t *testing.T) {
	h := http.Header{"B3": {"0"}, "Cookie": {"session=1"}}
	check := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if c := FromContext(r.Context()); c.Len() != 0 {
			t.Errorf("Handler captured %v", c)
		}
		if c := IdentityFromContext(r.Context()); c.Len() != 0 {
			t.Errorf("IdentityHandler captured %v", c)
		}
	})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = h
	Handler(Identity(), IdentityHandler(All(), check)).ServeHTTP(httptest.NewRecorder(), r)
}

func TestTransportLeavesTheRequestAlone(t *testing.T) {
	var sent *http.Request
	transport := Transport{Base: roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = r
		r.Header.Add("Accept", "added by the base")
		return nil, io.ErrUnexpectedEOF
	})}
	ctx := NewContext(context.Background(), All().Capture(fullB3()))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://upstream/", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Accept": {"*/*"}, "X-B3-Traceid": {"stale", "twice"}}
	before := r.Header.Clone()

	if _, err := transport.RoundTrip(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want that of the base", err)
	}
	if !reflect.DeepEqual(r.Header, before) {
		t.Errorf("the caller's headers became %v, want %v", r.Header, before)
	}
	if got, want := sent.Header["X-B3-Traceid"], fullB3()["X-B3-Traceid"]; !reflect.DeepEqual(got, want) {
		t.Errorf("sent %q, want %q alone", got, want)
	}
	if sent.Body != r.Body || sent.Context() != ctx {
		t.Error("the copy lost the body or the context")
	}
}

func TestTransportWithoutAnythingToSet(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://upstream/", nil)
	var sent *http.Request
	base := roundTrip(func(r *http.Request) (*http.Response, error) { sent = r; return nil, io.EOF })
	if _, err := (Transport{Base: base}).RoundTrip(r); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if sent != r {
		t.Error("the request was copied for nothing")
	}
}

func TestTransportWithoutHeaders(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://upstream/", nil)
	r.Header = nil
	r = r.WithContext(NewContext(r.Context(), All().Capture(http.Header{"B3": {"0"}})))
	var sent http.Header
	base := roundTrip(func(r *http.Request) (*http.Response, error) { sent = r.Header; return nil, io.EOF })
	if _, err := (Transport{Base: base}).RoundTrip(r); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if sent.Get("b3") != "0" {
		t.Errorf("sent %v, want b3", sent)
	}
}

func TestRedirect(t *testing.T) {
	var got []http.Header
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header) }))
	defer elsewhere.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header)
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/here", http.StatusFound)
			return
		}
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}))
	defer first.Close()

	h := http.Header{"B3": {"0"}, "Cookie": {"session=1"}}
	ctx := NewContext(context.Background(), All().Capture(h))
	ctx = NewIdentityContext(ctx, CaptureIdentity(h))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, first.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: Transport{Base: IdentityTransport{}}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	client.CloseIdleConnections()

	var b3, cookies []string
	for _, h := range got {
		b3, cookies = append(b3, h.Get("b3")), append(cookies, h.Get("cookie"))
	}
	if want := []string{"0", "0", "0"}; !reflect.DeepEqual(b3, want) {
		t.Errorf("b3 of the three requests: %q, want %q", b3, want)
	}
	if want := []string{"session=1", "session=1", ""}; !reflect.DeepEqual(cookies, want) {
		t.Errorf("cookies of the three requests: %q, want %q: none for another host", cookies, want)
	}
}

type idle struct {
	http.RoundTripper
	closed bool
}

func (i *idle) CloseIdleConnections() { i.closed = true }

func TestCloseIdleConnections(t *testing.T) {
	base := &idle{}
	(&http.Client{Transport: Transport{Base: IdentityTransport{Base: base}}}).CloseIdleConnections()
	if !base.closed {
		t.Error("the base did not hear of it")
	}
	Transport{Base: roundTrip(nil)}.CloseIdleConnections() // has none to close
}

// TestConcurrentRequests sends different contexts at once through one service and one client: none may meet another's.
func TestConcurrentRequests(t *testing.T) {
	const clients, requests = 8, 25
	var mu sync.Mutex
	seen := map[string]int{}
	url := chain(t, All(), func(h http.Header) {
		mu.Lock()
		defer mu.Unlock()
		if h.Get("x-b3-traceid") != h.Get("x-request-id") || h.Get("end-user") != h.Get("x-request-id") {
			t.Errorf("headers of several requests in one: %v", h)
		}
		seen[h.Get("x-request-id")]++
	})
	var wg sync.WaitGroup
	for c := 0; c < clients; c++ {
		wg.Add(1)
		go func(c int) {
			defer wg.Done()
			for i := 0; i < requests; i++ {
				id := fmt.Sprintf("%d-%d", c, i)
				r, err := http.NewRequest(http.MethodGet, url, nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.Header = http.Header{"X-Request-Id": {id}, "X-B3-Traceid": {id}, "End-User": {id}}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			}
		}(c)
	}
	wg.Wait()
	if len(seen) != clients*requests {
		t.Errorf("%d of %d contexts arrived", len(seen), clients*requests)
	}
}

func BenchmarkHandlerAndTransport(b *testing.B) {
	transport := Transport{Base: roundTrip(func(*http.Request) (*http.Response, error) { return nil, nil })}
	handler := Handler(All(), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		call := (&http.Request{Header: http.Header{}}).WithContext(r.Context())
		_, _ = transport.RoundTrip(call)
	}))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = fullB3()
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		handler.ServeHTTP(nil, r)
	}
}
