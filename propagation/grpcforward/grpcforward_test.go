package grpcforward_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"example.com/bookinfo/propagation"
	"example.com/bookinfo/propagation/grpcforward"
)

// upstream is a service that notes the metadata of every call.
type upstream struct {
	healthpb.UnimplementedHealthServer
	mu   sync.Mutex
	seen []metadata.MD
}

func (u *upstream) note(ctx context.Context) {
	md, _ := metadata.FromIncomingContext(ctx)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, md)
}

func (u *upstream) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	u.note(ctx)
	return &healthpb.HealthCheckResponse{}, nil
}

func (u *upstream) Watch(_ *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	u.note(stream.Context())
	return stream.Send(&healthpb.HealthCheckResponse{})
}

// middle is a service that answers by asking the upstream in the same way.
type middle struct {
	healthpb.UnimplementedHealthServer
	next healthpb.HealthClient
}

func (m middle) Check(ctx context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return m.next.Check(ctx, req)
}

func (m middle) Watch(req *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	next, err := m.next.Watch(stream.Context(), req)
	if err != nil {
		return err
	}
	resp, err := next.Recv()
	if err != nil {
		return err
	}
	return stream.Send(resp)
}

// serve starts a server in memory and returns a client of it.
func serve(t *testing.T, service healthpb.HealthServer, server []grpc.ServerOption, client ...grpc.DialOption) healthpb.HealthClient {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	s := grpc.NewServer(server...)
	healthpb.RegisterHealthServer(s, service)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.Dial("passthrough:memory", append(client, grpc.WithInsecure(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return healthpb.NewHealthClient(conn)
}

// chain returns a client of a service that forwards to u.
func chain(t *testing.T, set propagation.Set, u *upstream) healthpb.HealthClient {
	next := serve(t, u, nil,
		grpc.WithUnaryInterceptor(grpcforward.UnaryClient()), grpc.WithStreamInterceptor(grpcforward.StreamClient()))
	return serve(t, middle{next: next}, []grpc.ServerOption{
		grpc.UnaryInterceptor(grpcforward.UnaryServer(set)), grpc.StreamInterceptor(grpcforward.StreamServer(set))})
}

// call calls the unary or the stream method.
func call(ctx context.Context, t *testing.T, client healthpb.HealthClient, stream bool) {
	t.Helper()
	if !stream {
		if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
			t.Error(err)
		}
		return
	}
	s, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := s.Recv(); err != nil {
		t.Error(err)
	}
}

// own returns metadata without what gRPC itself adds.
func own(md metadata.MD) metadata.MD {
	md = md.Copy()
	for _, name := range []string{":authority", "content-type", "user-agent", "grpc-accept-encoding"} {
		delete(md, name)
	}
	return md
}

func TestForward(t *testing.T) {
	for _, tt := range []struct {
		name     string
		set      propagation.Set
		in, want metadata.MD
	}{
		{"nothing", propagation.All(), nil, metadata.MD{}},
		{"b3 and request id", propagation.All(),
			metadata.Pairs("X-B3-TraceId", "463AC35C9f6413ad", "x-b3-spanid", "a2fb4a1d1a96d312", "x-request-id", "r", "other", "1", "x-forwarded-for", "10.0.0.7"),
			metadata.Pairs("x-b3-traceid", "463AC35C9f6413ad", "x-b3-spanid", "a2fb4a1d1a96d312", "x-request-id", "r")},
		{"several lines", propagation.All(),
			metadata.Pairs("tracestate", "a=1", "tracestate", "b=2", "traceparent", "t", "traceparent", "u"),
			metadata.Pairs("tracestate", "a=1,b=2", "traceparent", "t")},
		{"empty values", propagation.All(), metadata.Pairs("x-b3-parentspanid", "", "b3", "0"), metadata.Pairs("b3", "0")},
		{"binary", propagation.All(), metadata.Pairs("grpc-trace-bin", "\x00\x01\xff"), metadata.Pairs("grpc-trace-bin", "\x00\x01\xff")},
		{"a chosen set", propagation.All().Only(propagation.W3C), metadata.Pairs("b3", "0", "traceparent", "t"), metadata.Pairs("traceparent", "t")},
		{"none", propagation.Set{}, metadata.Pairs("b3", "0"), metadata.MD{}},
	} {
		for _, stream := range []bool{false, true} {
			u := &upstream{}
			ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.Background(), tt.in), time.Minute)
			call(ctx, t, chain(t, tt.set, u), stream)
			cancel()
			if len(u.seen) != 1 {
				t.Errorf("%s, stream %t: %d calls arrived, want 1", tt.name, stream, len(u.seen))
			} else if got := own(u.seen[0]); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s, stream %t: the upstream got %v, want %v", tt.name, stream, got, tt.want)
			}
		}
	}
}

