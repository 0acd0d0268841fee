package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"example.com/bookinfo/cmd/bookinfo/demo"
	"example.com/bookinfo/internal/server"
)

// stopTimeout is how long a command may take to end once it was asked to.
const stopTimeout = 5 * time.Second

// sidecarCommand runs a command of the user's as a workload of the running demo: what calls it goes through an inbound
// listener, and what it calls goes through an outbound one if it keeps to HTTP_PROXY or asks that listener itself.
func sidecarCommand(ctx context.Context, c call) error {
	set := c.flags("sidecar", `--name NAME --port PORT -- COMMAND…

Runs COMMAND behind a sidecar of the running demo. Other services call it as http://NAME:PORT; its own calls take part
if it keeps to HTTP_PROXY, or if it sends them to BOOKINFO_OUTBOUND with the destination, such as reviews:9080, as Host.
PORT is set to the port on which it is expected to listen.
`)
	var app demo.App
	set.StringVar(&app.Name, "name", "", "`NAME` of the service")
	set.IntVar(&app.Port, "port", 0, "`PORT` on which the command listens")
	control := set.String("demo", "", "control `ADDRESS` of the demo; default BOOKINFO_DEMO, else the one that runs")
	if err := c.parse(set, 1, 1000); err != nil {
		return err
	}
	if err := app.Check(); err != nil {
		return &server.UsageError{Err: fmt.Errorf("--%w", err)}
	}
	program, err := exec.LookPath(set.Arg(0))
	if err != nil {
		return &server.UsageError{Err: err}
	}
	info, err := demo.Find(ctx, *control, c.getenv)
	if err != nil {
		return err
	}
	attached, membership, err := attach(ctx, info.Control, app)
	if err != nil {
		return err
	}
	defer membership.Close()
	fmt.Fprintf(c.stderr, "%s is part of the mesh: http://%s, and for other services http://%s:%d.\n", app.Name, attached.Inbound, app.Name, app.Port)

	cmd := exec.CommandContext(ctx, program, set.Args()[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, c.stdout, c.stderr
	outbound := "http://" + attached.Outbound
	cmd.Env = append(os.Environ(),
		fmt.Sprintf("PORT=%d", app.Port), "HTTP_PROXY="+outbound, "http_proxy="+outbound, "BOOKINFO_OUTBOUND="+attached.Outbound)
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil // it was asked to end
	}
	if err != nil {
		return fmt.Errorf("%s: %w", set.Arg(0), err)
	}
	return nil
}

// attach joins the demo's mesh. Membership lasts until the second value is closed.
func attach(ctx context.Context, control string, app demo.App) (demo.Attached, io.Closer, error) {
	var attached demo.Attached
	body, err := json.Marshal(app)
	if err != nil {
		return attached, nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, control+"/api/apps", bytes.NewReader(body))
	if err != nil {
		return attached, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: stopTimeout}}
	resp, err := client.Do(r)
	if err != nil {
		return attached, nil, fmt.Errorf("join the demo: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return attached, nil, errors.New("join the demo: " + strings.TrimSpace(string(text)))
	}
	if err := json.NewDecoder(resp.Body).Decode(&attached); err != nil {
		resp.Body.Close()
		return attached, nil, fmt.Errorf("join the demo: %w", err)
	}
	return attached, resp.Body, nil
}
