package clinic

import (
	"net/url"
	"strings"
	"sync"

	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
)

// memory is what traces have taught: which applications report requests, and whom each calls for which request.
type memory struct {
	mu       sync.RWMutex
	serves   map[string]bool
	requests map[request]*habit
}

// request is one kind of request that a version of an application serves: reviews v1 calls nobody, v2 calls ratings.
type request struct{ application, version, name, method, path string }

// habit counts how often such a request led to calls. Broken forwarding makes calls vanish for good; an application
// that calls only sometimes makes them come and go.
type habit struct {
	callees       map[string]bool
	with, returns int  // requests with calls, and those among them that followed one without
	silent        bool // the last one had no call
}

// maxHabits bounds the memory; paths with ids are folded, so a mesh has hundreds of them.
const maxHabits = 4096

func newMemory() *memory {
	return &memory{serves: map[string]bool{}, requests: map[request]*habit{}}
}

// learn takes in the spans of one whole trace.
func (m *memory) learn(spans []span.Span) {
	byID := make(map[span.ID]int, len(spans))
	for i := range spans {
		byID[spans[i].ID] = i
	}
	called := map[int][]string{} // SERVER span to the applications it called
	callee := map[int]string{}
	for i := range spans {
		s := &spans[i]
		if p, ok := byID[s.ParentID]; ok && s.Kind == span.KindServer && spans[p].Kind == span.KindClient {
			callee[p] = s.Service
		}
	}
	for i := range spans {
		s := &spans[i]
		if p, ok := byID[s.ParentID]; ok && s.Kind == span.KindClient && spans[p].Kind == span.KindServer && spans[p].Service == s.Service {
			called[p] = append(called[p], callee[i])
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range spans {
		s := &spans[i]
		if s.Kind != span.KindServer {
			continue
		}
		if len(m.serves) < maxHabits {
			m.serves[s.Service] = true
		}
		key := requestOf(s)
		h := m.requests[key]
		callees, calls := called[i]
		switch {
		case !calls && h != nil:
			h.silent = true
		case calls:
			if h == nil {
				if len(m.requests) >= maxHabits {
					continue
				}
				h = &habit{callees: map[string]bool{}}
				m.requests[key] = h
			}
			if h.silent {
				h.returns++
			}
			h.silent = false
			h.with++
			for _, c := range callees {
				if c != "" && len(h.callees) < 32 {
					h.callees[c] = true
				}
			}
		}
	}
}

// knowledge is the memory as the doctor asks it.
func (m *memory) knowledge() doctor.Knowledge {
	return doctor.Knowledge{
		Callees: func(server *span.Span) []string {
			m.mu.RLock()
			defer m.mu.RUnlock()
			h := m.requests[requestOf(server)]
			// Whoever breaks and mends a service a few times still has a habit; one request in ten has not.
			if h == nil || h.returns > 5 && h.returns*10 > h.with {
				return nil
			}
			callees := make([]string, 0, len(h.callees))
			for c := range h.callees {
				callees = append(callees, c)
			}
			return callees
		},
		Serves: func(application string) bool {
			m.mu.RLock()
			defer m.mu.RUnlock()
			return m.serves[application]
		},
	}
}

func requestOf(s *span.Span) request {
	r := request{application: s.Service, version: s.Version, name: s.Name}
	r.method, _ = s.Tags.Get("http.method")
	if address, ok := s.Tags.Get("http.url"); ok {
		if u, err := url.Parse(address); err == nil {
			r.path = folded(u.Path)
		}
	}
	return r
}

// folded writes * for the segments of a path that hold a digit, since those are mostly ids.
func folded(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if i > 6 {
			segments = append(segments[:i], "*")
			break
		}
		if strings.ContainsAny(s, "0123456789") && s != "v1" && s != "v2" {
			segments[i] = "*"
		}
	}
	return strings.Join(segments, "/")
}
