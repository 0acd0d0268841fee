// Package meshapi is the HTTP endpoint by which Istio files reach a mesh and people see what became of them: apply, get,
// delete, diff, the routes in force, and which of them a request would take. The commands of bookinfo talk to it.
package meshapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/compile"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/route"
)

// maxBody is the most bytes that a request may bring: a folder of files.
const maxBody = 64 << 20

// Handler serves the mesh below the path prefix, for example "/api/mesh". Every answer is JSON; an error is an object
// with the key "error".
func Handler(prefix string, m *mesh.Mesh) http.Handler {
	a := &api{m: m}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+prefix+"/apply", a.apply)
	mux.HandleFunc("POST "+prefix+"/delete", a.delete)
	mux.HandleFunc("GET "+prefix+"/resources", a.resources)
	mux.HandleFunc("GET "+prefix+"/workloads", a.workloads)
	mux.HandleFunc("GET "+prefix+"/routes", a.routes)
	mux.HandleFunc("POST "+prefix+"/explain", a.explain)
	mux.HandleFunc("GET "+prefix+"/envoy-config", a.envoyConfig)
	return mux
}

type api struct{ m *mesh.Mesh }

// ApplyRequest asks for files to be applied.
type ApplyRequest struct {
	Files []mesh.File `json:"files"`
	// Namespace of resources that name none; "default" if empty.
	Namespace string `json:"namespace,omitempty"`
	DryRun    bool   `json:"dryRun,omitempty"`
}

// ApplyResponse says what happened. Status 422 if any file was refused; the others were applied nevertheless.
type ApplyResponse struct {
	Changes  []Change       `json:"changes"`
	Problems []mesh.Problem `json:"problems"`
}

// Change is one resource with what was done, as it is now, and as it was before (absent if it was not there).
type Change struct {
	Action string         `json:"action"`
	Name   string         `json:"name"`
	Object *mesh.Resource `json:"object"`
	Before *mesh.Resource `json:"before,omitempty"`
}

func (a *api) apply(w http.ResponseWriter, r *http.Request) {
	var in ApplyRequest
	if !read(w, r, &in) {
		return
	}
	before := a.m.Snapshot()
	result := a.m.Apply(in.Files, namespaceOr(in.Namespace), in.DryRun)
	out := ApplyResponse{Changes: []Change{}, Problems: append([]mesh.Problem{}, result.Problems...)}
	for _, c := range result.Changes {
		change := Change{Action: c.Action, Name: c.Name, Object: c.Resource}
		if c.Action == "configured" {
			change.Before = before.Resource(c.Resource.Key())
		}
		out.Changes = append(out.Changes, change)
	}
	status := http.StatusOK
	if result.Failed() {
		status = http.StatusUnprocessableEntity
	}
	write(w, status, out)
}

func namespaceOr(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}

// DeleteRequest names resources, or has files that do.
type DeleteRequest struct {
	Keys      []mesh.Key  `json:"keys,omitempty"`
	Files     []mesh.File `json:"files,omitempty"`
	Namespace string      `json:"namespace,omitempty"`
	DryRun    bool        `json:"dryRun,omitempty"`
}

// DeleteResponse lists what was deleted; Errors what was not there (status 404), Problems which files could not be read
// (status 422). The others are taken nevertheless.
type DeleteResponse struct {
	Changes  []Change       `json:"changes"`
	Errors   []string       `json:"errors,omitempty"`
	Problems []mesh.Problem `json:"problems,omitempty"`
}

func (a *api) delete(w http.ResponseWriter, r *http.Request) {
	var in DeleteRequest
	if !read(w, r, &in) {
		return
	}
	keys := in.Keys
	out := DeleteResponse{Changes: []Change{}}
	for _, file := range in.Files {
		resources, problems := mesh.Decode(file, namespaceOr(in.Namespace))
		problems = slices.DeleteFunc(problems, func(p mesh.Problem) bool { return p.Warning })
		if len(problems) > 0 {
			out.Problems = append(out.Problems, problems...)
			continue
		}
		for _, resource := range resources {
			keys = append(keys, resource.Key())
		}
	}
	changes, err := a.m.Delete(keys, in.DryRun)
	for _, c := range changes {
		out.Changes = append(out.Changes, Change{Action: c.Action, Name: c.Name, Object: c.Resource})
	}
	status := http.StatusOK
	if err != nil {
		status = http.StatusNotFound
		out.Errors = strings.Split(err.Error(), "\n")
	}
	if len(out.Problems) > 0 {
		status = http.StatusUnprocessableEntity
	}
	write(w, status, out)
}

// resources lists what was applied, all of it or that of a group, kind, namespace and name.
func (a *api) resources(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	want := func(key, value string) bool { return q.Get(key) == "" || q.Get(key) == value }
	found := []*mesh.Resource{}
	for _, resource := range a.m.Snapshot().Resources {
		if want("group", resource.Kind.Group) && want("kind", resource.Kind.Name) && want("namespace", resource.Namespace) && want("name", resource.Name) {
			found = append(found, resource)
		}
	}
	write(w, http.StatusOK, found)
}

// Workload is a proxy whose routes can be asked for.
type Workload struct {
	Name, Namespace, Pod, IP string
	Gateway                  bool
	Labels                   map[string]string
}

func (a *api) workloads(w http.ResponseWriter, _ *http.Request) {
	list := []Workload{}
	for _, workload := range a.m.Snapshot().Workloads {
		list = append(list, Workload{workload.Name, workload.Namespace, workload.Pod, workload.IP, workload.Gateway, workload.Labels})
	}
	write(w, http.StatusOK, list)
}

