module example.com/bookinfo/propagation/grpcforward

go 1.21

// The lowest versions that work: whoever imports this keeps their own.
require (
	example.com/bookinfo/propagation v0.0.0
	google.golang.org/grpc v1.31.0
)

require (
	github.com/golang/protobuf v1.3.3 // indirect
	golang.org/x/net v0.0.0-20190311183353-d8887717615a // indirect
	golang.org/x/sys v0.0.0-20190215142949-d0b11bdaac8a // indirect
	golang.org/x/text v0.3.0 // indirect
	google.golang.org/genproto v0.0.0-20190819201941-24fa4b261c55 // indirect
)

replace example.com/bookinfo/propagation => ../
