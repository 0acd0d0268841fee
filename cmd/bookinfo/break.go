package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/bookinfo/cmd/bookinfo/demo"
	"example.com/bookinfo/internal/breakage"
	"example.com/bookinfo/internal/server"
)

// breakCommand breaks the forwarding of one service of the running demo.
func breakCommand(ctx context.Context, c call) error {
	usage := "[SERVICE CHANGE…]\n\nWithout arguments it lists what is broken. Changes:\n"
	for _, word := range breakage.Words() {
		usage += fmt.Sprintf("\n  %-30s %s", word[0], word[1])
	}
	set := c.flags("break", usage)
	control := set.String("demo", "", "control `ADDRESS` of the demo; default BOOKINFO_DEMO, else the one that runs")
	if err := c.parse(set, 0, 100); err != nil {
		return err
	}
	args := set.Args()
	if len(args) == 1 {
		return &server.UsageError{Err: fmt.Errorf("break %s: want what to break; bookinfo break -h lists it", args[0])}
	}
	if len(args) > 1 {
		if _, err := breakage.Parse(args[1:]); err != nil {
			return &server.UsageError{Err: err}
		}
		body, err := json.Marshal(breakage.State{Service: args[0], Broken: args[1:]})
		if err != nil {
			return err
		}
		return breakageCall(ctx, c, *control, http.MethodPut, "/"+url.PathEscape(args[0]), body)
	}
	return breakageCall(ctx, c, *control, http.MethodGet, "/", nil)
}

// mendCommand makes one service, or all of them, forward as they should.
func mendCommand(ctx context.Context, c call) error {
	set := c.flags("mend", "[SERVICE]\n\nWithout an argument it mends every service.")
	control := set.String("demo", "", "control `ADDRESS` of the demo; default BOOKINFO_DEMO, else the one that runs")
	if err := c.parse(set, 0, 1); err != nil {
		return err
	}
	return breakageCall(ctx, c, *control, http.MethodDelete, "/"+url.PathEscape(set.Arg(0)), nil)
}

func breakageCall(ctx context.Context, c call, control, method, path string, body []byte) error {
	info, err := demo.Find(ctx, control, c.getenv)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(info.Control, "/")+"/api/breakage"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var failure struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(answer, &failure) != nil || failure.Error == "" {
			failure.Error = resp.Status
		}
		return errors.New(failure.Error)
	}
	var states []breakage.State
	if json.Unmarshal(answer, &states) != nil {
		var one breakage.State
		if err := json.Unmarshal(answer, &one); err != nil {
			return fmt.Errorf("the demo answers something else than a state: %w", err)
		}
		states = []breakage.State{one}
	}
	for _, s := range states {
		what := strings.Join(s.Broken, " ")
		if what == "" {
			what = "whole"
		}
		fmt.Fprintf(c.stdout, "%-14s %s\n", s.Service, what)
	}
	return nil
}
