package reviews

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/propagation"
)

// reviewers are the keys of the ratings, in the order of the reviews.
var reviewers = [2]string{"Reviewer1", "Reviewer2"}

// maxAnswer is the most that is read of an answer of ratings, in bytes.
const maxAnswer = 1 << 20

// NewTransport returns the pool of connections to ratings.
func NewTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64,
		// Shorter than servers keep theirs, so that a request rarely meets a connection that is being closed.
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: server.MaxHeaderBytes,
		DisableCompression:     true,
	}
}

// ratingsClient asks the ratings service.
type ratingsClient struct {
	url     string
	client  *http.Client
	timeout time.Duration
	log     *slog.Logger
}

func newRatingsClient(cfg Config) *ratingsClient {
	transport := cfg.Transport
	if transport == nil {
		transport = NewTransport()
	}
	return &ratingsClient{
		url: cfg.RatingsURL + "/ratings/",
		client: &http.Client{
			Transport: propagation.IdentityTransport{Base: transport},
			// A redirect is no 200.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: cfg.Timeout(),
		log:     cfg.Log,
	}
}

// stars asks for the stars of a product. A reviewer without stars is nil: the reviews are shown all the same, whatever
// ratings does. Only an answer with status 200 that makes no sense is an error, as in the original.
func (c *ratingsClient) stars(ctx context.Context, id int64) ([2]*int32, error) {
	var none [2]*int32
	// A deadline of the context: for http.Client.Timeout a goroutine would watch each request.
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+strconv.FormatInt(id, 10), nil)
	if err != nil {
		return none, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		c.log.WarnContext(ctx, "ratings cannot be reached", "error", err)
		return none, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		c.log.WarnContext(ctx, "ratings broke off", "error", err)
		return none, nil
	case len(body) > maxAnswer:
		c.log.WarnContext(ctx, "ratings says too much", "limit", maxAnswer)
		return none, nil
	case resp.StatusCode != http.StatusOK:
		c.log.WarnContext(ctx, "ratings is unavailable", "status", resp.StatusCode)
		return none, nil
	}
	stars, err := parseStars(body)
	if err != nil {
		return none, fmt.Errorf("answer of ratings: %w", err)
	}
	return stars, nil
}

// parseStars reads {"ratings": {"Reviewer1": 5, "Reviewer2": 4}}. Keys may be missing, but values must be of their types.
func parseStars(body []byte) (stars [2]*int32, err error) {
	// Maps, because the names of a struct's fields would match in any case.
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(body, &answer); err != nil {
		return stars, err
	}
	if answer == nil {
		return stars, fmt.Errorf("want an object, not null")
	}
	field, ok := answer["ratings"]
	if !ok {
		return stars, nil
	}
	var ratings map[string]json.RawMessage
	if err := json.Unmarshal(field, &ratings); err != nil {
		return stars, fmt.Errorf("ratings: %w", err)
	}
	if ratings == nil {
		return stars, fmt.Errorf("ratings: want an object, not null")
	}
	for i, reviewer := range reviewers {
		value, ok := ratings[reviewer]
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(string(value), 64)
		if err != nil && !math.IsInf(n, 0) {
			return stars, fmt.Errorf("ratings: %s: want a number, not %s", reviewer, value)
		}
		// The original says "no rating" by -1.
		if whole := toInt(n); whole != -1 {
			stars[i] = &whole
		}
	}
	return stars, nil
}

// toInt is Java's conversion of a number to an int: without the fraction, and the low 32 bits of what is too large.
func toInt(f float64) int32 {
	if math.Abs(f) >= 1<<63 {
		return 0 // the low bits of a float64 of this size
	}
	return int32(int64(f))
}
