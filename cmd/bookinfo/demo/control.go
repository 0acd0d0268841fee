package demo

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"example.com/bookinfo/deploy/istio"
	"example.com/bookinfo/internal/breakage"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/sidecar/meshapi"
)

// controlPort is where the demo answers for itself.
const controlPort = 9070

//go:embed pages
var pageFiles embed.FS

// control serves the start page of the demo and the API that other commands steer it by.
type control struct {
	*Demo
	page *template.Template
}

func (d *Demo) startControl(listener net.Listener) error {
	page, err := template.New("start.html").Funcs(template.FuncMap{"ms": milliseconds}).ParseFS(pageFiles, "pages/start.html")
	if err != nil {
		return err
	}
	c := &control{Demo: d, page: page}
	d.serveOn(listener, "control", c.routes())
	return nil
}

func (c *control) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(localOnly, http.NewCrossOriginProtection().Handler)
	if c.mesh != nil {
		r.Mount("/api/mesh", meshapi.Handler("/api/mesh", c.mesh)) // takes whole folders of files, and has a limit of its own
	}
	r.Group(c.pages)
	return r
}

func (c *control) pages(r chi.Router) {
	adapt := server.Adapt(func(w http.ResponseWriter, _ *http.Request, e *server.Error) {
		http.Error(w, e.Message, e.Status)
	})
	r.Use(limitBody)
	r.Get("/", adapt(c.start))
	r.Get("/start.css", adapt(c.stylesheet))
	r.Post("/request", adapt(c.request))
	r.Post("/load", adapt(c.load))
	r.Post("/apply", adapt(c.file(c.apply)))
	r.Post("/undo", adapt(c.file(c.undo)))
	r.Post("/break", adapt(c.breakService))

	r.Get("/api/demo", adapt(c.describe))
	r.Post("/api/apps", adapt(c.attach))
	r.Mount("/api/breakage", http.StripPrefix("/api/breakage", breakage.Handler(callers(), c.breakers)))
}

// localOnly refuses requests whose Host is not this machine: a name that a stranger's page had resolved to a loopback
// address would otherwise let that page steer the demo.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			http.Error(w, "the demo is steered from this machine alone", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func limitBody(next http.Handler) http.Handler {
	return http.MaxBytesHandler(next, server.MaxBodyBytes)
}

func (c *control) describe(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(c.info)
}

// startView is what the start page shows.
type startView struct {
	Info     Info
	Rows     []Row
	Sidecars bool
	Format   string
	Profile  string
	Sampling float64
	Forward  string
	Last     *visit
	Loading  bool
	Done     int
	Planned  int
	Load     string
	Problem  string
	Files    []lessonFile
	Traces   []backend.Summary
	Broken   []brokenService
	Words    [][2]string
}

// lessonFile is one of Istio's files that can be applied.
type lessonFile struct {
	Name, About string
	Applied     bool
}

type brokenService struct {
	Service string
	Changes string // empty: forwards as it should
}

// lastTraces is how many traces the start page lists, and lastHour from when.
const (
	lastTraces = 5
	lastHour   = time.Hour
)

func (c *control) start(w http.ResponseWriter, r *http.Request) error {
	view := startView{
		Info: c.info, Rows: c.rows, Sidecars: c.cfg.Sidecars, Format: string(c.cfg.Format), Profile: string(c.cfg.Profile),
		Sampling: c.cfg.Sampling, Forward: c.cfg.Forward, Files: c.files(), Words: breakage.Words(),
	}
	for _, service := range callers() {
		view.Broken = append(view.Broken, brokenService{service, strings.Join(c.breakers[service].Change().Strings(), " ")})
	}
	if c.traces != nil {
		now := time.Now()
		result, err := c.traces.Search(r.Context(), backend.Query{
			Window: backend.Window{From: now.Add(-lastHour), To: now}, OrderBy: backend.ByTime, Limit: lastTraces,
		})
		if err != nil {
			return err
		}
		view.Traces = result.Traces
	}
	if err := c.drive.fill(&view); err != nil {
		return err
	}
	var body bytes.Buffer
	if err := c.page.Execute(&body, view); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, err := w.Write(body.Bytes())
	return err
}

func (v *driver) fill(view *startView) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	view.Last, view.Loading, view.Done, view.Planned, view.Problem = v.last, v.loading, v.done, v.planned, v.problem
	if v.load == nil {
		return nil
	}
	var text strings.Builder
	err := v.load.Write(&text)
	view.Load = text.String()
	return err
}

func (c *control) stylesheet(w http.ResponseWriter, _ *http.Request) error {
	data, err := fs.ReadFile(pageFiles, "pages/start.css")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, err = w.Write(data)
	return err
}

