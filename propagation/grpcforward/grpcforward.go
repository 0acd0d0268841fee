// Package grpcforward forwards trace headers across gRPC: the metadata of an incoming call goes out with every call that
// it causes. gRPC does not do that by itself: incoming and outgoing metadata are two different things in a context.
//
//	server := grpc.NewServer(
//		grpc.UnaryInterceptor(grpcforward.UnaryServer(propagation.All())),
//		grpc.StreamInterceptor(grpcforward.StreamServer(propagation.All())),
//	)
//	conn, err := grpc.Dial(address,
//		grpc.WithUnaryInterceptor(grpcforward.UnaryClient()),
//		grpc.WithStreamInterceptor(grpcforward.StreamClient()),
//	)
//
// What a server captured also leaves through [propagation.Transport], and what [propagation.Handler] captured through
// the clients here, so a service may speak HTTP on one side and gRPC on the other. The rules are those of package
// propagation. The names of metadata are in lower case. The value of grpc-trace-bin is binary here and base64 in HTTP;
// gRPC converts one into the other on the wire and this package between the two kinds of headers.
package grpcforward

import (
	"context"
	"encoding/base64"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"example.com/bookinfo/propagation"
)

// UnaryServer captures the headers of the set from each call.
func UnaryServer(set propagation.Set) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req interface{}, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (interface{}, error) {
		return handler(capture(ctx, set), req)
	}
}

// StreamServer captures the headers of the set from each stream. They are in the context of the stream that the handler
// is given.
func StreamServer(set propagation.Set) grpc.StreamServerInterceptor {
	return func(srv interface{}, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return handler(srv, serverStream{stream, capture(stream.Context(), set)})
	}
}

type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s serverStream) Context() context.Context { return s.ctx }

// UnaryClient sets the headers that the context of a call carries, in place of metadata of the same names.
func UnaryClient() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply interface{}, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return invoke(set(ctx), method, req, reply, conn, opts...)
	}
}

// StreamClient does the same for streams.
func StreamClient() grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		return stream(set(ctx), desc, conn, method, opts...)
	}
}

// binary is the ending of names whose values gRPC carries as base64
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
const binary = "-bin"

func capture(ctx context.Context, set propagation.Set) context.Context {
	incoming, _ := metadata.FromIncomingContext(ctx)
	return propagation.NewContext(ctx, set.CaptureFunc(func(name string) []string {
		values := incoming[name]
		if !strings.HasSuffix(name, binary) {
			return values
		}
		// Held as HTTP holds it, so that it can leave through HTTP.
		encoded := make([]string, len(values))
		for i, value := range values {
			encoded[i] = base64.RawStdEncoding.EncodeToString([]byte(value))
		}
		return encoded
	}))
}

func set(ctx context.Context) context.Context {
	captured := propagation.FromContext(ctx)
	if captured.Len() == 0 {
		return ctx
	}
	outgoing, _ := metadata.FromOutgoingContext(ctx)
	outgoing = outgoing.Copy()
	captured.All(func(name, value string) bool {
		if strings.HasSuffix(name, binary) {
			raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil { // came over HTTP and cannot be said in gRPC
				return true
			}
			value = string(raw)
		}
		outgoing[name] = []string{value}
		return true
	})
	return metadata.NewOutgoingContext(ctx, outgoing)
}
