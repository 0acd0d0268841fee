package stack_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os/exec"
	"testing"

	"example.com/bookinfo/deploy/docker/imagetest"
)

// Ratings v2 behind its Envoy reads the seed from the database, and what has become of it since.
func TestMySQL(t *testing.T) {
	s := newStack(t, "mysql")
	const image = "mysql:8.4"
	if exec.CommandContext(t.Context(), "docker", "image", "inspect", image).Run() != nil {
		t.Skipf("%s is not on this machine; docker build -t %s deploy/docker/testdata/mysql makes a stand-in", image, image)
	}
	s.up()
	container := s.run("ps", "-q", "ratings-v2-mysql")
	ip := imagetest.Docker(t.Context(), t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
	ratings := func() map[string]int {
		t.Helper()
		status, header, body, err := get(t.Context(), "http://"+net.JoinHostPort(ip, "9080")+"/ratings/0")
		var answer struct{ Ratings map[string]int }
		if err == nil {
			err = json.Unmarshal(body, &answer)
		}
		if err != nil || status != http.StatusOK || header.Get("Server") != "istio-envoy" {
			t.Fatalf("%v, status %d from %q: %s", err, status, header.Get("Server"), body)
		}
		return answer.Ratings
	}
	if got := ratings(); got["Reviewer1"] != 5 || got["Reviewer2"] != 4 {
		t.Errorf("ratings %v, want those of the seed: 5 and 4", got)
	}
	s.run("exec", "-T", "mysqldb", "mysql", "-h", "127.0.0.1", "-uroot", "-ppassword", "test", "-e", "UPDATE ratings SET Rating = 1 WHERE ReviewID = 2")
	if got := ratings(); got["Reviewer2"] != 1 {
		t.Errorf("ratings %v after the database was told 1", got)
	}
}
