// Package load sends open-loop load: requests leave at their appointed times, whether those before them were answered
// or not, so that a slow answer cannot hide the ones that should have followed it.
package load

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Anonymous is the persona that does not sign in.
const Anonymous = "anonymous"

// Config is what a load is made of.
type Config struct {
	URL      string        // of Bookinfo's gateway or productpage, without a path
	Rate     float64       // requests per second
	Duration time.Duration // in which requests are sent; the last answers may take longer
	Seed     uint64        // decides the order of the personas
	Personas []string      // user names that share the requests evenly; Anonymous is nobody
	// InFlight bounds the requests without an answer; those that would be more are not sent but counted as skipped.
	InFlight int
	// Timeout of one request; zero means 30 s.
	Timeout time.Duration
	// Progress, if not nil, is called after each answer, one call at a time.
	Progress func(done, planned int)
}

const (
	defaultTimeout  = 30 * time.Second
	defaultInFlight = 256
	maxPage         = 1 << 20 // bytes of an answer that are looked at
)

// ConfigError is a load that cannot be sent as it was asked for.
type ConfigError struct{ Message string }

func (e *ConfigError) Error() string { return e.Message }

func wrong(format string, args ...any) error { return &ConfigError{fmt.Sprintf(format, args...)} }

func (c Config) validate() error {
	address, err := url.Parse(c.URL)
	switch {
	case err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "":
		return wrong("url %q: want the address of Bookinfo, such as http://127.0.0.1:8080", c.URL)
	case !(c.Rate > 0 && c.Rate <= 100_000):
		return wrong("rate %g: want requests per second, more than 0 and at most 100000", c.Rate)
	case c.Duration <= 0:
		return wrong("duration %s: want more than none", c.Duration)
	case c.planned() < 1:
		return wrong("rate %g for %s: want at least one request", c.Rate, c.Duration)
	case len(c.Personas) == 0:
		return wrong("personas: want at least one")
	}
	return nil
}

// planned is the number of requests.
func (c Config) planned() int { return int(c.Rate * c.Duration.Seconds()) }

// Run sends the load and returns what came of it. When ctx ends, so does the load, and the result is of what was sent
// until then.
func Run(ctx context.Context, c Config) (*Result, error) {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.InFlight == 0 {
		c.InFlight = defaultInFlight
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: c.InFlight}
	defer transport.CloseIdleConnections()
	users, err := signIn(ctx, c, transport)
	if err != nil {
		return nil, err
	}

	// The same seed gives the same sequence of personas.
	dice := rand.New(rand.NewPCG(c.Seed, 0))
	result := newResult(c.planned())
	slots := make(chan struct{}, c.InFlight)
	var answers sync.WaitGroup
	interval := time.Duration(float64(time.Second) / c.Rate)
	result.start = time.Now()
	for i := range result.Planned {
		user := users[dice.IntN(len(users))]
		at := result.start.Add(time.Duration(i) * interval)
		if !sleepUntil(ctx, at) {
			break
		}
		select {
		case slots <- struct{}{}:
		default:
			result.skip()
			continue
		}
		answers.Go(func() {
			defer func() { <-slots }()
			done := result.add(user.get(ctx, c.URL+"/productpage"), time.Since(at), ctx.Err() != nil)
			if c.Progress != nil {
				done(c.Progress)
			}
		})
	}
	answers.Wait()
	result.finish()
	return result, nil
}

func sleepUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// user is one persona with its session.
type user struct{ client *http.Client }

// signIn begins a session for every persona but the anonymous one.
func signIn(ctx context.Context, c Config, transport http.RoundTripper) ([]user, error) {
	users := make([]user, 0, len(c.Personas))
	for _, name := range c.Personas {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return nil, err
		}
		u := user{&http.Client{
			Transport: transport, Jar: jar, Timeout: c.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		users = append(users, u)
		if name == Anonymous {
			continue
		}
		form := url.Values{"username": {name}, "passwd": {name}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/login", strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := u.client.Do(req)
		if err != nil {
			return nil, fmt.Errorf("sign in as %s: %w", name, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			return nil, fmt.Errorf("sign in as %s: %s answers %s, want 302", name, c.URL, resp.Status)
		}
	}
	return users, nil
}

// answer is what came of one request.
type answer struct {
	status  int    // 0: there was no answer
	version string // of reviews, as the page names its pod; "" if it does not
}

// podVersion finds the version in the pod name that the page prints, such as reviews-v3-58bbd6f7c9-t6rjg.
var podVersion = regexp.MustCompile(`\breviews-(v[0-9]+)\b`)

func (u user) get(ctx context.Context, address string) answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer{}
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return answer{}
	}
	a := answer{status: resp.StatusCode}
	if match := podVersion.FindSubmatch(body); match != nil {
		a.version = string(match[1])
	}
	return a
}
