package mesh

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a mesh starts with.
type Config struct {
	Services  []Service
	Workloads []Workload
	// RootNamespace holds the policies of the whole mesh; default "istio-system".
	RootNamespace string
	// TrustDomain begins every principal; default "cluster.local".
	TrustDomain string
	// Now is the clock for creation times; default time.Now.
	Now func() time.Time
}

// Mesh holds the current state. Its methods may be called from many goroutines.
type Mesh struct {
	now     func() time.Time
	current atomic.Pointer[Snapshot]

	changing  sync.Mutex // held while a new snapshot is made and told of
	listeners []*listener
}

type listener struct{ changed func(*Snapshot) }

// Snapshot is the mesh at one moment; nothing in it is changed afterwards.
type Snapshot struct {
	// Version counts the changes, from 1.
	Version                    uint64
	RootNamespace, TrustDomain string
	Workloads                  []*Workload
	// Services are the built-in ones and then those of ServiceEntries.
	Services []*Service
	// Resources in order of creation, then by name: where two claim the same, the first wins.
	Resources []*Resource

	builtin []*Service
	byHost  map[string]*Service
}

// New makes a mesh without resources.
func New(config Config) *Mesh {
	m := &Mesh{now: config.Now}
	if m.now == nil {
		m.now = time.Now
	}
	s := &Snapshot{Version: 1, RootNamespace: config.RootNamespace, TrustDomain: config.TrustDomain}
	if s.RootNamespace == "" {
		s.RootNamespace = "istio-system"
	}
	if s.TrustDomain == "" {
		s.TrustDomain = "cluster.local"
	}
	for _, service := range config.Services {
		s.builtin = append(s.builtin, service.clone())
	}
	for _, workload := range config.Workloads {
		s.Workloads = append(s.Workloads, workload.clone())
	}
	s.register()
	m.current.Store(s)
	return m
}

// Snapshot returns the current state.
func (m *Mesh) Snapshot() *Snapshot { return m.current.Load() }

// OnChange calls changed with the current state, and then after every change, in order and one call at a time. A method
// that changes the mesh returns after every listener has: what was applied is in force when Apply returns. changed
// must not change the mesh.
func (m *Mesh) OnChange(changed func(*Snapshot)) (stop func()) {
	m.changing.Lock()
	defer m.changing.Unlock()
	l := &listener{changed}
	m.listeners = append(m.listeners, l)
	changed(m.current.Load())
	return func() {
		m.changing.Lock()
		defer m.changing.Unlock()
		m.listeners = slices.DeleteFunc(m.listeners, func(other *listener) bool { return other == l })
	}
}

// replace puts the next snapshot in force and tells the listeners. The caller holds m.changing.
func (m *Mesh) replace(next *Snapshot) {
	next.Version = m.current.Load().Version + 1
	next.register()
	m.current.Store(next)
	for _, l := range m.listeners {
		l.changed(next)
	}
}

// SetAddress tells where a port of a workload listens.
func (m *Mesh) SetAddress(pod string, port int, address Address) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	next := *m.current.Load()
	i := slices.IndexFunc(next.Workloads, func(w *Workload) bool { return w.Pod == pod })
	if i < 0 {
		return fmt.Errorf("no workload has a pod named %q", pod)
	}
	workload := next.Workloads[i].clone()
	if workload.Ports == nil {
		workload.Ports = make(map[int]Address)
	}
	workload.Ports[port] = address
	next.Workloads = slices.Clone(next.Workloads)
	next.Workloads[i] = workload
	m.replace(&next)
	return nil
}

// AddWorkload adds an instance, or replaces that of the same pod name.
func (m *Mesh) AddWorkload(workload Workload) {
	m.changing.Lock()
	defer m.changing.Unlock()
	next := *m.current.Load()
	next.Workloads = slices.DeleteFunc(slices.Clone(next.Workloads), func(w *Workload) bool { return w.Pod == workload.Pod })
	next.Workloads = append(next.Workloads, workload.clone())
	m.replace(&next)
}

// RemoveWorkload removes the instance with that pod name, if there is one.
func (m *Mesh) RemoveWorkload(pod string) {
	m.changing.Lock()
	defer m.changing.Unlock()
	next := *m.current.Load()
	next.Workloads = slices.DeleteFunc(slices.Clone(next.Workloads), func(w *Workload) bool { return w.Pod == pod })
	m.replace(&next)
}

// AddService adds a service, or replaces the one of the same name and namespace.
func (m *Mesh) AddService(service Service) {
	m.changing.Lock()
	defer m.changing.Unlock()
	next := *m.current.Load()
	next.builtin = slices.DeleteFunc(slices.Clone(next.builtin), func(s *Service) bool { return s.Host() == service.Host() })
	next.builtin = append(next.builtin, service.clone())
	m.replace(&next)
}

// Service returns the service with that full name, nil if there is none.
func (s *Snapshot) Service(host string) *Service { return s.byHost[strings.ToLower(host)] }

// Workload returns the workload with that pod name, nil if there is none.
func (s *Snapshot) Workload(pod string) *Workload {
	for _, w := range s.Workloads {
		if w.Pod == pod {
			return w
		}
	}
	return nil
}

// WorkloadsOf returns the workloads that a service chooses.
func (s *Snapshot) WorkloadsOf(service *Service) []*Workload {
	var chosen []*Workload
	for _, w := range s.Workloads {
		if w.Namespace == service.Namespace && Selected(service.Selector, w.Labels) {
			chosen = append(chosen, w)
		}
	}
	return chosen
}

// Visible tells whether an exportTo list lets a resource or service of one namespace be seen from another.
func Visible(exportTo []string, owner, from string) bool {
	if len(exportTo) == 0 {
		return true
	}
	for _, namespace := range exportTo {
		if namespace == "*" || namespace == from || namespace == "." && owner == from {
			return true
		}
	}
	return false
}
