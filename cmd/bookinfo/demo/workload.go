package demo

import (
	"net/http"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/details"
	"example.com/bookinfo/services/productpage"
	"example.com/bookinfo/services/ratings"
	"example.com/bookinfo/services/reviews"
)

// workload is one version of one service, what a Deployment is on a cluster.
type workload struct {
	service, version string
	port             int               // preferred
	env              map[string]string // what its Deployment would set
	build            builder
}

// builder makes a service from its settings and parts.
type builder func(env *settings.Env, p parts) (http.Handler, error)

// parts is what the demo hands to a service beside its settings.
type parts struct {
	server.Parts
	dial dialFunc
}

// firstPort is Bookinfo's own port, where productpage listens; the others follow.
const firstPort = server.DefaultPort

// workloads lists what runs, in the order in which it starts and is shown.
func workloads() []workload {
	return []workload{
		{"productpage", "v1", firstPort, nil, buildProductpage},
		{"details", "v1", firstPort + 1, nil, buildDetails},
		{"ratings", "v1", firstPort + 2, nil, buildRatings},
		{"reviews", "v1", firstPort + 3, map[string]string{"ENABLE_RATINGS": "false"}, buildReviews},
		{"reviews", "v2", firstPort + 4, map[string]string{"ENABLE_RATINGS": "true"}, buildReviews},
		{"reviews", "v3", firstPort + 5, map[string]string{"ENABLE_RATINGS": "true", "STAR_COLOR": "red"}, buildReviews},
	}
}

// callers lists the services that call others, whose forwarding can be broken.
func callers() []string { return []string{"productpage", "reviews"} }

func buildProductpage(env *settings.Env, p parts) (http.Handler, error) {
	return productpage.New(productpage.FromEnv(env), productpage.Deps{
		Log: p.Log, Registry: p.Registry, Trace: p.Transport, Dial: p.dial,
	})
}

func buildDetails(env *settings.Env, p parts) (http.Handler, error) {
	cfg := details.FromEnv(env)
	cfg.Log = p.Log
	return details.New(cfg), nil
}

func buildRatings(env *settings.Env, p parts) (http.Handler, error) {
	cfg := ratings.FromEnv(env)
	cfg.Log = p.Log
	return ratings.New(cfg), nil
}

func buildReviews(env *settings.Env, p parts) (http.Handler, error) {
	cfg := reviews.FromEnv(env)
	cfg.Log = p.Log
	transport := reviews.NewTransport()
	transport.DialContext = p.dial
	cfg.Transport = p.Transport(transport)
	return reviews.New(cfg), nil
}

// name is the workload's, such as reviews-v3.
func (w workload) name() string { return w.service + "-" + w.version }
