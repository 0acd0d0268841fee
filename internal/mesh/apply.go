package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Change is what an operation did to one resource.
type Change struct {
	// Action is kubectl's word: "created", "configured", "unchanged" or "deleted".
	Action   string    `json:"action"`
	Resource *Resource `json:"-"`
	// Name is as kubectl prints it: "virtualservice.networking.istio.io/reviews".
	Name string `json:"name"`
}

// String is kubectl's output line.
func (c Change) String() string { return c.Name + " " + c.Action }

// Result of an [Mesh.Apply]: what was changed, and what was found. Problems that are not warnings belong to files of
// which nothing was applied.
type Result struct {
	Changes  []Change
	Problems []Problem
}

// Failed tells whether a file was refused.
func (r Result) Failed() bool {
	return slices.ContainsFunc(r.Problems, func(p Problem) bool { return !p.Warning })
}

// Apply makes the mesh have the resources of the files, in one step that every request sees as a whole. A file with
// an error is left out entirely, and so is one that refers to something which only such a file would have made. With
// dryRun nothing changes.
func (m *Mesh) Apply(files []File, namespace string, dryRun bool) Result {
	m.changing.Lock()
	defer m.changing.Unlock()
	var result Result
	type read struct {
		resources []*Resource
		problems  []Problem
	}
	accepted := make([]*read, 0, len(files))
	for _, file := range files {
		resources, problems := Decode(file, namespace)
		for _, r := range resources {
			problems = append(problems, validate(r)...)
		}
		result.Problems = append(result.Problems, problems...)
		if !anyError(problems) {
			accepted = append(accepted, &read{resources, problems})
		}
	}
	for {
		next, changes := m.merged(func(yield func(*Resource) bool) {
			for _, r := range accepted {
				for _, resource := range r.resources {
					if !yield(resource) {
						return
					}
				}
			}
		})
		// References are looked up in the mesh as it would be; a file that fails drops out and the rest is looked at again.
		var failed bool
		var warnings []Problem
		accepted = slices.DeleteFunc(accepted, func(r *read) bool {
			var problems []Problem
			for _, resource := range r.resources {
				problems = append(problems, references(next, resource)...)
			}
			if anyError(problems) {
				result.Problems = append(result.Problems, problems...)
				failed = true
				return true
			}
			warnings = append(warnings, problems...)
			return false
		})
		if failed {
			continue
		}
		result.Problems = append(result.Problems, warnings...)
		result.Changes = changes
		if !dryRun && slices.ContainsFunc(changes, func(c Change) bool { return c.Action != "unchanged" }) {
			m.replace(next)
		}
		return result
	}
}

func anyError(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
}

// merged returns the mesh as it would be with the resources. The caller holds m.changing.
func (m *Mesh) merged(resources func(yield func(*Resource) bool)) (*Snapshot, []Change) {
	next := *m.current.Load()
	byKey := make(map[Key]int, len(next.Resources))
	all := slices.Clone(next.Resources)
	for i, r := range all {
		byKey[r.Key()] = i
	}
	var order uint64
	for _, r := range all {
		order = max(order, r.order)
	}
	var changes []Change
	for r := range resources {
		action := "created"
		fresh := *r
		if i, ok := byKey[r.Key()]; ok {
			old := all[i]
			fresh.Created, fresh.order, fresh.Generation = old.Created, old.order, old.Generation
			action = "unchanged"
			if !bytes.Equal(old.SpecJSON, r.SpecJSON) {
				action = "configured"
				fresh.Generation++
			} else if old.APIVersion != r.APIVersion || !maps.Equal(old.Labels, r.Labels) || !maps.Equal(old.Annotations, r.Annotations) {
				action = "configured"
			}
			if action != "unchanged" {
				all[i] = &fresh
			}
		} else {
			order++
			fresh.Created, fresh.order = m.now(), order
			byKey[r.Key()] = len(all)
			all = append(all, &fresh)
		}
		changes = append(changes, Change{Action: action, Resource: &fresh, Name: fresh.String()})
	}
	next.Resources = all
	next.register()
	return &next, changes
}

// ErrNotFound tells that a resource to be deleted is not there.
var ErrNotFound = errors.New("not found")

// Delete removes resources. Keys that are not there are reported as errors that wrap [ErrNotFound]; the others are
// removed nevertheless, in one step.
func (m *Mesh) Delete(keys []Key, dryRun bool) ([]Change, error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	next := *m.current.Load()
	next.Resources = slices.Clone(next.Resources)
	var changes []Change
	var failures []error
	for _, key := range keys {
		i := slices.IndexFunc(next.Resources, func(r *Resource) bool { return r.Key() == key })
		if i < 0 {
			failures = append(failures, fmt.Errorf("%s.%s %q %w", plural(key), key.Group, key.Name, ErrNotFound))
			continue
		}
		r := next.Resources[i]
		changes = append(changes, Change{Action: "deleted", Resource: r, Name: r.String()})
		next.Resources = slices.Delete(next.Resources, i, i+1)
	}
	if len(changes) > 0 && !dryRun {
		m.replace(&next)
	}
	return changes, errors.Join(failures...)
}

func plural(key Key) string {
	for _, kind := range Kinds() {
		if kind.Name == key.Kind && kind.Group == key.Group {
			return kind.Plural
		}
	}
	return strings.ToLower(key.Kind)
}

// register makes the indexes of a snapshot: the services with those of ServiceEntries, by host.
func (s *Snapshot) register() {
	s.Services = slices.Clone(s.builtin)
	s.Services = append(s.Services, externalServices(s)...)
	s.byHost = make(map[string]*Service, len(s.Services))
	for _, service := range s.Services {
		if host := strings.ToLower(service.Host()); s.byHost[host] == nil {
			s.byHost[host] = service
		}
	}
}
