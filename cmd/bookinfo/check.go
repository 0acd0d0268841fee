package main

import (
	"context"

	"example.com/bookinfo/services/check"
)

func checkCommand(ctx context.Context, c call) error {
	return check.Run(ctx, c.args, c.stdout, c.stderr)
}
