package stats

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// State is what /ready tells.
type State string

// The states of Envoy's server.
const (
	Starting State = "PRE_INITIALIZING"
	Live     State = "LIVE"
	Draining State = "DRAINING"
)

// Admin is what the admin port shows.
type Admin struct {
	Stats   *Stats
	Tracing *Tracing
	State   func() State
	// Dump returns what is in force, without secrets, as a value for encoding/json.
	Dump func() any
}

// Handler serves /ready, /stats, /stats/prometheus and /config_dump as Envoy's admin interface does. They answer GET
// and HEAD.
func (a *Admin) Handler() http.Handler {
	a.Stats.registry.MustRegister(a.Tracing)
	mux := http.NewServeMux()
	mux.Handle("GET /stats/prometheus", promhttp.HandlerFor(a.Stats.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /ready", a.ready)
	mux.HandleFunc("GET /stats", a.stats)
	mux.HandleFunc("GET /config_dump", a.dump)
	return mux
}

func (a *Admin) ready(w http.ResponseWriter, _ *http.Request) {
	state := a.State()
	plain(w)
	if state != Live {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(state + "\n"))
}

func (a *Admin) stats(w http.ResponseWriter, _ *http.Request) {
	plain(w)
	_, _ = w.Write([]byte(strings.Join(a.Tracing.Lines(), "\n") + "\n"))
}

func (a *Admin) dump(w http.ResponseWriter, _ *http.Request) {
	body, err := json.MarshalIndent(a.Dump(), "", " ")
	if err != nil {
		http.Error(w, "the configuration cannot be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n'))
}

func plain(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
