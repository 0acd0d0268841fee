package console

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"example.com/bookinfo/services/console/clinic"
	"example.com/bookinfo/services/console/forward"
	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/journal"
	"example.com/bookinfo/services/console/remote"
	"example.com/bookinfo/services/console/span"
)

const (
	// checkTimeout bounds the one question that looks at start whether the engine behind answers.
	checkTimeout = 5 * time.Second
	// examineRemote is how many traces of a list are examined before it is shown: each costs questions to the engine.
	examineRemote = 5
)

// readFrom makes everything read from an existing engine. One that does not answer yet is only warned of: it may
// start later.
func (c *Console) readFrom(ctx context.Context, b *remote.Backend) {
	c.clinic = clinic.New(b, c.cfg.Now, c.cfg.Settle)
	c.clinic.AtOnce = examineRemote
	c.receiver.Store = nowhere{}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := b.Check(ctx); err != nil {
		c.cfg.Log.Warn("the backend does not answer", "error", err.Error())
	}
}

// nowhere is the store of a console whose spans are elsewhere.
type nowhere struct{}

func (nowhere) Append([]span.Span) {}

// forward begins to send on what is taken in, when a collector is named. The listeners are open by now.
func (c *Console) forward(ctx context.Context) error {
	if c.cfg.ForwardOTLP == "" {
		return nil
	}
	u, err := forward.Parse(c.cfg.ForwardOTLP)
	if err == nil && c.own(u) {
		err = fmt.Errorf("%q: want another address than this console's own, or each span would go round for ever", c.cfg.ForwardOTLP)
	}
	if err != nil {
		return &ConfigError{"forward-otlp", err.Error()}
	}
	c.forwards, err = forward.New(ctx, forward.Options{URL: c.cfg.ForwardOTLP, Limits: c.cfg.Limits, Log: c.cfg.Log, Registry: c.registry})
	if err != nil {
		return &ConfigError{"forward-otlp", err.Error()}
	}
	if c.journal == nil {
		c.receiver.Journal = c.forwards
	} else {
		c.receiver.Journal = both{c.journal, c.forwards}
	}
	return nil
}

// both keeps posts and sends them on.
type both struct{ first, second ingest.Journal }

func (b both) Append(p journal.Frame) {
	b.first.Append(p)
	b.second.Append(p)
}

// own reports whether an address is one of this console's listeners.
func (c *Console) own(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	if u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return false
	}
	for _, addr := range []string{c.Addr, c.OTLPGRPC, c.OTLPHTTP} {
		if _, port, err := net.SplitHostPort(addr); err == nil && port == u.Port() {
			return true
		}
	}
	return false
}

// takes reports whether spans are taken in: not where they would go nowhere.
func (c *Console) takes() bool { return c.cfg.Backend == nil || c.forwards != nil }

// taking is the handler of an ingest route.
func (c *Console) taking(h http.HandlerFunc) http.HandlerFunc {
	if c.takes() {
		return h
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this console reads from another engine and keeps no spans: send them there, or start it with --forward-otlp", http.StatusNotImplemented)
	}
}
