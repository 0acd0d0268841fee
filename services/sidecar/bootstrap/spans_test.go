package bootstrap_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// reported is a span as Zipkin's collectors take it.
type reported struct {
	ID, ParentID, Kind, Name string
	Shared                   bool
	LocalEndpoint            struct{ ServiceName string } // a real Envoy's address is its machine's
	Annotations              []struct{ Value string }
	Tags                     map[string]string
}

// spans is a collector of Zipkin's.
type spans struct {
	url string
	mu  sync.Mutex
	got map[string][]reported // by guid:x-client-trace-id
}

func newSpans(t *testing.T) *spans {
	c := &spans{got: map[string][]reported{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list []reported
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Errorf("report: %v", err)
		}
		c.mu.Lock()
		for _, s := range list {
			id := s.Tags["guid:x-client-trace-id"]
			c.got[id] = append(c.got[id], s)
		}
		c.mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// of writes the spans of a request down, without what differs from one to the next.
func (c *spans) of(t *testing.T, request int) string {
	t.Helper()
	var found []reported
	for deadline := time.Now().Add(10 * time.Second); len(found) == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c.mu.Lock()
		found = c.got[strconv.Itoa(request)]
		c.mu.Unlock()
	}
	var out []string
	for _, s := range found {
		lines := []string{fmt.Sprintf("%s %q shared %v parent %v of %s %v", s.Kind, s.Name, s.Shared, s.ParentID != "", s.LocalEndpoint.ServiceName, s.Annotations)}
		for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
			if key != "guid:x-request-id" {
				lines = append(lines, "  "+key+"="+s.Tags[key])
			}
		}
		out = append(out, strings.Join(lines, "\n"))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}
