package main

import (
	"io"
	"net/http"
	"testing"

	"example.com/bookinfo/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m, main) }

func TestContract66_TerminateWithARequestInFlight(t *testing.T) {
	asked, release := make(chan bool), make(chan bool)
	ratings := servertest.NewStub(t, func(w http.ResponseWriter, _ *http.Request) {
		asked <- true
		<-release
		_, _ = io.WriteString(w, good)
	})
	s := servertest.StartProcess(t, "ENABLE_RATINGS=true", "RATINGS_HOSTNAME="+ratings.Host, "RATINGS_SERVICE_PORT="+ratings.Port)
	servertest.TerminateInFlight(t, s, "GET", "/reviews/0", func() { <-asked }, func() { close(release) })
}

func TestTeaching(t *testing.T) {
	stub := servertest.NewStub(t, servertest.Answer(http.StatusOK, good))
	servertest.Teaching(t, run, "reviews", withRatings(stub), "/reviews/0", stub)
}
