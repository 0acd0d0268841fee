# docker buildx bake          builds every image for this machine
# docker buildx bake release  builds them for amd64 and arm64, with SBOM and provenance, and pushes them (`make push`)

variable "REGISTRY" { default = "example.com/bookinfo" }
variable "TAG" { default = "dev" }
variable "VERSION" { default = "dev" }
variable "REVISION" { default = "" }

variable "VERSIONS" {
  default = [
    "productpage-v1", "productpage-v-flooding",
    "details-v1", "details-v2",
    "reviews-v1", "reviews-v2", "reviews-v3",
    "ratings-v1", "ratings-v2", "ratings-v-faulty", "ratings-v-delayed", "ratings-v-unavailable", "ratings-v-unhealthy",
  ]
}

// Istio's tutorials run curl, bash or pkill inside the pods of these.
variable "TOOLS" {
  default = [
    "details-v1", "details-v2",
    "reviews-v1", "reviews-v2", "reviews-v3",
    "ratings-v1", "ratings-v2", "ratings-v-faulty", "ratings-v-delayed", "ratings-v-unavailable", "ratings-v-unhealthy",
  ]
}

group "default" {
  targets = ["service", "tools", "bookinfo"]
}

group "release" {
  targets = ["service-release", "tools-release", "bookinfo-release"]
}

target "common" {
  dockerfile = "deploy/docker/Dockerfile"
  args       = { VERSION = VERSION, REVISION = REVISION }
}

target "multiarch" {
  platforms = ["linux/amd64", "linux/arm64"]
  attest    = ["type=sbom", "type=provenance,mode=max"]
  output    = ["type=registry,compression=gzip,compression-level=9,force-compression=true"]
}

# Istio's manifests name a version of a service examples-bookinfo-SERVICE-VERSION: changing the registry is enough.
target "service" {
  name     = version
  inherits = ["common"]
  matrix   = { version = VERSIONS }
  target = version
  tags   = ["${REGISTRY}/examples-bookinfo-${version}:${TAG}"]
}

target "tools" {
  name     = "${version}-tools"
  inherits = ["common"]
  matrix   = { version = TOOLS }
  target = "${version}-tools"
  tags   = ["${REGISTRY}/examples-bookinfo-${version}:${TAG}-tools"]
}

target "bookinfo" {
  name     = "bookinfo-${binary.name}"
  inherits = ["common"]
  matrix = {
    binary = [
      { name = "cli", target = "bookinfo", image = "bookinfo" },
      { name = "console", target = "console", image = "bookinfo-console" },
      { name = "sidecar", target = "sidecar", image = "bookinfo-sidecar" },
    ]
  }
  target = binary.target
  tags   = ["${REGISTRY}/${binary.image}:${TAG}"]
}

target "service-release" {
  name     = "${version}-release"
  inherits = [version, "multiarch"]
  matrix   = { version = VERSIONS }
}

target "tools-release" {
  name     = "${version}-tools-release"
  inherits = ["${version}-tools", "multiarch"]
  matrix   = { version = TOOLS }
}

target "bookinfo-release" {
  name     = "bookinfo-${binary}-release"
  inherits = ["bookinfo-${binary}", "multiarch"]
  matrix   = { binary = ["cli", "console", "sidecar"] }
}