// request asks for the page once, as nobody or as jason.
func (c *control) request(w http.ResponseWriter, r *http.Request) error {
	user := r.FormValue("user")
	if user != "" && user != "jason" {
		return server.Errorf(http.StatusBadRequest, "user %q: want jason or none", user)
	}
	seen, err := c.visit(r.Context(), user)
	c.drive.mu.Lock()
	c.drive.last, c.drive.problem = seen, ""
	if err != nil {
		c.drive.problem = err.Error()
	}
	c.drive.mu.Unlock()
	back(w, r, "request")
	return nil
}

const (
	maxRate     = 1000
	maxDuration = 10 * time.Minute
)

func (c *control) load(w http.ResponseWriter, r *http.Request) error {
	rate, err := strconv.ParseFloat(r.FormValue("rate"), 64)
	if err != nil || !(rate >= 1 && rate <= maxRate) {
		return server.Errorf(http.StatusBadRequest, "rate %q: want requests per second from 1 to %d", r.FormValue("rate"), maxRate)
	}
	seconds, err := strconv.Atoi(r.FormValue("seconds"))
	if err != nil || seconds < 1 || time.Duration(seconds)*time.Second > maxDuration {
		return server.Errorf(http.StatusBadRequest, "seconds %q: want a number from 1 to %g", r.FormValue("seconds"), maxDuration.Seconds())
	}
	if err := c.startLoad(rate, time.Duration(seconds)*time.Second); err != nil {
		return server.Errorf(http.StatusConflict, "%v", err)
	}
	back(w, r, "load")
	return nil
}

// file applies or undoes the file that the form names.
func (c *control) file(do func(name string) error) server.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.FormValue("file")
		if !slices.ContainsFunc(c.files(), func(f lessonFile) bool { return f.Name == name }) {
			return server.Errorf(http.StatusNotFound, "file %q: want one of deploy/istio", name)
		}
		if err := do(name); err != nil {
			return server.Errorf(http.StatusUnprocessableEntity, "%s: %v", name, err)
		}
		back(w, r, "files")
		return nil
	}
}

func (c *control) breakService(w http.ResponseWriter, r *http.Request) error {
	breaker := c.breakers[r.FormValue("service")]
	if breaker == nil {
		return server.Errorf(http.StatusNotFound, "service %q: want one of %s", r.FormValue("service"), strings.Join(callers(), ", "))
	}
	change, err := breakage.Parse(strings.Fields(r.FormValue("changes")))
	if err != nil {
		return server.Errorf(http.StatusBadRequest, "changes: %v", err)
	}
	breaker.Set(change)
	back(w, r, "forwarding")
	return nil
}

func back(w http.ResponseWriter, r *http.Request, section string) {
	http.Redirect(w, r, "/#"+section, http.StatusSeeOther)
}

// files lists the files of deploy/istio that the stand-in understands, each with the first sentence of its comment.
func (c *control) files() []lessonFile {
	names, err := fs.Glob(istio.Files(), "*.yaml")
	if err != nil {
		return nil // the pattern is right
	}
	snapshot := c.mesh.Snapshot()
	var list []lessonFile
	for _, name := range names {
		data, err := fs.ReadFile(istio.Files(), name)
		if err != nil {
			continue
		}
		resources, problems := mesh.Decode(mesh.File{Name: name, Data: data}, namespace)
		if len(resources) == 0 || slices.ContainsFunc(problems, func(p mesh.Problem) bool { return !p.Warning }) {
			continue // for a real Istio alone
		}
		list = append(list, lessonFile{Name: path.Base(name), About: firstComment(string(data)), Applied: inForce(snapshot, resources)})
	}
	return list
}

// inForce tells whether every resource of a file is there as the file has it.
func inForce(s *mesh.Snapshot, resources []*mesh.Resource) bool {
	for _, wanted := range resources {
		if !slices.ContainsFunc(s.Resources, func(r *mesh.Resource) bool {
			return r.Key() == wanted.Key() && bytes.Equal(r.SpecJSON, wanted.SpecJSON)
		}) {
			return false
		}
	}
	return true
}

// firstComment is the text of the comment that a file begins with, up to its first full stop.
func firstComment(data string) string {
	var words []string
	for line := range strings.Lines(data) {
		text, found := strings.CutPrefix(line, "#")
		if !found {
			break
		}
		words = append(words, strings.TrimSpace(text))
	}
	text := strings.Join(words, " ")
	if sentence, _, found := strings.Cut(text, ". "); found {
		return sentence + "."
	}
	return text
}

// milliseconds is a duration for people.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
