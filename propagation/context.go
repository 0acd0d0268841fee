package propagation

import "context"

type traceKey struct{}

// NewContext returns a context that carries the captured headers to outgoing requests, in place of any that ctx carries.
func NewContext(ctx context.Context, c Captured) context.Context {
	return context.WithValue(ctx, traceKey{}, c)
}

// FromContext returns the headers that ctx carries, which are none when nothing was captured for it.
func FromContext(ctx context.Context) Captured {
	c, _ := ctx.Value(traceKey{}).(Captured)
	return c
}
