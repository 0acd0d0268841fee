package meshapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/bootstrap"
	"example.com/bookinfo/services/sidecar/compile"
)

// envoyConfig answers with the bootstrap of a real Envoy for the workload of the query's "from". The other parameters
// have the names of the command's flags.
func (a *api) envoyConfig(w http.ResponseWriter, r *http.Request) {
	_, workload, err := a.table(r.URL.Query().Get("from"))
	if err != nil {
		fail(w, http.StatusNotFound, err.Error())
		return
	}
	config, err := envoyOptions(r.URL.Query(), workload)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	s := a.m.Snapshot()
	config.Workload, config.TrustDomain, config.Tables = workload, s.TrustDomain, compile.For(s, workload)
	written, err := bootstrap.New(config)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	data, err := bootstrap.JSON(written)
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(data, '\n'))
}

func envoyOptions(q url.Values, w *mesh.Workload) (bootstrap.Config, error) {
	c := bootstrap.Config{Format: "w3c", Sampling: 100, GatewaySpans: 2, Admin: "127.0.0.1:15000", Outbound: "0.0.0.0:15001"}
	if w.Gateway {
		c.Gateway = "0.0.0.0:8080"
	} else {
		c.Inbound = "0.0.0.0:15006"
	}
	for name, field := range map[string]*string{
		"format": &c.Format, "collector": &c.Collector, "admin": &c.Admin, "inbound": &c.Inbound, "outbound": &c.Outbound, "gateway": &c.Gateway,
	} {
		if q.Has(name) {
			*field = q.Get(name)
		}
	}
	switch c.Format {
	case "b3", "b3+w3c", "w3c":
	default:
		return c, fmt.Errorf("format %q: want b3, b3+w3c or w3c", c.Format)
	}
	if text := q.Get("sampling"); text != "" {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || !(value >= 0 && value <= 100) {
			return c, fmt.Errorf("sampling %q: want a percentage from 0 to 100", text)
		}
		c.Sampling = value
	}
	if text := q.Get("gateway-spans"); text != "" {
		value, err := strconv.Atoi(text)
		if err != nil || value < 1 || value > 2 {
			return c, fmt.Errorf("gateway-spans %q: want 1 or 2", text)
		}
		c.GatewaySpans = value
	}
	return c, nil
}
