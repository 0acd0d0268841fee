// Package istio carries the files of this folder into binaries: the demo begins with bookinfo-gateway.yaml, and tests
// apply all of them.
package istio

import "embed"

//go:embed *.yaml policy/*.yaml
var files embed.FS

// Files returns the folder as it was when the binary was built.
func Files() embed.FS { return files }