// table finds the table that answers questions about requests sent from a workload: a gateway's own, a sidecar's
// outbound one.
func (a *api) table(from string) (*route.Table, *mesh.Workload, error) {
	s := a.m.Snapshot()
	i := slices.IndexFunc(s.Workloads, func(w *mesh.Workload) bool { return w.Name == from || w.Pod == from })
	if i < 0 {
		var names []string
		for _, w := range s.Workloads {
			names = append(names, w.Name)
		}
		return nil, nil, fmt.Errorf("no workload %q: there are %s", from, strings.Join(names, ", "))
	}
	tables := compile.For(s, s.Workloads[i])
	if tables.Gateway != nil {
		return tables.Gateway, s.Workloads[i], nil
	}
	return tables.Outbound, s.Workloads[i], nil
}

// RouteView is one line of the table in force.
type RouteView struct {
	// Host is the virtual host, Domains the names that it answers to.
	Host     string   `json:"host"`
	Port     int      `json:"port,omitempty"`
	Domains  []string `json:"domains"`
	Name     string   `json:"name,omitempty"`
	Match    string   `json:"match"`
	To       []string `json:"to"`
	Settings []string `json:"settings,omitempty"`
	// Operation is the name of the route's spans.
	Operation string `json:"operation"`
	Source    string `json:"source"`
}

func (a *api) routes(w http.ResponseWriter, r *http.Request) {
	table, _, err := a.table(r.URL.Query().Get("from"))
	if err != nil {
		fail(w, http.StatusNotFound, err.Error())
		return
	}
	views := []RouteView{}
	for _, host := range table.Hosts() {
		for _, route := range host.Routes {
			views = append(views, RouteView{
				Host: host.Name, Port: host.Port, Domains: host.Domains, Name: route.Name, Match: route.Match.String(),
				To: route.Action(), Settings: route.Settings(), Operation: route.Operation, Source: route.Source,
			})
		}
	}
	write(w, http.StatusOK, views)
}

// ExplainRequest describes a request that a workload might send.
type ExplainRequest struct {
	From      string `json:"from"`
	Method    string `json:"method"`
	Authority string `json:"authority"`
	Path      string `json:"path"`
	// Headers in order, name and value.
	Headers [][2]string `json:"headers,omitempty"`
}

// ExplainResponse tells the route, the cluster of each destination with its endpoints, and the rules of the callee.
type ExplainResponse struct {
	route.Explanation
	To        []Destination `json:"to,omitempty"`
	Settings  []string      `json:"settings,omitempty"`
	Operation string        `json:"operation,omitempty"`
}

// Destination is one cluster of the route that is taken.
type Destination struct {
	Action string `json:"action"`
	// Endpoints by pod name; empty: 503, flag UH. Missing: the cluster does not exist (503, flag NC).
	Endpoints []string `json:"endpoints"`
	Missing   bool     `json:"missing,omitempty"`
	// Denied lists the endpoints whose AuthorizationPolicies refuse the request.
	Denied []string `json:"denied,omitempty"`
}

func (a *api) explain(w http.ResponseWriter, r *http.Request) {
	var in ExplainRequest
	if !read(w, r, &in) {
		return
	}
	table, from, err := a.table(in.From)
	if err != nil {
		fail(w, http.StatusNotFound, err.Error())
		return
	}
	s := a.m.Snapshot()
	request := &route.Request{Method: in.Method, Scheme: "http", Authority: in.Authority, Path: in.Path}
	for _, h := range in.Headers {
		request.Headers.Add(strings.ToLower(h[0]), h[1])
	}
	out := ExplainResponse{Explanation: table.Explain(request)}
	if taken := out.Taken(); taken != nil {
		out.Settings, out.Operation = taken.Settings(), taken.Operation
		for i, action := range taken.Action() {
			destination := Destination{Action: action, Endpoints: []string{}}
			if i < len(taken.Clusters) {
				a.endpoints(s, &destination, table.Clusters[taken.Clusters[i].Cluster], from, request)
			}
			out.To = append(out.To, destination)
		}
	}
	write(w, http.StatusOK, out)
}

// endpoints names the pods of a cluster, and asks each one's inbound rules about the request.
func (a *api) endpoints(s *mesh.Snapshot, d *Destination, cluster *route.Cluster, from *mesh.Workload, r *route.Request) {
	if cluster == nil {
		d.Missing = true
		return
	}
	asked := *r
	asked.Principal = from.Principal(s.TrustDomain)
	asked.Headers = append(header.Fields{}, r.Headers...)
	for _, endpoint := range cluster.Endpoints {
		name := endpoint.Pod
		if name == "" {
			name = endpoint.Address
		}
		d.Endpoints = append(d.Endpoints, name)
		if w := s.Workload(endpoint.Pod); w != nil && !w.Gateway {
			if ok, _ := compile.For(s, w).Inbound.Authorization.Allows(&asked); !ok {
				d.Denied = append(d.Denied, name)
			}
		}
	}
}

// read decodes the body strictly, or answers with what is wrong.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the request has more than %d bytes", tooLarge.Limit))
	case err != nil:
		fail(w, http.StatusBadRequest, "the request is not the JSON that is wanted: "+err.Error())
	}
	return err == nil
}

func fail(w http.ResponseWriter, status int, message string) {
	write(w, status, map[string]string{"error": message})
}

func write(w http.ResponseWriter, status int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}
