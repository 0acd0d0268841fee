// Package details serves the facts of a book: from memory, or from Google Books.
package details

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"math/big"
	"net/http"
	"path"
	"strings"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/propagation"
)

// Config is what a details service is made of.
type Config struct {
	// External asks Google Books (v2) in place of the facts that are built in (v1).
	External bool
	// BooksURL is where Google Books is, without a path.
	BooksURL string
	// Transport carries the requests to BooksURL, and sets the trace headers on them; nil means
	// http.DefaultTransport.
	Transport http.RoundTripper
	Log       *slog.Logger
}

// FromEnv reads the settings of the service.
func FromEnv(env *settings.Env) Config {
	env.Declare("SERVICE_VERSION", "v1", "version, for display only")
	// The exact word true and nothing else counts, as in the original.
	external := env.String("ENABLE_EXTERNAL_BOOK_SERVICE", "false", "true asks Google Books (v2)")
	plain := env.String("DO_NOT_ENCRYPT", "false", "true asks Google Books over plain HTTP on port 80, for a sidecar that adds TLS")
	url := "https://www.googleapis.com"
	if plain == "true" {
		url = "http://www.googleapis.com"
	}
	return Config{External: external == "true", BooksURL: url}
}

// Service is the handler of the service.
type Service struct {
	books   *books // nil in v1
	builtIn []byte // the answer of v1 from behind the id on, which is all that differs between products
	routes  http.Handler
}

// New returns the service.
func New(cfg Config) *Service {
	s := &Service{}
	handle := server.Adapt(writeError)
	r := chi.NewRouter()
	// WEBrick, which the original runs on, hands all of these methods to the same code.
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut} {
		r.Method(method, "/health", handle(s.health))
		r.Method(method, "/health/*", handle(s.health))
		r.Method(method, "/details", handle(s.details))
		r.Method(method, "/details/*", handle(s.details))
	}
	for _, pattern := range []string{"/health", "/health/*", "/details", "/details/*"} {
		r.Options(pattern, options)
	}
	r.NotFound(notFound)
	r.MethodNotAllowed(methodNotAllowed(r))
	s.routes = r
	if cfg.External {
		s.books = newBooks(cfg)
		s.routes = propagation.IdentityHandler(identityForBooks(), r)
	} else if body, err := encode(builtIn(new(big.Int))); err == nil { // numbers and texts always can be encoded
		s.builtIn = bytes.TrimPrefix(body, []byte(beforeID+"0"))
	}
	return s
}

// identityForBooks is what a host outside may know of the caller. The original sends it all of them.
func identityForBooks() propagation.Set {
	return propagation.Identity().Without("end-user", "cookie", "authorization", "jwt")
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Routes are of the decoded, shortened path: /details%2F1 and /details//1 are /details/1.
	if r.URL.RawPath != "" || strings.Contains(r.URL.Path, "//") || strings.Contains(r.URL.Path, "/.") {
		url := *r.URL
		url.Path, url.RawPath = clean(url.Path), ""
		shallow := *r
		shallow.URL = &url
		r = &shallow
	}
	s.routes.ServeHTTP(w, r)
}

// clean resolves dots and doubled slashes, and keeps a slash at the end.
func clean(p string) string {
	cleaned := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && cleaned != "/" {
		cleaned += "/"
	}
	return cleaned
}

// Details are the facts of a book. The order of the keys is that of the original.
type Details struct {
	ID        *big.Int `json:"id"`
	Author    string   `json:"author"`
	Year      any      `json:"year"` // a number in v1, a text in v2
	Type      string   `json:"type"`
	Pages     any      `json:"pages"`
	Publisher any      `json:"publisher"`
	Language  string   `json:"language"`
	ISBN10    string   `json:"ISBN-10"`
	ISBN13    string   `json:"ISBN-13"`
}

// builtIn are the facts of v1: every product is the same book.
func builtIn(id *big.Int) Details {
	return Details{
		ID:        id,
		Author:    "William Shakespeare",
		Year:      1595,
		Type:      "paperback",
		Pages:     200,
		Publisher: "PublisherA",
		Language:  "English",
		ISBN10:    "1234567890",
		ISBN13:    "123-1234567890",
	}
}

func (s *Service) health(w http.ResponseWriter, _ *http.Request) error {
	write(w, http.StatusOK, []byte(`{"status":"Details is healthy"}`))
	return nil
}

func (s *Service) details(w http.ResponseWriter, r *http.Request) error {
	id, ok := parseID(lastSegment(r.URL.Path))
	if !ok {
		return server.Errorf(http.StatusBadRequest, "please provide numeric product id")
	}
	if s.books == nil {
		body := make([]byte, 0, 64+len(s.builtIn))
		body = id.Append(append(body, beforeID...), 10)
		write(w, http.StatusOK, append(body, s.builtIn...))
		return nil
	}
	facts, err := s.books.find(r.Context(), id)
	if err != nil {
		return err
	}
	body, err := encode(facts)
	if err != nil {
		return err
	}
	write(w, http.StatusOK, body)
	return nil
}

// beforeID is how every answer begins.
const beforeID = `{"id":`

// encode writes facts as Ruby does, which leaves < > & as they are.
func encode(facts Details) ([]byte, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(facts); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n")), nil
}

// lastSegment is the last part of a path that is not empty: the id is there, however long the path is.
func lastSegment(path string) string {
	path = strings.TrimRight(path, "/")
	return path[strings.LastIndexByte(path, '/')+1:]
}

func writeError(w http.ResponseWriter, _ *http.Request, e *server.Error) {
	body, err := json.Marshal(map[string]string{"error": e.Message})
	if err != nil { // a string always can be encoded
		body = []byte(`{"error":""}`)
	}
	write(w, e.Status, body)
}

// contentType is shared by all answers: the slice is never changed.
var contentType = []string{"application/json"}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = contentType
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may have gone; there is nobody left to tell
}

func options(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET,HEAD,OPTIONS,POST,PUT")
}

func notFound(w http.ResponseWriter, r *http.Request) {
	writePage(w, http.StatusNotFound, "nothing is at "+r.URL.Path)
}

func methodNotAllowed(routes chi.Routes) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// chi asks here for a method that it does not know, whatever the path.
		if !routes.Match(chi.NewRouteContext(), http.MethodGet, r.URL.Path) {
			notFound(w, r)
			return
		}
		w.Header().Set("Allow", "GET,HEAD,OPTIONS,POST,PUT")
		writePage(w, http.StatusMethodNotAllowed, "unsupported method "+r.Method)
	}
}

// writePage answers with a page, as WEBrick does for errors that the service itself knows nothing of.
func writePage(w http.ResponseWriter, status int, message string) {
	title := http.StatusText(status)
	w.Header().Set("Content-Type", "text/html; charset=ISO-8859-1")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<!DOCTYPE html>\n<html lang=\"en\">\n<title>%s</title>\n<h1>%s</h1>\n<p>%s\n",
		title, title, html.EscapeString(asciiOnly(message)))
}

// asciiOnly keeps a page right in every character set.
func asciiOnly(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, s)
}
