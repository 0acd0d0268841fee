package productpage

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"example.com/bookinfo/internal/settings"
)

// sessionKeyBytes is the least length of a session key, and that of a random one.
const sessionKeyBytes = 32

// Config holds the settings of the service.
type Config struct {
	Details, Reviews, Ratings string // host and port of the backends
	FloodFactor               int    // extra requests to reviews before the one of each page
	SessionKey                []byte // signs the session cookie; empty: a random one
	PoolConnections           bool   // keep connections to the backends
	TraceURL                  string // address of a trace, with {traceId} in it; empty: pages have no link to theirs
	Proxy                     func(*http.Request) (*url.URL, error)
}

// FromEnv reads the settings. Wrong ones are remembered by env.
func FromEnv(env *settings.Env) Config {
	domain := env.Host("SERVICES_DOMAIN", "", "domain behind the host name of every backend")
	if domain != "" {
		domain = "." + domain
	}
	cfg := Config{
		Details:     backendAddress(env, "DETAILS", "details", domain),
		Reviews:     backendAddress(env, "REVIEWS", "reviews", domain),
		Ratings:     backendAddress(env, "RATINGS", "ratings", domain),
		FloodFactor: env.Int("FLOOD_FACTOR", 0, 0, 100_000, "extra requests to reviews before the one of each page"),
		PoolConnections: env.Bool("POOL_CONNECTIONS", false,
			"keep connections to the backends; without it each request opens its own, so that balancing by connection spreads them"),
		TraceURL: traceURL(env),
		Proxy:    proxy(env),
	}
	if key, set := env.Optional("SESSION_KEY", "secret that signs session cookies, at least 32 bytes, the same for all replicas; without it a random one"); set {
		if len(key) < sessionKeyBytes {
			env.RejectSecret("SESSION_KEY", "at least 32 bytes")
		}
		cfg.SessionKey = []byte(key)
	}
	return cfg
}

// backendAddress reads host and port of a backend. Each is used as it is when it is set, even to nothing. Kubernetes
// sets NAME_SERVICE_PORT in every pod; it also sets NAME_PORT, to a URL, which is therefore not read.
func backendAddress(env *settings.Env, prefix, name, domain string) string {
	host := env.Host(prefix+"_HOSTNAME", name, "host of "+name)
	port := env.String(prefix+"_SERVICE_PORT", "9080", "port of "+name)
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
		env.Reject(prefix+"_SERVICE_PORT", "a number from 1 to 65535")
	}
	return net.JoinHostPort(strings.Trim(host, "[]")+domain, port)
}

const traceIDPlaceholder = "{traceId}"

func traceURL(env *settings.Env) string {
	template := env.String("TRACE_URL", "", "address of a trace in a viewer, such as http://localhost:9411/traces/{traceId}; pages link to theirs")
	if template == "" {
		return ""
	}
	address, err := url.Parse(strings.ReplaceAll(template, traceIDPlaceholder, "0"))
	if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Host == "" || !strings.Contains(template, traceIDPlaceholder) {
		env.Reject("TRACE_URL", "an http or https address with {traceId} in it")
		return ""
	}
	return template
}

// proxy chooses the proxy of a request to a backend by the usual variables.
func proxy(env *settings.Env) func(*http.Request) (*url.URL, error) {
	either := func(name string) (value, from string) {
		if value = env.String(name, "", "proxy for requests to the backends, as usual; lower case too"); value != "" {
			return value, name
		}
		name = strings.ToLower(name)
		return env.Getenv(name), name
	}
	address := func(name string) string {
		value, from := either(name)
		if value != "" && !isProxy(value) {
			env.Reject(from, "the address of a proxy, such as http://proxy.example:3128")
		}
		return value
	}
	none, _ := either("NO_PROXY")
	config := httpproxy.Config{HTTPProxy: address("HTTP_PROXY"), HTTPSProxy: address("HTTPS_PROXY"), NoProxy: none}
	if config.HTTPProxy == "" && config.HTTPSProxy == "" {
		return nil
	}
	choose := config.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
}

// isProxy tells whether httpproxy can read the address, for which it needs no scheme; one that it cannot read counts as
// none there.
func isProxy(address string) bool {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	parsed, err := url.Parse(address)
	return err == nil && parsed.Host != ""
}
