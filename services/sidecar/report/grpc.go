package report

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// export is OTLP's only method (opentelemetry/proto/collector/trace/v1/trace_service.proto).
const export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// caller calls a collector over gRPC with messages that are encoded already.
type caller struct {
	connection *grpc.ClientConn
	metadata   metadata.MD
}

func newCaller(u *url.URL, userAgent string, o *Options) (*caller, error) {
	security := insecure.NewCredentials()
	if u.Scheme == "grpcs" || u.Scheme == "https" {
		security = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	host := u.Host
	if u.Port() == "" {
		host += ":4317"
	}
	connection, err := grpc.NewClient(host, grpc.WithTransportCredentials(security), grpc.WithUserAgent(userAgent),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	if err != nil {
		return nil, err
	}
	m := metadata.Pairs("x-envoy-internal", "true")
	if o.Address != "" {
		m.Set("x-forwarded-for", o.Address)
	}
	for name, values := range o.Headers {
		m.Set(name, values...)
	}
	return &caller{connection: connection, metadata: m}, nil
}

func (c *caller) call(ctx context.Context, parts ...[]byte) error {
	ctx = metadata.NewOutgoingContext(ctx, c.metadata)
	var answer encoded
	err := c.connection.Invoke(ctx, export, encoded(parts), &answer, grpc.ForceCodecV2(encodedCodec{}))
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	if s.Code() == codes.Canceled {
		return err
	}
	return errors.New(s.Code().String() + ": " + s.Message())
}

func (c *caller) close() error {
	if c == nil {
		return nil
	}
	return c.connection.Close()
}

// encoded is a message in its wire form, in parts.
type encoded [][]byte

// encodedCodec passes wire forms through.
type encodedCodec struct{}

func (encodedCodec) Marshal(v any) (mem.BufferSlice, error) {
	parts, ok := v.(encoded)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	var out mem.BufferSlice
	for _, part := range parts {
		out = append(out, mem.SliceBuffer(part))
	}
	return out, nil
}

func (encodedCodec) Unmarshal(data mem.BufferSlice, v any) error {
	answer, ok := v.(*encoded)
	if !ok {
		return fmt.Errorf("cannot receive a %T", v)
	}
	*answer = encoded{data.Materialize()}
	return nil
}

// Name is that of the codec whose wire form this is; it becomes the content type.
func (encodedCodec) Name() string { return "proto" }
