package demo

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/services/sidecar/trace"
)

// TestAttach lets an application of the user's join the mesh: it is called through its sidecar, calls a service of the
// suite through it, and is gone when its connection to the demo ends.
func TestAttach(t *testing.T) {
	d, err := Start(t.Context(), Config{
		Sidecars: true, Format: trace.W3C, Profile: trace.Envoy136, Sampling: 100,
		Log: slog.New(slog.DiscardHandler), ServiceLog: slog.New(slog.DiscardHandler), Progress: io.Discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()

	var outbound string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As a client behind HTTP_PROXY asks: the whole URL is the target.
		transport := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://" + outbound) }}
		defer transport.CloseIdleConnections()
		call, _ := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://ratings:9080/ratings/0", nil)
		resp, err := transport.RoundTrip(call)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		io.Copy(w, resp.Body)
	}))
	defer app.Close()
	_, port, _ := net.SplitHostPort(app.Listener.Addr().String())

	join := func(ctx context.Context, body string) *http.Response {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Info().Control+"/api/apps", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for _, tt := range []struct {
		body   string
		status int
	}{
		{`{"name":"My App","port":` + port + `}`, 400},
		{`{"name":"my-app","port":0}`, 400},
		{`{"name":`, 400},
		{`{"name":"reviews","port":` + port + `}`, 409},
	} {
		resp := join(t.Context(), tt.body)
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", tt.body, resp.StatusCode, tt.status)
		}
	}

	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	resp := join(ctx, `{"name":"my-app","port":`+port+`}`)
	defer resp.Body.Close()
	var at Attached
	if err := json.NewDecoder(resp.Body).Decode(&at); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d, %v", resp.StatusCode, err)
	}
	outbound = at.Outbound
	answer, err := http.Get("http://" + at.Inbound + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != 200 || !strings.Contains(string(body), `"ratings"`) {
		t.Errorf("the application answered %d %q", answer.StatusCode, body)
	}
	number, _ := strconv.Atoi(port)
	if s := d.mesh.Snapshot().Workload("my-app-v1-local"); s == nil || s.Ports[number].Proxy != at.Inbound {
		t.Errorf("the mesh knows the workload as %+v", s)
	}
	leave()
	for deadline := time.Now().Add(5 * time.Second); d.mesh.Snapshot().Workload("my-app-v1-local") != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the workload is still there after its connection ended")
		}
	}
}
