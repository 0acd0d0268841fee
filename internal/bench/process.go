package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server under measurement.
type process struct {
	name, binary string
	args, env    []string
	port         string
	cmd          *exec.Cmd
	first        time.Duration // from exec to the first 200
}

// startProcess starts a server on a free port of the loopback address and waits for its first 200.
func startProcess(ctx context.Context, name, binary string, args, env []string) (*process, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, binary: binary, args: args, env: env, port: port}
	p.cmd = exec.CommandContext(ctx, binary, args...)
	p.cmd.Env = append(append(os.Environ(), "LISTEN_HOST=127.0.0.1", "PORT="+port), env...)
	p.cmd.Stderr = os.Stderr
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	for time.Since(began) < 10*time.Second {
		if ask(ctx, client, p.url("/health")) == nil {
			p.first = time.Since(began)
			return p, nil
		}
		time.Sleep(200 * time.Microsecond)
	}
	p.stop()
	return nil, fmt.Errorf("%s does not answer", name)
}

func freePort(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

func (p *process) url(path string) string { return "http://127.0.0.1:" + p.port + path }

func (p *process) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait() // killed is as good
}

// ticks is the unit of /proc/PID/stat: Linux gives user space 100 a second on every architecture.
const ticks = time.Second / 100

// cpu is the processor time of the process and of all of its descendants so far.
func (p *process) cpu() (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	parent, spent := map[int]int{}, map[int]time.Duration{}
	for _, file := range stats {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // gone meanwhile
		}
		// The name, in parentheses, may hold anything; fields are counted from behind it (proc(5)).
		end := bytes.LastIndexByte(data, ')')
		fields := strings.Fields(string(data[end+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || len(fields) < 15 {
			continue
		}
		parent[pid], _ = strconv.Atoi(fields[1])
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.Atoi(field)
			spent[pid] += time.Duration(n) * ticks
		}
	}
	root := p.cmd.Process.Pid
	var sum time.Duration
	for pid := range parent {
		for at := pid; at > 1; at = parent[at] {
			if at == root {
				sum += spent[pid]
				break
			}
		}
	}
	return sum, nil
}

// memory is what a process holds, in bytes.
type memory struct {
	pss, anonymous int64
}

func (p *process) memory() (memory, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "Pss:":
			m.pss = kilobytes << 10
		case "Pss_Anon:":
			m.anonymous = kilobytes << 10
		}
	}
	return m, lines.Err()
}
