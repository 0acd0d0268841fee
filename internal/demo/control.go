package demo

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"

	"github.com/go-chi/chi/v5"
)

// controlPort is where the demo answers for itself.
const controlPort = 9070

// startControl serves the demo's own page and API.
func (d *Demo) startControl(ctx context.Context) error {
	r := chi.NewRouter()
	r.Use(localOnly, http.NewCrossOriginProtection().Handler)
	r.Get("/api/demo", d.describe)

	address, err := d.serve(ctx, "control", controlPort, r)
	if err != nil {
		return err
	}
	d.info.Control = "http://" + address
	return nil
}

// localOnly refuses requests whose Host is not this machine: a name that a stranger's page had resolved to a loopback
// address would otherwise let that page steer the demo.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			http.Error(w, "the demo is steered from this machine alone", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (d *Demo) describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(d.info)
}
