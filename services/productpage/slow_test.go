package productpage_test

import (
	"context"
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is an in-memory network, whose connections live in the virtual time of a synctest bubble. Hosts are named by
// host and port.
type pipes map[string]chan net.Conn

func (n pipes) dial(ctx context.Context, _, address string) (net.Conn, error) {
	accept, found := n[address]
	if !found {
		return nil, &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}
	}
	client, srv := net.Pipe()
	select {
	case accept <- srv:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve answers at the address until the test ends.
func (n pipes) serve(t *testing.T, address string, handler http.Handler) {
	accept := make(chan net.Conn)
	n[address] = accept
	srv := &http.Server{Handler: handler}
	l := &pipeListener{accept: accept, closed: make(chan struct{})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
}

type pipeListener struct {
	accept chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// after answers d later, unless the caller leaves before.
func after(d time.Duration, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			next(w, r)
		case <-r.Context().Done():
		}
	}
}

const forever = time.Hour

// TestContract29_30_32_33_SlowBackends shows the deliberate timeouts: how long a page takes, and when it asks whom.
func TestContract29_30_32_33_SlowBackends(t *testing.T) {
	ok := answer(200, reviewsV2)
	tests := []struct {
		name             string
		details, reviews http.HandlerFunc
		took             time.Duration
		detailsAt        []time.Duration // after the request for the page
		reviewsAt        []time.Duration
		contains         []string
	}{
		{"check 29: reviews hang", answer(200, detailsJSON), after(forever, ok), 6 * time.Second,
			[]time.Duration{0}, []time.Duration{0, 3 * time.Second}, []string{sorryReviews, "Book Details"}},
		{"check 30: details and reviews hang", after(forever, ok), after(forever, ok), 9 * time.Second,
			[]time.Duration{0}, []time.Duration{3 * time.Second, 6 * time.Second}, []string{sorryDetails, sorryReviews}},
		{"check 32: ratings take 7 s, which reviews would wait for", answer(200, detailsJSON), after(7*time.Second, ok), 6 * time.Second,
			[]time.Duration{0}, []time.Duration{0, 3 * time.Second}, []string{sorryReviews}},
		{"check 33: a proxy gives reviews half a second", answer(200, detailsJSON), after(500*time.Millisecond, answer(504, "upstream request timeout")), time.Second,
			[]time.Duration{0}, []time.Duration{0, 500 * time.Millisecond}, []string{sorryReviews}},
		{"two seconds are well", answer(200, detailsJSON), after(2*time.Second, ok), 2 * time.Second,
			[]time.Duration{0}, []time.Duration{0}, []string{"Book Reviews"}},
		{"three seconds are of silence, not in all", answer(200, detailsJSON), trickle(5, 2*time.Second), 10 * time.Second,
			[]time.Duration{0}, []time.Duration{0}, []string{"Book Reviews"}},
		{"but not without end", answer(200, detailsJSON), trickle(1000, 2*time.Second), 60 * time.Second,
			[]time.Duration{0}, []time.Duration{0, 30 * time.Second}, []string{sorryReviews}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := pipes{}
				details, reviews := &stub{handle: test.details}, &stub{handle: test.reviews}
				net.serve(t, "details:9080", details)
				net.serve(t, "reviews:9080", reviews)
				net.serve(t, "page:80", handler(t, nil, net.dial))
				client := &http.Client{Transport: &http.Transport{DialContext: net.dial, DisableKeepAlives: true}}

				start := time.Now()
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://page/productpage", nil)
				page := roundTrip(t, client, req)
				if took := time.Since(start); took != test.took {
					t.Errorf("the page took %s, want %s", took, test.took)
				}
				page.wantStatus(t, 200)
				page.contains(t, test.contains...)
				for _, s := range []struct {
					name string
					*stub
					want []time.Duration
				}{{"details", details, test.detailsAt}, {"reviews", reviews, test.reviewsAt}} {
					var at []time.Duration
					for _, when := range s.times() {
						at = append(at, when.Sub(start))
					}
					if !slices.Equal(at, s.want) {
						t.Errorf("%s was asked at %v, want %v", s.name, at, s.want)
					}
				}
			})
		})
	}
}

// trickle answers with a byte every now and then, and ends as an answer of reviews.
func trickle(bytes int, every time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for range bytes {
			select {
			case <-time.After(every):
			case <-r.Context().Done():
				return
			}
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = w.Write([]byte(reviewsV2))
	}
}

// TestCallerLeaves: nobody waits for what nobody will read.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := pipes{}
		reviews := &stub{handle: after(forever, answer(200, reviewsV2))}
		net.serve(t, "details:9080", answer(200, detailsJSON))
		net.serve(t, "reviews:9080", reviews)
		net.serve(t, "page:80", handler(t, nil, net.dial))
		client := &http.Client{Transport: &http.Transport{DialContext: net.dial, DisableKeepAlives: true}}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://page/productpage", nil)
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			t.Fatal("the page came within a second")
		}
		time.Sleep(10 * time.Second) // virtual
		if n := len(reviews.seen()); n != 1 {
			t.Errorf("%d requests to reviews, want 1: no second try for a caller that left", n)
		}
	})
}
