package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m, main) }

func TestContract66_TerminateWithARequestInFlight(t *testing.T) {
	s := servertest.StartProcess(t)
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The answer to Expect tells that the service has begun to read the body.
	_, _ = io.WriteString(conn, "POST /ratings/7 HTTP/1.1\r\nHost: ratings\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, %v", line, err)
	}
	s.Terminate(t)
	for start := time.Now(); !strings.Contains(s.Log(), "stopping"); time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("SIGTERM is not noticed:\n%s", s.Log())
		}
	}
	_, _ = io.WriteString(conn, "{}")
	_, _ = answers.ReadString('\n') // the empty line after 100 Continue
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("the request in flight was cut: %v", err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || string(body) != `{"id":7,"ratings":{}}` {
		t.Errorf("got %s %s", resp.Status, body)
	}
	if code := s.Wait(t, 10*time.Second); code != 0 {
		t.Errorf("exit code %d:\n%s", code, s.Log())
	}
}

func TestCommandLine(t *testing.T) {
	s := servertest.StartProcess(t)
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name           string
		args           []string
		env            string
		code           int
		stdout, stderr string // parts of what is printed
	}{
		{"help", []string{"-h"}, "", 0, "MONGO_DB_URL", ""},
		{"help names defaults", []string{"-h"}, "", 0, "SHUTDOWN_TIMEOUT      20s", ""},
		{"version", []string{"--version"}, "", 0, "ratings ", ""},
		{"healthy", []string{"health", port}, "", 0, "", ""},
		{"healthy by PORT", []string{"health"}, "PORT=" + port, 0, "", ""},
		{"nobody there", []string{"health", "1"}, "", 1, "", "ratings: health: "},
		{"unknown flag", []string{"--wat"}, "", 2, "", "ratings: flag provided but not defined: -wat"},
		{"wrong port", []string{"99999"}, "", 2, "", `ratings: port="99999": want a number from 0 to 65535`},
		{"too much", []string{"0", "x"}, "", 2, "", `ratings: argument "x": want nothing after the port`},
		{"wrong setting", nil, "MYSQL_DB_PORT=x", 2, "", `ratings: MYSQL_DB_PORT="x": want a number from 1 to 65535`},
		{"wrong secret", nil, "MONGO_DB_URL=http://user:pw@host", 2, "", `ratings: MONGO_DB_URL="(hidden)": want mongodb://`},
		{"taken", []string{port}, "", 1, "", "address already in use"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, code := servertest.RunProcess(t, c.args, c.env)
			if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			if c.code != 0 && strings.Count(stderr, "\n") != 1 {
				t.Errorf("want one line, got %q", stderr)
			}
		})
	}
}

func TestHealthOfAnUnhealthyService(t *testing.T) {
	sick := servertest.NewStub(t, servertest.Answer(500, `{"status":"Ratings is not healthy"}`))
	_, stderr, code := servertest.RunProcess(t, []string{"health", sick.Port})
	if code != 1 || !strings.Contains(stderr, "500") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestTeaching(t *testing.T) { servertest.Teaching(t, run, "ratings", nil, "", nil) }
