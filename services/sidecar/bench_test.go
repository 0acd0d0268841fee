package sidecar_test

import (
	"fmt"
	"io"
	"net"
	"testing"

	"example.com/bookinfo/services/sidecar"
	"example.com/bookinfo/services/sidecar/header"
	"example.com/bookinfo/services/sidecar/trace"
	"example.com/bookinfo/services/sidecar/wire"
)

// BenchmarkRelay is one keep-alive connection through an outbound listener with tracing at 100 %. What it allocates
// includes the client and the application, which allocate one string a message each.
func BenchmarkRelay(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				r, w := wire.NewReader(nc), wire.NewWriter(nc)
				var q wire.Request
				for r.ReadRequest(&q) == nil {
					w.Response(200, header.Fields{{Name: "content-length", Value: "2"}}, false)
					w.Data([]byte("ok"))
					w.End(nil)
				}
			}()
		}
	}()
	d := &sidecar.Destinations{Retries: -1}
	if err := d.Add("server", "", []string{ln.Addr().String()}); err != nil {
		b.Fatal(err)
	}
	addr := start(b, sidecar.Config{Tracing: trace.Defaults(trace.Outbound)}, trace.Outbound, d.Outbound())
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	r := wire.NewReader(nc)
	var resp wire.Response
	b.ReportAllocs()
	for b.Loop() {
		fmt.Fprintf(nc, "GET /ok HTTP/1.1\r\nhost: server:9080\r\nuser-agent: bench\r\naccept: */*\r\n\r\n")
		if err := r.ReadResponse(&resp, "GET"); err != nil {
			b.Fatal(err)
		}
		body := r.Body(resp.Length)
		io.Copy(io.Discard, struct{ io.Reader }{&body})
	}
}
