package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/services/console/expr"
)

// view is what a template gets: the frame of the page and its own Body.
type view struct {
	Title string
	// Section marks the navigation entry, Live the addresses of events that make the page refresh.
	Section string
	Live    string
	Body    any
	// Frame
	Select  selection
	Theme   string
	Path    string
	URL     string
	Note    string
	Links   []Link
	Lessons bool
	Admin   bool
	Regions []string
	Script  []string
	Refresh int
}

// asset is a file under an address that changes with its content, so that browsers may keep it for good.
type asset struct {
	url, kind string
	data      []byte
	imports   []string // of a module, which a page names so that they are fetched together with it
}

func readAssets(files embed.FS) (map[string]asset, error) {
	entries, err := files.ReadDir("assets")
	if err != nil {
		return nil, err
	}
	// The modules import each other by relative address, so all files share the hash of all contents.
	sum := sha256.New()
	contents := make(map[string][]byte)
	for _, e := range entries {
		data, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, err
		}
		contents[e.Name()] = data
		sum.Write(data)
	}
	hash := hex.EncodeToString(sum.Sum(nil))[:12]
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	out := make(map[string]asset)
	imported := regexp.MustCompile(`(?m)^import .* from "\./([a-z]+\.js)";$`)
	for name, data := range contents {
		a := asset{url: "/assets/" + hash + "/" + name, kind: kinds[path.Ext(name)], data: data}
		for _, found := range imported.FindAllSubmatch(data, -1) {
			a.imports = append(a.imports, string(found[1]))
		}
		out[name] = a
	}
	return out, nil
}

// modules lists what the modules of a page import, each once.
func (c *console) modules(scripts []string) []string {
	var out []string
	for _, name := range append([]string{"console.js"}, scripts...) {
		for _, i := range c.assets[name].imports {
			if i != "console.js" && !slices.Contains(out, i) {
				out = append(out, i)
			}
		}
	}
	return out
}

func (c *console) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets[param(r, "name")]
	if !ok || a.url != r.URL.Path {
		c.fail(w, r, http.StatusNotFound, "no such file")
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Type", a.kind)
	_, _ = w.Write(a.data)
}

func (c *console) favicon(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = w.Write(c.assets["icon.svg"].data)
}

// parse reads every page together with the frame and the parts that pages share.
func (c *console) parse(files embed.FS) (map[string]*template.Template, error) {
	shared, err := template.New("").Funcs(c.funcs()).ParseFS(files, "templates/frame.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	pages := make(map[string]*template.Template)
	for _, name := range names {
		page := strings.TrimSuffix(path.Base(name), ".html")
		if page == "frame" || page == "parts" {
			continue
		}
		t, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if pages[page], err = t.ParseFS(files, name); err != nil {
			return nil, err
		}
	}
	return pages, nil
}

// render writes a whole page, or nothing when its template fails.
func (c *console) render(w http.ResponseWriter, r *http.Request, status int, page string, v view) error {
	v.Path, v.URL = r.URL.Path, r.URL.RequestURI()
	v.Note, v.Links, v.Lessons, v.Admin = c.Note, c.Links, len(c.Lessons) > 0, c.Admin != nil
	if v.Select.Range == "" {
		v.Select, _ = c.selection(r)
	}
	if cookie, err := r.Cookie("theme"); err == nil && slices.Contains(themes(), cookie.Value) {
		v.Theme = cookie.Value
	}
	if v.Regions == nil {
		v.Regions = c.regions(r)
	}
	return c.write(w, status, page, "frame", v)
}

// fragment writes a part of a page, for scripts.
func (c *console) write(w http.ResponseWriter, status int, page, name string, data any) error {
	var b bytes.Buffer
	if err := c.pages[page].ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return ignoreGone(err)
}

// param gives a part of the path. chi matches the escaped path where there is one and leaves the part as it found it.
func param(r *http.Request, name string) string {
	text := chi.URLParam(r, name)
	if r.URL.RawPath == "" {
		return text
	}
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

func writeJSON(w http.ResponseWriter, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(data)
	return ignoreGone(err)
}

// ignoreGone drops the error of a write to a client which left: there is nobody to tell.
func ignoreGone(error) error { return nil }

func badExpression(err error) string {
	var bad *expr.Error
	if errors.As(err, &bad) {
		return bad.Error()
	}
	return ""
}

func themes() []string { return []string{"system", "light", "dark"} }

// appearance keeps the choice of light or dark in a cookie.
func (c *console) appearance(w http.ResponseWriter, r *http.Request) error {
	theme := r.PostFormValue("theme")
	if !slices.Contains(themes(), theme) {
		return badRequest(fmt.Sprintf("theme %q: want system, light or dark", theme))
	}
	http.SetCookie(w, &http.Cookie{Name: "theme", Value: theme, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true,
		SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, localPath(r.PostFormValue("back")), http.StatusSeeOther)
	return nil
}

// localPath keeps a redirect on this console: a path of one leading slash, anything else becomes "/".
func localPath(back string) string {
	u, err := url.Parse(back)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(u.Path, "//") || strings.Contains(back, `\`) {
		return "/"
	}
	return u.RequestURI()
}
