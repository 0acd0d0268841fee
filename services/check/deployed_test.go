package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mesh answers requests and, as a backend, gives the traces that sidecars around the services would have made.
type mesh struct {
	mu    sync.Mutex
	spans map[string][]map[string]any
	// record tells the spans of a request: service, id and parent.
	record func(span string) [][3]string
	// late is how many times a trace is asked for before its first span but one is there.
	late int
}

func (m *mesh) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id, isQuery := strings.CutPrefix(r.URL.Path, "/api/v2/trace/")
	if !isQuery {
		trace := r.Header.Get("X-B3-Traceid")
		for _, s := range m.record(r.Header.Get("X-B3-Spanid")) {
			m.spans[trace] = append(m.spans[trace], map[string]any{
				"traceId": trace, "id": s[1], "parentId": s[2], "localEndpoint": map[string]string{"serviceName": s[0] + ".default"},
			})
		}
		return
	}
	if len(m.spans[id]) == 0 {
		http.NotFound(w, r)
		return
	}
	spans := m.spans[id]
	if m.late > 0 && len(spans) > 1 {
		m.late--
		spans = slices.Delete(slices.Clone(spans), 1, 2)
	}
	_ = json.NewEncoder(w).Encode(spans)
}

func TestDeployed(t *testing.T) {
	whole := func(span string) [][3]string {
		return [][3]string{{"productpage", "01", span}, {"productpage", "02", "01"}, {"reviews", "03", "02"}, {"ratings", "04", "03"}}
	}
	for _, tt := range []struct {
		name   string
		record func(string) [][3]string
		want   []string
	}{
		{"whole", whole, nil},
		{"the first service forwards nothing", func(span string) [][3]string { return whole(span)[:1] }, []string{ruleServiceMissing}},
		{"an SDK that exports nothing", func(span string) [][3]string {
			return append(whole(span)[:2], [3]string{"reviews", "03", "ff"}, [3]string{"ratings", "04", "03"})
		}, []string{ruleOrphan}},
		{"nothing arrives", func(string) [][3]string { return nil }, []string{ruleNoTrace}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(&mesh{spans: map[string][]map[string]any{}, record: tt.record})
			defer s.Close()
			var out bytes.Buffer
			err := Run(t.Context(), []string{"--url", s.URL + "/productpage", "--backend", s.URL, "--expect", "productpage,reviews,ratings",
				"--grace", "5ms", "--backend-timeout", "200ms", "--requests", "3", "-o", "json"}, &out, &out)
			if (err != nil) != (len(tt.want) > 0) || err != nil && !errors.Is(err, ErrFailed) {
				t.Fatalf("error %v\n%s", err, out.String())
			}
			var r Report
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if got := errorsOf(r); !slices.Equal(got, tt.want) || len(r.Cases) != 3 {
				t.Errorf("errors %q, want %q\n%s", got, tt.want, out.String())
			}
		})
	}
}

// TestLateSpansAreAwaited: a proxy in the middle sends its spans long after the others have sent theirs.
func TestLateSpansAreAwaited(t *testing.T) {
	s := httptest.NewServer(&mesh{spans: map[string][]map[string]any{}, late: 12, record: func(span string) [][3]string {
		return [][3]string{{"productpage", "01", span}, {"productpage", "02", "01"}, {"reviews", "03", "02"}, {"ratings", "04", "03"}}
	}})
	defer s.Close()
	var out bytes.Buffer
	if err := Run(t.Context(), []string{"--url", s.URL + "/productpage", "--backend", s.URL, "--expect", "productpage,reviews,ratings",
		"--grace", "5ms", "--backend-timeout", "20s", "--requests", "1"}, &out, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestDeployedWithoutBackend(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			http.Error(w, "no", http.StatusTeapot)
		}
		fmt.Fprint(w, "ok")
	}))
	defer s.Close()
	err := Run(t.Context(), []string{"--url", s.URL, "--backend", s.URL, "--expect", "a"}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "answers 418") {
		t.Errorf("error %v, want that of the backend", err)
	}
}
