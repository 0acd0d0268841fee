package compile_test

import (
	"fmt"
	"strings"
	"testing"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/services/sidecar/compile"
)

// largeFile is a VirtualService with n rules.
func largeFile(n int) string {
	var b strings.Builder
	b.WriteString("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: large\nspec:\n  hosts:\n  - reviews\n  http:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - match:\n    - uri:\n        prefix: /reviews/%d\n    route:\n    - destination:\n        host: reviews\n", i)
	}
	return b.String()
}

// BenchmarkApply is what one change costs from the file's text to the tables of every proxy of the demo.
func BenchmarkApply(b *testing.B) {
	file := []mesh.File{{Name: "large.yaml", Data: []byte(largeFile(10_000))}}
	for b.Loop() {
		m := bookinfo(b)
		for _, w := range m.Snapshot().Workloads {
			compile.Watch(m, w.Pod, func(compile.Tables) {})
		}
		if result := m.Apply(file, "default", false); result.Failed() {
			b.Fatal(result.Problems)
		}
	}
}
