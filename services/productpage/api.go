package productpage

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/services/productpage/pyjson"
)

const (
	contentHTML = "text/html; charset=utf-8"
	contentJSON = "application/json"
)

// The one product.
const (
	productTitle = "The Comedy of Errors"
	summaryHTML  = `A farce of mistaken identity by <b>William Shakespeare</b>: two pairs of twins, parted at sea and unaware of each other, cross paths in one city for a single day.`
)

func (s *service) apiProducts(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, pyjson.List(pyjson.Value{}.
		With("id", pyjson.Int(0)).
		With("title", pyjson.Text(productTitle)).
		With("descriptionHtml", pyjson.Text(summaryHTML))))
}

// api passes on what a backend says about a product: its document spelt anew, or its status with a fixed error.
func (s *service) api(b *backend) server.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		found, ok := s.sessions.read(r)
		if ok {
			w.Header().Set("Vary", "Cookie")
		}
		ctx := withIdentity(r, found.name())
		// A path need not be UTF-8; the original replaces what is not.
		id := strings.ToValidUTF8(chi.URLParam(r, "id"), "\uFFFD")
		status, document, err := b.fetch(ctx, id)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			document = b.failure()
		}
		return writeJSON(w, status, document)
	}
}

func writeJSON(w http.ResponseWriter, status int, document pyjson.Value) error {
	w.Header().Set("Content-Type", contentJSON)
	return write(w, status, document.Append(nil))
}

// write sends a whole body; a HEAD request gets its length alone.
func write(w http.ResponseWriter, status int, body []byte) error {
	if status == http.StatusNoContent || status == http.StatusNotModified {
		w.WriteHeader(status)
		return nil
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the caller left, whom nobody can tell
	return nil
}

func (s *service) health(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", contentHTML)
	return write(w, http.StatusOK, []byte("Product page is healthy"))
}
