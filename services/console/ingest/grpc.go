package ingest

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // senders may compress
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	grpcstatus "google.golang.org/grpc/status"
)

// rawRequest and rawResponse are messages that the codec leaves alone.
type (
	rawRequest  struct{ text *text }
	rawResponse struct{ body []byte }
)

// codec hands requests of the trace service over as they came, everything else to gRPC's own codec.
type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*rawResponse); ok {
		return mem.BufferSlice{mem.SliceBuffer(r.body)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if r, ok := v.(*rawRequest); ok {
		b := slices.Grow(r.text.buf[:0], data.Len())
		for _, part := range data {
			b = append(b, part.ReadOnlyData()...)
		}
		r.text.buf = b
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// ServerOptions are what a gRPC server needs to serve the Receiver: its codec and its limit.
func (r *Receiver) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2(proto.Name)}),
		grpc.MaxRecvMsgSize(int(r.Limits.orDefault().Decoded)),
	}
}

// Register adds OTLP's TraceService (opentelemetry/proto/collector/trace/v1/trace_service.proto). Export is served as a
// stream of one request, which is the same on the wire, because only then a request over the limit is seen here.
func (r *Receiver) Register(s *grpc.Server) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "opentelemetry.proto.collector.trace.v1.TraceService",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Export", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			answer, err := r.export(stream.Context(), stream.RecvMsg)
			if err != nil {
				return err
			}
			return stream.SendMsg(answer)
		}}},
		Metadata: "opentelemetry/proto/collector/trace/v1/trace_service.proto",
	}, r)
}

func (r *Receiver) export(ctx context.Context, receive func(any) error) (*rawResponse, error) {
	p := post{format: OTLPGRPC}
	if from, ok := peer.FromContext(ctx); ok {
		p.sender = from.Addr.String()
	}
	first := func(md metadata.MD, key string) string {
		if v := md.Get(key); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	md, _ := metadata.FromIncomingContext(ctx)
	p.agent = first(md, "user-agent")
	err := r.authorized(first(md, "authorization"))
	if err == nil {
		req := rawRequest{r.texts.get()}
		defer r.texts.put(req.text)
		req.text.buf = req.text.buf[:0]
		if err = receive(&req); err != nil {
			// A message over MaxRecvMsgSize, before or after decompression: gRPC has told the sender by now, here it is
			// counted and logged.
			if grpcstatus.Code(err) != codes.ResourceExhausted {
				return nil, err
			}
			err = &TooLarge{"bytes after decompression", r.Limits.orDefault().Decoded}
		}
		p.body, p.wire = req.text.body(), int64(len(req.text.buf))
	}
	var out outcome
	if err == nil {
		out, err = r.take(p)
	}
	if err != nil {
		r.logged(p, out, 0, err)
		// No RetryInfo: a sender must not try again what the quota refuses until midnight.
		return nil, grpcstatus.Error(code(err), err.Error())
	}
	body, err := exportResponse(out).MarshalProto()
	return &rawResponse{body}, err
}
