// A service in Go that forwards trace headers: GET / asks BACKEND_URL and answers what it said.
package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"example.com/bookinfo/propagation"
)

func main() {
	client := &http.Client{Transport: propagation.Transport{}, Timeout: 10 * time.Second}
	backend := os.Getenv("BACKEND_URL")

	handle := func(w http.ResponseWriter, r *http.Request) {
		// The context of the incoming request carries the headers to the outgoing one.
		call, err := http.NewRequestWithContext(r.Context(), http.MethodGet, backend, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		resp, err := client.Do(call)
		if err != nil {
			http.Error(w, "the backend does not answer", http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(w, io.LimitReader(resp.Body, 1<<20)) // the caller went away
	}

	server := &http.Server{
		Addr:              "127.0.0.1:" + os.Getenv("PORT"),
		Handler:           propagation.Handler(propagation.All(), http.HandlerFunc(handle)),
		ReadHeaderTimeout: 5 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}
