package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// serveBare is the reference: a server with nothing in it but net/http. Its arguments are what it does, "leaf" to answer
// at once, "call" or "fresh" to first ask the URLs that follow, by pooled connections or by new ones; its port comes
// from the environment.
func serveBare(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("bare: want leaf, call or fresh")
	}
	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 64,
			DisableKeepAlives:   args[0] == "fresh",
			DisableCompression:  true,
		},
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		for _, url := range args[1:] {
			if err := get(r.Context(), client, url, r.Header); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`))
	}
	srv := &http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", os.Getenv("PORT")),
		Handler:           http.HandlerFunc(handler),
		ReadHeaderTimeout: 5 * time.Second,
	}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	return srv.ListenAndServe()
}

func get(ctx context.Context, client *http.Client, url string, from http.Header) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for _, name := range []string{"X-Request-Id", "Traceparent"} {
		if v := from.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
