package ingest

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	jsonType  = "application/json"
	protoType = "application/x-protobuf"
)

// ZipkinV2 serves POST /api/v2/spans. Envoy counts a report as sent only when the answer is 202.
func (r *Receiver) ZipkinV2(w http.ResponseWriter, req *http.Request) {
	f := ZipkinV2JSON
	if mediaType(req) == protoType {
		f = ZipkinV2Proto
	}
	r.zipkin(w, req, f)
}

// ZipkinV1 serves POST /api/v1/spans.
func (r *Receiver) ZipkinV1(w http.ResponseWriter, req *http.Request) { r.zipkin(w, req, ZipkinV1JSON) }

func (r *Receiver) zipkin(w http.ResponseWriter, req *http.Request, f Format) {
	if t := mediaType(req); t == "application/x-thrift" || f == ZipkinV1JSON && t == protoType {
		r.refuse(w, req, f, 0, &unsupported{"content-type " + t + ": want " + jsonType})
		return
	}
	if _, err := r.receive(w, req, f); err != nil {
		http.Error(w, err.Error(), r.prepare(w, err))
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// prepare returns the status for an error and sets the headers that belong to it.
func (r *Receiver) prepare(w http.ResponseWriter, err error) int {
	code := status(err)
	switch code {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusUnsupportedMediaType:
		w.Header().Set("Accept-Encoding", "gzip")
	}
	return code
}

func (r *Receiver) refuse(w http.ResponseWriter, req *http.Request, f Format, wire int64, err error) {
	r.logged(post{format: f, sender: req.RemoteAddr, agent: req.UserAgent(), wire: wire}, outcome{}, 0, err)
	http.Error(w, err.Error(), r.prepare(w, err))
}

// receive reads and takes a post, and writes the push log's line whatever comes of it.
func (r *Receiver) receive(w http.ResponseWriter, req *http.Request, f Format) (outcome, error) {
	p := post{format: f, sender: req.RemoteAddr, agent: req.UserAgent()}
	var out outcome
	err := r.authorized(req.Header.Get("Authorization"))
	if err == nil {
		t := r.texts.get()
		defer r.texts.put(t)
		p.wire, err = r.read(w, req, t)
		p.body = t.body()
	}
	if err == nil {
		out, err = r.take(p)
	}
	if err != nil {
		r.logged(p, out, 0, err)
	}
	return out, err
}

func (r *Receiver) authorized(header string) error {
	if r.Token == "" {
		return nil
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare([]byte(token), []byte(r.Token)) != 1 {
		return errToken
	}
	return nil
}

// read fills t with the decompressed body and returns its size on the wire.
func (r *Receiver) read(w http.ResponseWriter, req *http.Request, t *text) (wire int64, err error) {
	l := r.Limits.orDefault()
	t.buf = t.buf[:0]
	counted := &countingReader{r: http.MaxBytesReader(w, req.Body, l.Body)}
	switch encoding := strings.ToLower(strings.TrimSpace(req.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		length := req.ContentLength
		if length > l.Body {
			length = -1
		}
		err = named(t.fill(counted, length), l)
		return counted.n, err
	case "gzip", "x-gzip":
	default:
		return 0, &unsupported{fmt.Sprintf("content-encoding %.40q: want gzip or none", encoding)}
	}
	z, _ := gzipReaders.Get().(*gzip.Reader)
	if z == nil {
		z = new(gzip.Reader)
	}
	defer gzipReaders.Put(z)
	if err = z.Reset(counted); err == nil {
		err = t.fill(io.LimitReader(z, l.Decoded+1), -1)
	}
	if err == nil && int64(len(t.buf)) > l.Decoded {
		return counted.n, &TooLarge{"bytes after decompression", l.Decoded}
	}
	if err = named(err, l); err != nil && status(err) == http.StatusBadRequest {
		err = &Malformed{Offset: -1, Reason: "gzip: " + err.Error()}
	}
	return counted.n, err
}

// gzipReaders are used again: one has 40 KB of tables.
var gzipReaders sync.Pool

// named tells which limit http.MaxBytesReader was.
func named(err error, l Limits) error {
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return &TooLarge{"bytes on the wire", l.Body}
	}
	return err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func mediaType(req *http.Request) string {
	t, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// OTLPHTTP serves POST /v1/traces as the OTLP specification says: the answer is in the encoding of the request, an
// error is a google.rpc.Status.
func (r *Receiver) OTLPHTTP(w http.ResponseWriter, req *http.Request) {
	var f Format
	switch t := mediaType(req); t {
	case protoType, "application/protobuf":
		f = OTLPProto
	case jsonType:
		f = OTLPJSON
	default:
		r.refuse(w, req, OTLPProto, 0, &unsupported{fmt.Sprintf("content-type %.40q: want %s or %s", t, protoType, jsonType)})
		return
	}
	out, err := r.receive(w, req, f)
	if err != nil {
		answerOTLP(w, r.prepare(w, err), f, grpcstatus.New(code(err), err.Error()).Proto())
		return
	}
	resp := exportResponse(out)
	var body []byte
	if f == OTLPJSON {
		body, err = resp.MarshalJSON()
	} else {
		body, err = resp.MarshalProto()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeOTLP(w, http.StatusOK, f, body)
}

func exportResponse(out outcome) ptraceotlp.ExportResponse {
	resp := ptraceotlp.NewExportResponse()
	if out.rejected > 0 {
		resp.PartialSuccess().SetRejectedSpans(int64(out.rejected))
		resp.PartialSuccess().SetErrorMessage(out.reason)
	}
	return resp
}

func answerOTLP(w http.ResponseWriter, status int, f Format, m proto.Message) {
	var body []byte
	var err error
	if f == OTLPJSON {
		body, err = protojson.Marshal(m)
	} else {
		body, err = proto.Marshal(m)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeOTLP(w, status, f, body)
}

func writeOTLP(w http.ResponseWriter, status int, f Format, body []byte) {
	t := protoType
	if f == OTLPJSON {
		t = jsonType
	}
	w.Header().Set("Content-Type", t)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// code is the gRPC code for an error.
func code(err error) codes.Code {
	switch status(err) {
	case http.StatusNotAcceptable:
		return codes.ResourceExhausted
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	}
	return codes.InvalidArgument
}
