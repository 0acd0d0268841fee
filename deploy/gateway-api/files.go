// Package gatewayapi carries the files of this folder into binaries.
package gatewayapi

import "embed"

//go:embed *.yaml
var files embed.FS

// Files returns the folder as it was when the binary was built.
func Files() embed.FS { return files }
