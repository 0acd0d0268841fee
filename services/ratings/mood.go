package ratings

import (
	"context"
	"net/http"
	"time"

	"example.com/bookinfo/internal/server"
)

// What the failing versions do, as the original's. Tutorials count on these times.
const (
	delay             = 7 * time.Second  // of v-delayed: longer than productpage waits, shorter than reviews v2 does
	unavailablePeriod = time.Minute      // v-unavailable changes state this often
	unhealthyPeriod   = 15 * time.Minute // v-unhealthy changes state this often
)

// mood decides which requests of a failing version fail.
type mood struct {
	version string
	start   time.Time // the good state begins here
	now     func() time.Time
	random  func() float64
}

func newMood(cfg Config) mood {
	return mood{version: cfg.Version, start: cfg.Now(), now: cfg.Now, random: cfg.Random}
}

// strike fails or delays a request for ratings when it is time to.
func (m mood) strike(ctx context.Context) error {
	switch m.version {
	case "v-faulty":
		if m.random() <= 0.5 {
			return unavailable()
		}
	case "v-delayed":
		if m.random() <= 0.5 {
			return sleep(ctx, delay)
		}
	case "v-unavailable":
		if m.bad(unavailablePeriod) {
			return unavailable()
		}
	case "v-unhealthy":
		if m.bad(unhealthyPeriod) {
			return unavailable()
		}
	}
	return nil
}

// unhealthy tells whether /health must say so.
func (m mood) unhealthy() bool { return m.version == "v-unhealthy" && m.bad(unhealthyPeriod) }

// bad tells whether the period that now falls into is one of the bad ones: every second.
func (m mood) bad(period time.Duration) bool {
	return m.now().Sub(m.start)/period%2 == 1
}

func unavailable() error {
	return server.Errorf(http.StatusServiceUnavailable, "Service unavailable")
}
