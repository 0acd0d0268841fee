package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.com/bookinfo/internal/load"
)

// driver sends requests from the demo's own page and remembers what came of the last ones.
type driver struct {
	mu      sync.Mutex
	last    *visit
	loading bool
	done    int // answers of the load that runs
	planned int
	load    *load.Result
	problem string
}

// visit is one request for the page.
type visit struct {
	User   string
	Status string
	Took   time.Duration
	// Trace and RequestID name the trace, as the response did; URL leads to it.
	Trace, RequestID, URL string
}

const visitTimeout = 30 * time.Second

// visit asks for the page as user, who signs in first unless the name is empty.
func (d *Demo) visit(ctx context.Context, user string) (*visit, error) {
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Jar: jar, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if user != "" {
		form := strings.NewReader(url.Values{"username": {user}}.Encode())
		if _, err := send(ctx, client, http.MethodPost, d.info.Entry()+"/login", form); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	resp, err := send(ctx, client, http.MethodGet, d.info.Entry()+"/productpage", nil)
	if err != nil {
		return nil, err
	}
	v := &visit{User: user, Status: resp.Status, Took: time.Since(start), RequestID: resp.Header.Get("X-Request-Id")}
	if parts := strings.Split(resp.Header.Get("Traceresponse"), "-"); len(parts) == 4 {
		v.Trace = parts[1]
	} else {
		v.Trace = resp.Header.Get("X-B3-Traceid")
	}
	if v.Trace != "" && d.cfg.TraceURL != "" {
		v.URL = strings.ReplaceAll(d.cfg.TraceURL, "{traceId}", url.PathEscape(v.Trace))
	}
	return v, nil
}

func send(ctx context.Context, client *http.Client, method, address string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp, err
}

// startLoad sends load in the background, one at a time.
func (d *Demo) startLoad(rate float64, duration time.Duration) error {
	v := &d.drive
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.loading {
		return fmt.Errorf("a load is running already")
	}
	v.loading, v.done, v.planned, v.load, v.problem = true, 0, 0, nil, ""
	go func() {
		result, err := load.Run(d.life, load.Config{
			URL: d.info.Entry(), Rate: rate, Duration: duration, Seed: 1, Personas: []string{load.Anonymous, "jason"},
			Progress: func(done, planned int) {
				v.mu.Lock()
				defer v.mu.Unlock()
				v.done, v.planned = done, planned
			},
		})
		v.mu.Lock()
		defer v.mu.Unlock()
		v.loading, v.load = false, result
		if err != nil {
			v.problem = err.Error()
		}
	}()
	return nil
}
