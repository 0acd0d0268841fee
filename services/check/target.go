package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// stopTimeout is how long a started service may take to end after it was asked to.
const stopTimeout = 5 * time.Second

// target is a service under test that the check started itself.
type target struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // after exited
}

// startTarget starts the command with extra variables; what it prints goes to output. It ends with ctx.
func startTarget(ctx context.Context, command, env []string, output io.Writer) (*target, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // running what the user asks for is the purpose
	cmd.Cancel = func() error {
		terminate(cmd)
		return nil
	}
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = stopTimeout
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the service: %w", err)
	}
	t := &target{cmd: cmd, exited: make(chan struct{})}
	go func() {
		t.err = cmd.Wait()
		close(t.exited)
	}()
	return t, nil
}

// stop ends the command and what it started.
func (t *target) stop() {
	terminate(t.cmd)
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-t.exited:
	case <-timeout.C:
	}
	kill(t.cmd)
	<-t.exited
}

// wait returns when the service takes connections. t may be nil for a service that somebody else started.
func (t *target) wait(ctx context.Context, hostport string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var exited chan struct{}
	if t != nil {
		exited = t.exited
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", hostport)
		if err == nil {
			return conn.Close()
		}
		if t == nil {
			return fmt.Errorf("the service does not answer: %w", err)
		}
		select {
		case <-tick.C:
		case <-exited:
			return fmt.Errorf("the service ended before it listened on %s: %w", hostport, orExit0(t.err))
		case <-ctx.Done():
			return fmt.Errorf("the service did not listen on %s within %s", hostport, timeout)
		}
	}
}

func orExit0(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// mustBeFree makes sure that it is the started service that will answer, and no other that listens there already.
func mustBeFree(ctx context.Context, hostport string) error {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", hostport)
	if err != nil {
		return nil //nolint:nilerr // nobody answers, which is wanted
	}
	_ = conn.Close()
	return fmt.Errorf("something listens on %s already: want a free port in --url, or {port} to have one picked", hostport)
}

// freePort finds a port for a service that is told its port by {port}.
func freePort(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	address, _ := listener.Addr().(*net.TCPAddr)
	return strconv.Itoa(address.Port), nil
}

// hostport is where the service of a URL listens.
func hostport(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(strings.Trim(u.Host, "[]"), "80")
}
