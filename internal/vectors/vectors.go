// Package vectors holds what a real Envoy 1.36 and 1.40, configured as Istio configures its proxies, did with some
// 1,000 requests and 98 whole Bookinfo chains. Tests compare the stand-in with it; no binary imports it.
// README.md in this folder gives the fields and the symbols.
package vectors

import (
	"embed"
	"encoding/json"
	"testing"
)

//go:embed *.json
var files embed.FS

// Load decodes the recording with the given file name, for example "b3.json", into out.
func Load(t testing.TB, name string, out any) {
	t.Helper()
	data, err := files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
