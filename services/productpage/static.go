package productpage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"time"

	"github.com/go-chi/chi/v5"
)

//go:embed static
var staticFiles embed.FS

// assets holds the files under /static by their path below it.
type assets struct {
	files    map[string]asset
	modified time.Time
}

type asset struct {
	content     []byte
	contentType string
	etag        string
}

func loadAssets() (assets, error) {
	loaded := assets{files: map[string]asset{}, modified: builtAt()}
	root, err := fs.Sub(staticFiles, "static")
	if err != nil {
		return assets{}, fmt.Errorf("static files: %w", err)
	}
	err = fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		loaded.files[name] = asset{content, contentType(name), `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	if err != nil {
		return assets{}, fmt.Errorf("static files: %w", err)
	}
	return loaded, nil
}

// builtAt is the time of the binary, as old as what is embedded in it, or zero if it cannot be told.
func builtAt() time.Time {
	name, err := os.Executable()
	if err != nil {
		return time.Time{}
	}
	info, err := os.Stat(name)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// contentType does not ask the machine's own table of types, which differs.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml; charset=utf-8"
	case ".png":
		return "image/png"
	}
	return "application/octet-stream"
}

// static serves an embedded file. Browsers may keep it but must ask whether it is still the same, since its name
// stays when its content changes.
func (s *service) static(w http.ResponseWriter, r *http.Request) error {
	name := chi.URLParam(r, "*")
	file, found := s.assets.files[name]
	if !found {
		return s.notFound(w, r)
	}
	h := w.Header()
	h.Set("Content-Type", file.contentType)
	h.Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": path.Base(name)}))
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", file.etag)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", s.assets.modified, bytes.NewReader(file.content))
	return nil
}
