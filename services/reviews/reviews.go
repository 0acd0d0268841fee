// Package reviews serves what people say about a book, with stars that it asks the ratings service for.
package reviews

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/propagation"
)

// Config is what a reviews service is made of.
type Config struct {
	// Ratings adds stars to the reviews (v2 and v3); without it there are none (v1).
	Ratings bool
	// StarColor is the color of the stars. It also chooses how long to wait for ratings; see Timeout.
	StarColor string
	// RatingsURL is where ratings is, without a path.
	RatingsURL string
	// PodName and ClusterName are shown with the reviews; "null" stands for none.
	PodName, ClusterName string
	// Transport carries the requests to ratings, and sets the trace headers on them; nil means NewTransport().
	Transport http.RoundTripper
	Log       *slog.Logger
}

// FromEnv reads the settings of the service.
func FromEnv(env *settings.Env) Config {
	env.Declare("SERVICE_VERSION", "v1", "version, for display only")
	cfg := Config{
		Ratings:   strings.EqualFold(env.String("ENABLE_RATINGS", "false", "true shows stars (v2, v3)"), "true"),
		StarColor: env.String("STAR_COLOR", "black", "color of the stars; black waits 10 s for ratings (v2), any other 2.5 s (v3)"),
		PodName:   orNull(env.Optional("HOSTNAME", "name of the pod, shown with the reviews")),
	}
	cfg.ClusterName = orNull(env.Optional("CLUSTER_NAME", "name of the cluster, shown with the reviews"))
	host := env.Host("RATINGS_HOSTNAME", "ratings", "host of ratings")
	if domain := env.Host("SERVICES_DOMAIN", "", "domain to append to the host of ratings"); domain != "" {
		host += "." + domain
	}
	port := env.Int("RATINGS_SERVICE_PORT", server.DefaultPort, 1, 65535, "port of ratings")
	cfg.RatingsURL = "http://" + net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
	return cfg
}

// orNull is how the original prints a variable that is not set.
func orNull(value string, set bool) string {
	if !set {
		return "null"
	}
	return value
}

// Timeout is how long a request to ratings may take. That it differs is one of Bookinfo's deliberate bugs: v2 waits
// longer than productpage does, v3 does not.
func (c Config) Timeout() time.Duration {
	if c.StarColor == "black" {
		return 10 * time.Second
	}
	return 2500 * time.Millisecond
}

// Service is the handler of the service.
type Service struct {
	words   words
	ratings *ratingsClient // nil in v1
	routes  http.Handler
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{words: newWords(cfg)}
	handle := server.Adapt(writeError)
	r := chi.NewRouter()
	for _, slash := range []string{"", "/"} { // JAX-RS does not care about one at the end
		r.Get("/health"+slash, handle(s.health))
		r.Head("/health"+slash, handle(s.health))
		r.Options("/health"+slash, options)
		r.Get("/reviews/{id:-?[0-9]+}"+slash, handle(s.reviews))
		r.Head("/reviews/{id:-?[0-9]+}"+slash, handle(s.reviews))
		r.Options("/reviews/{id:-?[0-9]+}"+slash, options)
	}
	r.NotFound(notFound)
	r.MethodNotAllowed(methodNotAllowed(r))
	s.routes = r
	if cfg.Ratings {
		s.ratings = newRatingsClient(cfg)
	}
	return s
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Headers of the servlet container that the original runs in: its answers carry them, whatever their status.
	h := w.Header()
	h["X-Powered-By"] = poweredBy
	h["Content-Language"] = language
	s.routes.ServeHTTP(w, r)
}

// Values of headers that all answers share: the slices are never changed.
var (
	poweredBy   = []string{"Servlet/3.1"}
	language    = []string{"en-US"}
	contentType = []string{"application/json"}
)

func (s *Service) health(w http.ResponseWriter, _ *http.Request) error {
	write(w, http.StatusOK, []byte(`{"status": "Reviews is healthy"}`))
	return nil
}

func (s *Service) reviews(w http.ResponseWriter, r *http.Request) error {
	// An id is an int of Java.
	id, err := strconv.ParseInt(chi.URLParam(r, "id"), 10, 32)
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	var stars [2]*int32
	if s.ratings != nil {
		ctx := propagation.NewIdentityContext(r.Context(), propagation.CaptureIdentity(r.Header))
		if stars, err = s.ratings.stars(ctx, id); err != nil {
			return err
		}
	}
	write(w, http.StatusOK, s.body(id, stars))
	return nil
}

// texts are the two reviews of every book.
func texts() [2]string {
	return [2]string{
		"Two pairs of twins, one town and no end of slapstick: I laughed from the first scene to the last.",
		"Great fun and over before you know it, though anyone who looks for depth will find more of it in the later plays.",
	}
}

// words are the parts of a body that are the same for every request. The spaces are those of the original, which tutorials
// print and tests compare.
type words struct {
	head    string    // between the id and the reviews
	reviews [2]string // each without its rating and the brace at the end
	color   string    // after the number of stars
}

func newWords(cfg Config) words {
	w := words{
		head:  `","podname": ` + quote(cfg.PodName) + `,"clustername": ` + quote(cfg.ClusterName) + `,"reviews": [`,
		color: `, "color": ` + quote(cfg.StarColor) + `}`,
	}
	for i, text := range texts() {
		w.reviews[i] = `{  "reviewer": ` + quote(reviewers[i]) + `,  "text": ` + quote(text)
	}
	return w
}

func (s *Service) body(id int64, stars [2]*int32) []byte {
	b := make([]byte, 0, 768)
	b = append(b, `{"id": "`...)
	b = strconv.AppendInt(b, id, 10)
	b = append(b, s.words.head...)
	for i, review := range s.words.reviews {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, review...)
		if s.ratings != nil {
			b = s.appendRating(append(b, `, "rating": `...), stars[i])
		}
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

func (s *Service) appendRating(b []byte, stars *int32) []byte {
	if stars == nil {
		return append(b, `{"error": "Ratings service is currently unavailable"}`...)
	}
	b = append(b, `{"stars": `...)
	b = strconv.AppendInt(b, int64(*stars), 10)
	return append(b, s.words.color...)
}

// quote writes a JSON string, with <, > and & as they are.
func quote(s string) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil { // a string always can be encoded
		return `""`
	}
	return strings.TrimSuffix(text.String(), "\n")
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = contentType
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may have gone; there is nobody left to tell
}

func writeError(w http.ResponseWriter, _ *http.Request, e *server.Error) {
	write(w, e.Status, []byte(`{"error": `+quote(e.Message)+`}`))
}

func options(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET,OPTIONS,HEAD")
}

// notFound and methodNotAllowed answer as JAX-RS does: no body, and what would be allowed.
func notFound(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "OPTIONS")
	w.WriteHeader(http.StatusNotFound)
}

func methodNotAllowed(routes chi.Routes) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// chi asks here for a method that it does not know, whatever the path.
		if !routes.Match(chi.NewRouteContext(), http.MethodGet, r.URL.Path) {
			notFound(w, r)
			return
		}
		w.Header().Set("Allow", "GET,OPTIONS,HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}
