package check

import (
	"context"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"example.com/bookinfo/propagation"
)

// health is a gRPC service that asks another for its health and forwards what pass makes of the metadata.
type health struct {
	healthpb.UnimplementedHealthServer
	next healthpb.HealthClient
	pass func(in metadata.MD) metadata.MD
}

func (h health) Check(ctx context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	in, _ := metadata.FromIncomingContext(ctx)
	_, _ = h.next.Check(metadata.NewOutgoingContext(ctx, h.pass(in)), req)
	return &healthpb.HealthCheckResponse{}, nil
}

// forwarded is the metadata that should leave.
func forwarded(in metadata.MD) metadata.MD {
	out := metadata.MD{}
	propagation.All().CaptureFunc(func(name string) []string { return in[name] }).All(func(name, value string) bool {
		out.Set(name, value)
		return true
	})
	return out
}

func TestGRPC(t *testing.T) {
	for _, tt := range []struct {
		name string
		pass func(metadata.MD) metadata.MD
		want []string
	}{
		{"copies metadata", forwarded, nil},
		{"does not copy metadata", func(metadata.MD) metadata.MD { return nil }, []string{ruleNothing}},
		{"forgets x-request-id", func(in metadata.MD) metadata.MD {
			out := forwarded(in)
			out.Delete("x-request-id")
			return out
		}, []string{ruleRequestIDLost}},
		{"passes the whole metadata on", func(in metadata.MD) metadata.MD {
			out := in.Copy()
			for _, name := range []string{":authority", "content-type", "user-agent"} {
				out.Delete(name)
			}
			return out
		}, []string{ruleDuplicated, ruleEmpty, ruleHop}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up, err := startUpstream(t.Context(), "127.0.0.1:0", "{}")
			if err != nil {
				t.Fatal(err)
			}
			defer up.close()
			conn, err := grpc.NewClient(up.fill("{hostport}"), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := grpc.NewServer()
			healthpb.RegisterHealthServer(s, health{next: healthpb.NewHealthClient(conn), pass: tt.pass})
			go func() { _ = s.Serve(listener) }()
			defer s.Stop()

			target := url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/grpc.health.v1.Health/Check"}
			cfg, err := parse([]string{"--url", target.String(), "--protocol", "grpc", "--upstream-listen", "127.0.0.1:1", "--grace", "100ms"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			r, err := probeAll(t.Context(), cfg, up, ids{rand.NewChaCha8([32]byte{1})})
			if err != nil {
				t.Fatal(err)
			}
			if got := errorsOf(r); !slices.Equal(got, tt.want) {
				t.Errorf("errors %q, want %q\n%s", got, tt.want, text(t, r))
			}
		})
	}
}
