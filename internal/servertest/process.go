package servertest

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// mainVariable tells a test binary to be the command that it tests.
const mainVariable = "BOOKINFO_TEST_RUN_MAIN"

// Main is a TestMain: it runs the tests, or, in a process that StartProcess made, main.
func Main(m *testing.M, main func()) {
	if os.Getenv(mainVariable) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// AsMain is the variable, with its value, that makes the test binary the command that it tests.
func AsMain() string { return mainVariable + "=1" }

// Process is a service in a process of its own.
type Process struct {
	Instance
	cmd   *exec.Cmd
	ended chan struct{}
}

// StartProcess runs the command under test, whose TestMain must be Main, with the given environment and waits until it
// listens. It is killed at the end of the test.
func StartProcess(t testing.TB, env ...string) *Process {
	t.Helper()
	p := &Process{ended: make(chan struct{})}
	p.output = newOutput()
	p.cmd = command(t, nil, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code says it all
		close(p.ended)
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	select {
	case p.Addr = <-p.output.address:
	case <-p.ended:
		t.Fatalf("the process ended at once: %v\n%s", p.cmd.ProcessState, p.Log())
	case <-time.After(20 * time.Second):
		t.Fatalf("the process does not listen:\n%s", p.Log())
	}
	p.URL = "http://" + p.Addr
	return p
}

func command(t testing.TB, args []string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), mainVariable+"=1", "LISTEN_HOST=127.0.0.1", "PORT=0")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// RunProcess runs the command under test to its end and returns what it printed and its exit code.
func RunProcess(t testing.TB, args []string, env ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(t, args, env...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		stderr = string(exit.Stderr)
	}
	return string(out), stderr, cmd.ProcessState.ExitCode()
}

// Terminate sends SIGTERM.
func (p *Process) Terminate(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// Wait returns the exit code of the process; the test fails if it takes more than limit.
func (p *Process) Wait(t testing.TB, limit time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		t.Fatalf("the process still runs after %v:\n%s", limit, p.Log())
		return -1
	}
}

// TerminateInFlight sends SIGTERM while a request is in flight and checks that it is answered with 200 all the same and
// that the process then ends with exit code 0. Began returns when the service works on the request; finish lets it go on.
func TerminateInFlight(t *testing.T, p *Process, method, path string, began, finish func()) {
	t.Helper()
	answered := make(chan int, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Errorf("the request in flight was cut: %v", err)
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	began()
	p.Terminate(t)
	for start := time.Now(); ; time.Sleep(time.Millisecond) { // until it listens no more
		var dialer net.Dialer
		conn, err := dialer.DialContext(t.Context(), "tcp", p.Addr)
		if err != nil {
			break
		}
		conn.Close()
		if time.Since(start) > 10*time.Second {
			t.Fatal("still listens after SIGTERM")
		}
	}
	finish()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("the request in flight was answered with %d", status)
	}
	if code := p.Wait(t, 10*time.Second); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.Log())
	}
}
