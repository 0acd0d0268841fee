// Package ratings serves the stars of a book's reviews: from memory, from a database, or badly on purpose.
package ratings

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
)

// Config is what a ratings service is made of.
type Config struct {
	// Version is v1 (from memory), v2 (from Database), v-faulty, v-delayed, v-unavailable or v-unhealthy. Any other
	// means v1.
	Version string
	// Database holds the ratings of v2, and is nil in the others.
	Database Database
	// Now is the clock of the versions that fail from time to time; nil means time.Now.
	Now func() time.Time
	// Random returns a number from 0 to below 1, for the versions that fail by chance; nil means math/rand.
	Random func() float64
	Log    *slog.Logger
}

// FromEnv reads the settings of the service, but not those of a database.
func FromEnv(env *settings.Env) Config {
	return Config{
		Version: env.String("SERVICE_VERSION", "v1", "v1 from memory, v2 from a database, or failing: v-faulty, v-delayed, v-unavailable, v-unhealthy"),
	}
}

// Service is the handler of the service.
type Service struct {
	cfg    Config
	memory *memory
	mood   mood
	routes http.Handler
}

// New returns the service. It never fails: a database that is down is told to the caller of each request.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, memory: newMemory(), mood: newMood(cfg)}

	handle := server.Adapt(writeError)
	r := chi.NewRouter()
	r.Get("/health", handle(s.health))
	r.Head("/health", handle(s.health))
	r.Get("/ratings/*", handle(s.get))
	r.Head("/ratings/*", handle(s.get))
	r.Post("/ratings/*", handle(s.post))
	r.NotFound(notFound)
	r.MethodNotAllowed(handle(methodNotAllowed))
	s.routes = r
	return s
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// Close gives up the connections to the database.
func (s *Service) Close() error {
	if s.cfg.Database == nil {
		return nil
	}
	return s.cfg.Database.Close()
}

func (s *Service) health(w http.ResponseWriter, _ *http.Request) error {
	if s.mood.unhealthy() {
		write(w, http.StatusInternalServerError, []byte(`{"status":"Ratings is not healthy"}`))
		return nil
	}
	write(w, http.StatusOK, []byte(`{"status":"Ratings is healthy"}`))
	return nil
}

func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	id, err := productID(r)
	if err != nil {
		return err
	}
	if err := s.mood.strike(r.Context()); err != nil {
		return err
	}
	if s.cfg.Database == nil {
		write(w, http.StatusOK, answer(id, s.memory.get(id)))
		return nil
	}
	ratings, err := s.cfg.Database.Ratings(r.Context())
	if err != nil {
		return err
	}
	write(w, http.StatusOK, answer(id, ratings.appendJSON(nil)))
	return nil
}

func (s *Service) post(w http.ResponseWriter, r *http.Request) error {
	id, err := productID(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	posted, err := restringify(body)
	if err != nil {
		return &server.Error{Status: http.StatusBadRequest, Message: "please provide valid ratings JSON", Err: err}
	}
	if s.cfg.Database != nil {
		return server.Errorf(http.StatusNotImplemented, "Post not implemented for database backed ratings")
	}
	s.memory.put(id, posted)
	write(w, http.StatusOK, answer(id, posted))
	return nil
}

func notFound(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }

func methodNotAllowed(w http.ResponseWriter, r *http.Request) error {
	var allow string
	switch {
	case r.URL.Path == "/health" && r.Method != http.MethodPost: // POST is not found there, as in the original
		allow = "GET, HEAD"
	case strings.HasPrefix(r.URL.Path, "/ratings/"):
		allow = "GET, HEAD, POST"
	default: // chi asks here for a method that it does not know, whatever the path
		notFound(w, r)
		return nil
	}
	w.Header().Set("Allow", allow)
	return server.Errorf(http.StatusMethodNotAllowed, "method %s is not allowed, only %s", r.Method, allow)
}

// productID is the number that the last segment of the request target begins with. The target counts as it was sent,
// query and all: the original splits it and not the path.
func productID(r *http.Request) (float64, error) {
	target := r.RequestURI
	id := parseInt(target[strings.LastIndexByte(target, '/')+1:])
	if math.IsNaN(id) {
		return 0, server.Errorf(http.StatusBadRequest, "please provide numeric product ID")
	}
	return id, nil
}

// answer is the body for a product and its ratings, which are JSON already.
func answer(id float64, ratings []byte) []byte {
	body := make([]byte, 0, 48+len(ratings))
	body = append(body, `{"id":`...)
	body = AppendNumber(body, id)
	body = append(body, `,"ratings":`...)
	body = append(body, ratings...)
	return append(body, '}')
}

func writeError(w http.ResponseWriter, _ *http.Request, e *server.Error) {
	message, err := json.Marshal(e.Message)
	if err != nil { // a string always can be encoded
		message = []byte(`""`)
	}
	write(w, e.Status, append(append([]byte(`{"error":`), message...), '}'))
}

// contentType is shared by all answers: the slice is never changed.
var contentType = []string{"application/json"}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	// The original spells the header's name like this. The other key only keeps net/http from adding its own.
	h["Content-type"] = contentType
	h["Content-Type"] = nil
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may have gone; there is nobody left to tell
}

var errGone = errors.New("the caller went away during the delay")

// sleep waits, unless the caller goes away first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.Join(errGone, context.Cause(ctx))
	}
}