func TestSetsAndDoesNotAdd(t *testing.T) {
	u := &upstream{}
	client := serve(t, u, nil, grpc.WithUnaryInterceptor(grpcforward.UnaryClient()))
	outgoing := metadata.Pairs("b3", "stale", "b3", "twice", "mine", "1")
	ctx := metadata.NewOutgoingContext(context.Background(), outgoing)
	ctx = propagation.NewContext(ctx, propagation.All().Capture(http.Header{"B3": {"0"}}))
	call(ctx, t, client, false)
	if got, want := own(u.seen[0]), metadata.Pairs("b3", "0", "mine", "1"); !reflect.DeepEqual(got, want) {
		t.Errorf("the upstream got %v, want %v", got, want)
	}
	if want := metadata.Pairs("b3", "stale", "b3", "twice", "mine", "1"); !reflect.DeepEqual(outgoing, want) {
		t.Errorf("the caller's metadata became %v", outgoing)
	}
}

// TestFromHTTP has a service that is asked by HTTP and asks by gRPC.
func TestFromHTTP(t *testing.T) {
	u := &upstream{}
	client := serve(t, u, nil, grpc.WithUnaryInterceptor(grpcforward.UnaryClient()))
	handler := propagation.Handler(propagation.All(), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		call(r.Context(), t, client, false)
	}))
	for _, padded := range []bool{true, false} {
		encoding := base64.RawStdEncoding
		if padded {
			encoding = base64.StdEncoding
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Grpc-Trace-Bin", encoding.EncodeToString([]byte("\x00\x01\xff\xfe")))
		r.Header.Set("B3", "0")
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Grpc-Trace-Bin", "not base64!")
	handler.ServeHTTP(httptest.NewRecorder(), r)

	want := metadata.Pairs("b3", "0", "grpc-trace-bin", "\x00\x01\xff\xfe")
	if len(u.seen) != 3 || !reflect.DeepEqual(own(u.seen[0]), want) || !reflect.DeepEqual(own(u.seen[1]), want) || len(own(u.seen[2])) != 0 {
		t.Errorf("the upstream got %v, want twice %v and then nothing", u.seen, want)
	}
}

func TestConcurrentCalls(t *testing.T) {
	u := &upstream{}
	client := chain(t, propagation.All(), u)
	var wg sync.WaitGroup
	for i := 0; i < 100; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			id := fmt.Sprint(i)
			ctx := metadata.NewOutgoingContext(context.Background(), metadata.Pairs("x-request-id", id, "b3", id))
			call(ctx, t, client, i%2 == 0)
		}(i)
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, md := range u.seen {
		if id := md.Get("x-request-id"); len(id) != 1 || !reflect.DeepEqual(id, md.Get("b3")) {
			t.Errorf("metadata of several calls in one: %v", md)
		} else {
			ids[id[0]] = true
		}
	}
	if len(ids) != 100 {
		t.Errorf("%d of 100 contexts arrived", len(ids))
	}
}

func Example() {
	forward := propagation.All()
	server := grpc.NewServer(
		grpc.UnaryInterceptor(grpcforward.UnaryServer(forward)),
		grpc.StreamInterceptor(grpcforward.StreamServer(forward)),
	)
	defer server.Stop()

	conn, err := grpc.Dial("passthrough:ratings:9080", grpc.WithInsecure(),
		grpc.WithUnaryInterceptor(grpcforward.UnaryClient()),
		grpc.WithStreamInterceptor(grpcforward.StreamClient()),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println(conn.Target())
	// Output: passthrough:ratings:9080
}
