package compile

import (
	"time"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/route"
)

func defaultRetry() *route.Retry {
	return &route.Retry{
		Attempts: 2, On: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
		Backoff: 25 * time.Millisecond, AvoidPrevious: 5,
	}
}

type meshRules struct{ b *builder }

func (b *builder) meshRules() meshRules                                        { return meshRules{b} }
func (r meshRules) routes(service *mesh.Service, port int) []*route.Route      { return nil }
func (r meshRules) otherHosts(taken []*route.VirtualHost) []*route.VirtualHost { return nil }
func (b *builder) tracing(direction string) *route.Tracing                     { return nil }
func (b *builder) authorization() *route.Authorization                         { return nil }
func (b *builder) gateway() *route.Table                                       { return b.table("http.8080", "gateway", nil) }
