package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"example.com/bookinfo/cmd/bookinfo/demo"
	"example.com/bookinfo/cmd/bookinfo/meshctl"
	"example.com/bookinfo/internal/server"
)

// meshCommands are those that steer the mesh of a running demo.
func meshCommands() []command {
	var commands []command
	for _, m := range meshctl.Commands() {
		commands = append(commands, command{m.Name, m.About, func(ctx context.Context, c call) error {
			err := m.Run(ctx, meshctl.Env{
				Args: c.args, Stdin: os.Stdin, Stdout: c.stdout, Stderr: c.stderr, Now: time.Now,
				Control: func(ctx context.Context, control string) (string, error) {
					info, err := demo.Find(ctx, control, c.getenv)
					return info.Control, err
				},
			})
			if errors.Is(err, meshctl.ErrUsage) {
				return &server.UsageError{Err: errors.New(strings.TrimPrefix(err.Error(), meshctl.ErrUsage.Error()+": "))}
			}
			return err
		}})
	}
	return commands
}
