package breakage_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/bookinfo/internal/breakage"
	"example.com/bookinfo/propagation"
)

const (
	trace = "463ac35c9f6413ad48485a3953bb6124"
	id    = "a2fb4a1d1a96d312"
)

// echo is a RoundTripper that keeps the headers which left.
type echo struct{ sent []http.Header }

func (e *echo) RoundTrip(r *http.Request) (*http.Response, error) {
	e.sent = append(e.sent, r.Header)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(""))}, nil
}

// send lets requests with the given incoming headers through a service that forwards everything.
func send(t *testing.T, change []string, incoming ...http.Header) []http.Header {
	t.Helper()
	c, err := breakage.Parse(change)
	if err != nil {
		t.Fatal(err)
	}
	breaker := breakage.NewBreaker(func(b []byte) {
		for i := range b {
			b[i] = 0xab
		}
	})
	breaker.Set(c)
	out := &echo{}
	client := http.Client{Transport: propagation.Transport{Base: breaker.Transport(out)}}
	service := propagation.Handler(propagation.All(), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://upstream/", nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
	}))
	for _, h := range incoming {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = h
		service.ServeHTTP(httptest.NewRecorder(), r)
	}
	return out.sent
}

func b3() http.Header {
	h := http.Header{}
	h.Set("x-request-id", "0aa8e2a8-6d5a-9ee1-b6ef-53a0b3ac3a19")
	h.Set("x-b3-traceid", trace)
	h.Set("x-b3-spanid", id)
	h.Set("x-b3-sampled", "1")
	h.Set("traceparent", "00-"+trace+"-"+id+"-01")
	return h
}

func with(change func(http.Header)) http.Header {
	h := b3()
	change(h)
	return h
}

func TestEachMistake(t *testing.T) {
	const fresh16, fresh32 = "abababababababab", "abababababababababababababababab"
	for _, test := range []struct {
		name   string
		change []string
		want   http.Header
	}{
		{"drop a header", []string{"drop=x-b3-spanid"}, with(func(h http.Header) { h.Del("x-b3-spanid") })},
		{"drop a family", []string{"drop=w3c,request-id"}, with(func(h http.Header) { h.Del("traceparent"); h.Del("x-request-id") })},
		{"empty", []string{"empty=x-b3-parentspanid"}, with(func(h http.Header) { h.Set("x-b3-parentspanid", "") })},
		{"duplicate", []string{"duplicate=x-b3-traceid"}, with(func(h http.Header) { h.Add("x-b3-traceid", trace) })},
		{"join", []string{"join=x-b3-spanid"}, with(func(h http.Header) { h.Set("x-b3-spanid", id+","+id) })},
		{"case", []string{"case=x-b3-spanid"}, with(func(h http.Header) { h.Del("x-b3-spanid"); h["X-B3-SPANID"] = []string{id} })},
		{"new trace", []string{"new-trace"}, with(func(h http.Header) {
			h.Set("x-b3-traceid", fresh32)
			h.Set("x-b3-spanid", fresh16)
			h.Set("traceparent", "00-"+fresh32+"-"+fresh16+"-01")
		})},
		{"hidden SDK", []string{"hidden-sdk"}, with(func(h http.Header) {
			h.Set("x-b3-parentspanid", id)
			h.Set("x-b3-spanid", fresh16)
			h.Set("traceparent", "00-"+trace+"-"+fresh16+"-01")
		})},
		{"stale b3", []string{"stale-b3"}, with(func(h http.Header) { h.Set("b3", trace+"-"+fresh16+"-1") })},
		{"sampled off", []string{"sampled-off"}, with(func(h http.Header) {
			h.Set("x-b3-sampled", "0")
			h.Set("traceparent", "00-"+trace+"-"+id+"-00")
		})},
		{"two at once", []string{"drop=w3c", "sampled-off"}, with(func(h http.Header) { h.Del("traceparent"); h.Set("x-b3-sampled", "0") })},
	} {
		t.Run(test.name, func(t *testing.T) {
			sent := send(t, test.change, b3())
			if diff := cmp.Diff(test.want, sent[0]); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReuseSendsTheFirstRequestsHeaders(t *testing.T) {
	second := b3()
	second.Set("x-b3-spanid", "0000000000000009")
	second.Set("baggage", "k=v")
	sent := send(t, []string{"reuse"}, b3(), second)
	if diff := cmp.Diff(b3(), sent[1]); diff != "" {
		t.Errorf("second request (-first +sent):\n%s", diff)
	}
}

func TestAsyncLosesEverySecondCall(t *testing.T) {
	sent := send(t, []string{"async"}, b3(), b3())
	if diff := cmp.Diff([]http.Header{b3(), {}}, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

func TestWrongWordsNameThoseThereAre(t *testing.T) {
	for _, words := range [][]string{nil, {"smash"}, {"drop"}, {"drop="}, {"drop=x-unknown"}, {"drop=none"}, {"reuse=1"}, {"sampled-off", "nonsense=b3"}} {
		_, err := breakage.Parse(words)
		if err == nil {
			t.Errorf("%q was accepted", words)
			continue
		}
		if !strings.Contains(err.Error(), "drop=") && !strings.Contains(err.Error(), "b3") {
			t.Errorf("%q: %q does not say what would be right", words, err)
		}
	}
}

func TestControl(t *testing.T) {
	reviews := breakage.NewBreaker(func([]byte) {})
	handler := breakage.Handler([]string{"reviews"}, map[string]*breakage.Breaker{"reviews": reviews})
	do := func(method, path, body string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	if code, body := do(http.MethodPut, "/reviews", `{"broken":["drop=x-b3-spanid","reuse"]}`); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	_, body := do(http.MethodGet, "/", "")
	var got []breakage.State
	if err := json.NewDecoder(bytes.NewBufferString(body)).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]breakage.State{{Service: "reviews", Broken: []string{"drop=x-b3-spanid", "reuse"}}}, got); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	for _, wrong := range []struct {
		path, body string
		code       int
	}{{"/nobody", `{"broken":["reuse"]}`, 404}, {"/reviews", `{"broken":["x"]}`, 400}, {"/reviews", `{`, 400}, {"/reviews", `{"drop":1}`, 400}} {
		if code, body := do(http.MethodPut, wrong.path, wrong.body); code != wrong.code {
			t.Errorf("PUT %s %s: %d %s, want %d", wrong.path, wrong.body, code, body, wrong.code)
		}
	}
	if got := reviews.Change().Strings(); len(got) != 2 {
		t.Errorf("a refused change changed %q", got)
	}
	if code, _ := do(http.MethodDelete, "/reviews", ""); code != http.StatusOK || len(reviews.Change().Strings()) != 0 {
		t.Errorf("mend: %d, still %q", code, reviews.Change().Strings())
	}
}
