package main

import (
	"net/http"
	"strings"
	"testing"

	"example.com/bookinfo/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m, main) }

const (
	detailsJSON = `{"id":0,"author":"William Shakespeare"}`
	reviewsJSON = `{"id": "0","podname": "reviews-v1-a","clustername": "null","reviews": [{  "reviewer": "Reviewer1",  "text": "Good."}]}`
)

// backends returns the environment of a productpage whose details and reviews are stubs.
func backends(t testing.TB, reviews http.HandlerFunc) map[string]string {
	t.Helper()
	d := servertest.NewStub(t, servertest.Answer(http.StatusOK, detailsJSON))
	r := servertest.NewStub(t, reviews)
	return map[string]string{
		"DETAILS_HOSTNAME": d.Host, "DETAILS_SERVICE_PORT": d.Port,
		"REVIEWS_HOSTNAME": r.Host, "REVIEWS_SERVICE_PORT": r.Port,
		"SESSION_KEY": strings.Repeat("k", 32),
	}
}

func TestContract56_BothFamilies(t *testing.T) {
	servertest.BothFamilies(t, run, nil)
}

func TestContract66_TerminateInFlight(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	env := backends(t, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-finish
		servertest.Answer(http.StatusOK, reviewsJSON)(w, r)
	})
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	p := servertest.StartProcess(t, list...)
	servertest.TerminateInFlight(t, p, http.MethodGet, "/productpage", func() { <-began }, func() { close(finish) })
}

// TestRestartUnderLoad: no request fails while replicas are replaced.
func TestRestartUnderLoad(t *testing.T) {
	servertest.HoldLoad(t, run, backends(t, servertest.Answer(http.StatusOK, reviewsJSON)), "/productpage")
}

func TestWrongSettingsEndTheProcess(t *testing.T) {
	for _, setting := range []string{"FLOOD_FACTOR=many", "SESSION_KEY=short", "TRACE_URL=nonsense", "DETAILS_SERVICE_PORT=tcp://10.0.0.1:9080", "FORWARD_HEADERS=x-nothing"} {
		_, stderr, code := servertest.RunProcess(t, nil, setting)
		name, _, _ := strings.Cut(setting, "=")
		if code != 2 || !strings.Contains(stderr, name) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, standard error %q; want 2 and one line that names it", setting, code, stderr)
		}
	}
}

func TestHelpListsEverySetting(t *testing.T) {
	stdout, _, code := servertest.RunProcess(t, []string{"-h"})
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{
		"DETAILS_HOSTNAME", "DETAILS_SERVICE_PORT", "REVIEWS_HOSTNAME", "RATINGS_HOSTNAME", "SERVICES_DOMAIN", "FLOOD_FACTOR",
		"SESSION_KEY", "POOL_CONNECTIONS", "TRACE_URL", "HTTP_PROXY", "PORT", "LISTEN_HOST", "FORWARD_HEADERS", "DRAIN_DELAY",
	} {
		if !strings.Contains(stdout, "  "+name+" ") {
			t.Errorf("-h does not list %s", name)
		}
	}
}

func TestTeaching(t *testing.T) {
	stub := servertest.NewStub(t, servertest.Answer(http.StatusOK, detailsJSON))
	env := backends(t, servertest.Answer(http.StatusOK, reviewsJSON))
	env["DETAILS_HOSTNAME"], env["DETAILS_SERVICE_PORT"] = stub.Host, stub.Port
	servertest.Teaching(t, run, "productpage", env, "/api/v1/products/0", stub)
}
