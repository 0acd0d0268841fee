module example.com/bookinfo/propagation/otelforward

go 1.21

// The lowest versions that work: whoever imports this keeps their own.
require (
	example.com/bookinfo/propagation v0.0.0
	go.opentelemetry.io/otel v1.0.0
)

require go.opentelemetry.io/otel/trace v1.0.0 // indirect

replace example.com/bookinfo/propagation => ../
