package check

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"example.com/bookinfo/propagation"
)

// app is a service under test: it calls upstream and answers 200.
type app func(upstream string) http.Handler

// forwarding is an app that sends on what headers returns.
func forwarding(headers func(r *http.Request) http.Header) app {
	return func(upstream string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = ask(r.Context(), http.DefaultClient, upstream, headers(r))
			fmt.Fprint(w, "ok")
		})
	}
}

func ask(ctx context.Context, client *http.Client, url string, h http.Header) (int, error) {
	call, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	for name, lines := range h {
		call.Header[name] = lines
	}
	resp, err := client.Do(call)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// right are the headers as they should leave.
func right(r *http.Request) http.Header {
	h := http.Header{}
	propagation.All().Capture(r.Header).Apply(h)
	return h
}

// but changes right headers.
func but(change func(h http.Header, r *http.Request)) app {
	return forwarding(func(r *http.Request) http.Header {
		h := right(r)
		change(h, r)
		return h
	})
}

func without(list string) app {
	return but(func(h http.Header, _ *http.Request) {
		set, err := propagation.Parse(list)
		if err != nil {
			panic(err)
		}
		for _, x := range set.Headers() {
			h.Del(x.Name)
		}
	})
}

// good is our own package.
func good(upstream string) http.Handler {
	client := &http.Client{Transport: propagation.Transport{}}
	return propagation.Handler(propagation.All(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = ask(r.Context(), client, upstream, nil)
		fmt.Fprint(w, "ok")
	}))
}

// retrying asks again after an error, without the headers.
func retrying(upstream string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, err := ask(r.Context(), http.DefaultClient, upstream, right(r)); err != nil || status != http.StatusOK {
			_, _ = ask(r.Context(), http.DefaultClient, upstream, nil)
		}
		fmt.Fprint(w, "ok")
	})
}

// redirecting follows redirects by hand and forgets the headers there.
func redirecting(upstream string) http.Handler {
	client := &http.Client{CheckRedirect: func(next *http.Request, _ []*http.Request) error {
		for _, x := range propagation.Table() {
			next.Header.Del(x.Name)
		}
		return nil
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = ask(r.Context(), client, upstream, right(r))
		fmt.Fprint(w, "ok")
	})
}

// sticky keeps the headers of the last request as the defaults of its client.
func sticky(upstream string) http.Handler {
	var mu sync.Mutex
	defaults := http.Header{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		for name, lines := range right(r) {
			defaults[name] = lines
		}
		h := defaults.Clone()
		mu.Unlock()
		_, _ = ask(r.Context(), http.DefaultClient, upstream, h)
		fmt.Fprint(w, "ok")
	})
}

// shared keeps the headers of the running request in a variable that all requests share.
func shared(upstream string) http.Handler {
	var mu sync.Mutex
	var current http.Header
	meet := make(chan struct{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		current = right(r)
		mu.Unlock()
		select { // work, during which another request may come
		case meet <- struct{}{}:
		case <-meet:
		case <-time.After(50 * time.Millisecond):
		}
		mu.Lock()
		h := current.Clone()
		mu.Unlock()
		_, _ = ask(r.Context(), http.DefaultClient, upstream, h)
		fmt.Fprint(w, "ok")
	})
}

// pooled calls from a worker when it is busy, and the worker does not know the headers.
func pooled(upstream string) http.Handler {
	busy := make(chan struct{}, 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case busy <- struct{}{}:
			_, _ = ask(r.Context(), http.DefaultClient, upstream, right(r))
			<-busy
		default:
			_, _ = ask(r.Context(), http.DefaultClient, upstream, nil)
		}
		fmt.Fprint(w, "ok")
	})
}

// choosy answers 400 for headers that it cannot read.
func choosy(upstream string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lines, came := r.Header["Tracestate"]; came && strings.Join(lines, "") == "" {
			http.Error(w, "invalid tracestate", http.StatusBadRequest)
			return
		}
		_, _ = ask(r.Context(), http.DefaultClient, upstream, right(r))
		fmt.Fprint(w, "ok")
	})
}

// fallbackOn forwards only when the request is as it likes it.
func fallbackOn(likes func(*http.Request) bool) app {
	return forwarding(func(r *http.Request) http.Header {
		if likes(r) {
			return right(r)
		}
		return nil
	})
}

func mustParse(t interface{ Fatal(...any) }, list string) propagation.Set {
	set, err := propagation.Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
