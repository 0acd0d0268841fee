# Everything a person or CI runs. `make` alone lists it.

SHELL := /bin/bash
# The tests of docker-compose.yaml compile Compose itself: only where there is a Docker to run them.
MODULES := . propagation propagation/otelforward propagation/grpcforward $(if $(shell command -v docker),deploy/docker/stack)
# The race detector needs a C compiler; with Go alone the tests run without it.
RACE := $(if $(shell command -v gcc || command -v clang),-race)
# What runs now and then, drivers and exporters, is not inlined: 3 % fewer bytes to pull.
COLD := go.mongodb.org github.com/klauspost go.opentelemetry.io/otel go.opentelemetry.io/contrib google.golang.org/protobuf
# grpcnotrace leaves out x/net/trace and html templates that gRPC would link into every binary.
BUILDFLAGS := -trimpath -tags grpcnotrace $(COLD:%=-gcflags=%/...=-l)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -X example.com/bookinfo/internal/server.version=$(VERSION) -X example.com/bookinfo/internal/server.revision=$(REVISION)
BINARIES := productpage details reviews ratings sidecar console bookinfo
REGISTRY ?= example.com/bookinfo
TAG ?= dev

.DEFAULT_GOAL := help
.PHONY: help
help: ## List these targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 22

.PHONY: demo
demo: ## Run Bookinfo, its mesh and the console on this machine.
	go run ./cmd/bookinfo demo

.PHONY: build
build: ## Build every binary into bin/.
	@mkdir -p bin
	@for b in $(BINARIES); do CGO_ENABLED=0 go build $(BUILDFLAGS) -ldflags '$(LDFLAGS)' -o bin/$$b ./cmd/$$b || exit 1; done

.PHONY: test
test: ## Run all tests, shuffled and with the race detector; names what it skips and why.
	@set -o pipefail; go build -o bin/report ./internal/need/report && { \
	for m in $(MODULES); do (cd $$m && go test $(RACE) $(TESTFLAGS) -shuffle=on -timeout 20m -json ./... 2>&1) || failed=1; done; \
	exit $${failed:-0}; } | bin/report

.PHONY: test-cluster
test-cluster: ## Test deploy/ on the Kubernetes with Istio of KUBECONFIG, whose namespace default is emptied; ARGS="-run Traces" for some.
	@: "$${KUBECONFIG:?must name the cluster; see docs/kubernetes.md}"
	go test -tags cluster -count=1 -timeout 40m -v ./deploy/cluster $(ARGS)

.PHONY: validate
validate: ## Check every manifest by kubeconform, with schemas made from Go modules, and by Istio's own validation.
	cd deploy/validation && go vet ./... && go test -v -count=1 ./...

.PHONY: bench-console
bench-console: ## Measure the console: CPU and memory for each span, time of queries; ARGS="-large 5000000" for more spans.
	@go run ./services/console/bench $(ARGS)

.PHONY: bench-pages
bench-pages: ## Measure the pages in a real browser: first row, frames while scrolling, bytes.
	@go test -run '^$$' -bench 'TracePage|PageBytes' -benchtime 3x -timeout 20m ./services/console/web

.PHONY: bench-console-peers
bench-console-peers: ## Measure the console beside Zipkin and Jaeger, where they are installed, in one run.
	@go run ./services/console/bench -peers $(ARGS)

.PHONY: soak-console
soak-console: ## Hold the console under full ingest for ten minutes, kill it 20 times, fill its disk; ARGS="-soak 2m" for less.
	@go run ./services/console/bench -soak 10m $(ARGS)

.PHONY: bench
bench: ## Measure what the services cost: processor time, latency, memory, time to start.
	@go run ./internal/bench

.PHONY: bench-demo
bench-demo: ## Measure the demo: from exec to ready, memory while it answers 50 pages a second; ARGS="-rate 100".
	@go run ./internal/bench demo $(ARGS)

.PHONY: bench-proxy
bench-proxy: ## Measure the sidecar against no proxy, ReverseProxy and a real Envoy, interleaved.
	@go run ./services/sidecar/bench

.PHONY: soak
soak: ## Ten minutes of load on the suite behind its sidecars while the collector and each application come and go; fails if a request is lost; ARGS="-duration 1m".
	@go run ./services/sidecar/soak $(ARGS)

.PHONY: soak-routes
soak-routes: ## Ten minutes of load on the demo while a routing file is applied every 100 ms; fails if a request is lost.
	@go run ./cmd/bookinfo/demo/soak

.PHONY: lint
lint: ## Check formatting, go vet, golangci-lint and known vulnerabilities.
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	@for m in $(MODULES); do (cd $$m && go vet ./... && golangci-lint run ./...) || exit 1; done
	@$(MAKE) -s security

.PHONY: manifests
manifests: ## Render deploy/kubernetes/platform; REGISTRY= and TAG= go into every image of ours.
	go run ./deploy/kubernetes/render $(if $(filter command line,$(origin REGISTRY)),-registry $(REGISTRY)) $(if $(filter command line,$(origin TAG)),-tag $(TAG))

.PHONY: images
images: ## Build every image for this machine.
	REGISTRY=$(REGISTRY) TAG=$(TAG) VERSION=$(VERSION) REVISION=$(REVISION) docker buildx bake --load

.PHONY: push
push: ## Build every image for amd64 and arm64 with SBOM and provenance, and push: make push REGISTRY=… TAG=…
	REGISTRY=$(REGISTRY) TAG=$(TAG) VERSION=$(VERSION) REVISION=$(REVISION) docker buildx bake release

.PHONY: security
security: ## Look for known vulnerabilities, and check the hardened manifests.
	@govulncheck -version >/dev/null 2>&1 && { out=$$(govulncheck ./... 2>&1) && echo "$$out" | tail -2 || { grep -q 'fetching vulnerabilities\|no such host\|connection refused\|i/o timeout\|403' <<<"$$out" && echo "govulncheck: its database cannot be reached from here, skipped" || { echo "$$out"; exit 1; }; }; } || echo "govulncheck is not installed: go install golang.org/x/vuln/cmd/govulncheck@latest"
	go test ./deploy/kubernetes/...
	cd deploy/validation && go vet ./schemas && go test ./schemas

.PHONY: envoy-config
envoy-config: ## Write deploy/envoy, the configuration of the Envoys that docker-compose.yaml runs.
	go run ./cmd/bookinfo envoy-config --compose deploy/envoy

.PHONY: sizes
sizes: images ## Write the sizes of the images into README.md.
	REGISTRY=$(REGISTRY) TAG=$(TAG) go run ./deploy/docker/sizes README.md
