package productpage

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"example.com/bookinfo/internal/server"
)

//go:embed templates/*.html
var templateFiles embed.FS

// templates holds one parsed template a page, each with the frame around it.
type templates map[string]*template.Template

func parseTemplates() (templates, error) {
	frame, err := template.ParseFS(templateFiles, "templates/frame.html")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	parsed := templates{}
	for _, name := range []string{"index", "productpage", "error", "redirect"} {
		page, err := template.Must(frame.Clone()).ParseFS(templateFiles, "templates/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		parsed[name] = page
	}
	return parsed, nil
}

// policy lets a page load its own styles and images, post its form to us, and nothing else: no script, no frame.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// pageSize is room for most pages, in bytes.
const pageSize = 8 << 10

// pages lends out memory to make a page in, the largest thing that a request would allocate.
type pages struct{ pool sync.Pool }

func (p *pages) get() *bytes.Buffer {
	if body, ok := p.pool.Get().(*bytes.Buffer); ok {
		return body
	}
	return bytes.NewBuffer(make([]byte, 0, pageSize))
}

func (p *pages) put(body *bytes.Buffer) {
	if body.Cap() <= 2*pageSize { // one huge page must not be kept
		body.Reset()
		p.pool.Put(body)
	}
}

// html writes a page. It is made in memory first, so that a failure can still become a status.
func (s *service) html(w http.ResponseWriter, status int, page string, view any) error {
	body := s.pages.get()
	defer s.pages.put(body)
	if err := s.templates[page].ExecuteTemplate(body, "frame", view); err != nil {
		return fmt.Errorf("page %s: %w", page, err)
	}
	h := w.Header()
	h.Set("Content-Type", contentHTML)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	return write(w, status, body.Bytes())
}

type errorView struct {
	Status  int
	Name    string
	Message string
}

// fail answers a request that a handler could not.
func (s *service) fail(w http.ResponseWriter, _ *http.Request, e *server.Error) {
	view := errorView{Status: e.Status, Name: http.StatusText(e.Status), Message: e.Message}
	if e.Status == http.StatusInternalServerError {
		view.Message = "The page could not be made. The log of productpage says why."
	}
	if err := s.html(w, e.Status, "error", view); err != nil {
		http.Error(w, view.Message, e.Status)
	}
}

// node is one service in the tree of the index page.
type node struct {
	Name, Endpoint string
	Children       []node
}

func (s *service) index(w http.ResponseWriter, r *http.Request) error {
	return s.html(w, http.StatusOK, "index", node{
		Name: "http://" + r.Host, Endpoint: "productpage",
		Children: []node{
			{Name: s.details.base, Endpoint: s.details.name},
			{Name: s.reviews.base, Endpoint: s.reviews.name, Children: []node{
				{Name: s.ratings.base, Endpoint: s.ratings.name},
			}},
		},
	})
}

// Label is the name of a service for people.
func (n node) Label() string { return strings.ToUpper(n.Endpoint[:1]) + n.Endpoint[1:] }
