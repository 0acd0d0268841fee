package breakage

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
)

// State is what the control API tells of one service.
type State struct {
	Service string   `json:"service"`
	Broken  []string `json:"broken"` // words that Parse reads; none: whole
}

// Handler is the control API over the breakers of several services:
//
//	GET    /          every service
//	GET    /{service} one
//	PUT    /{service} {"broken": ["drop=x-b3-spanid"]} breaks it
//	DELETE /{service} mends it
//	DELETE /          mends all
//
// names gives the order in which they are listed.
func Handler(names []string, breakers map[string]*Breaker) http.Handler {
	state := func(name string) State {
		words := breakers[name].Change().Strings()
		if words == nil {
			words = []string{}
		}
		return State{Service: name, Broken: words}
	}
	all := func() []State {
		states := make([]State, len(names))
		for i, name := range names {
			states[i] = state(name)
		}
		return states
	}
	find := func(next func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			name := chi.URLParam(r, "service")
			if breakers[name] == nil {
				fail(w, http.StatusNotFound, fmt.Sprintf("service %q: want one of %s", name, strings.Join(names, ", ")))
				return
			}
			next(w, r, name)
		}
	}
	r := chi.NewRouter()
	r.Get("/", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, all()) })
	r.Delete("/", func(w http.ResponseWriter, _ *http.Request) {
		for _, b := range breakers {
			b.Mend()
		}
		answer(w, http.StatusOK, all())
	})
	r.Get("/{service}", find(func(w http.ResponseWriter, _ *http.Request, name string) {
		answer(w, http.StatusOK, state(name))
	}))
	r.Put("/{service}", find(func(w http.ResponseWriter, r *http.Request, name string) {
		var body State
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&body); err != nil {
			fail(w, http.StatusBadRequest, `body: want {"broken": ["drop=x-b3-spanid"]}: `+err.Error())
			return
		}
		change, err := Parse(body.Broken)
		if err != nil {
			fail(w, http.StatusBadRequest, "broken: "+err.Error())
			return
		}
		breakers[name].Set(change)
		answer(w, http.StatusOK, state(name))
	}))
	r.Delete("/{service}", find(func(w http.ResponseWriter, _ *http.Request, name string) {
		breakers[name].Mend()
		answer(w, http.StatusOK, state(name))
	}))
	return r
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the asker left
}

func fail(w http.ResponseWriter, status int, text string) {
	answer(w, status, map[string]any{"error": text, "status": status})
}
