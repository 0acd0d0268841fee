//go:build cluster

package cluster

import (
	"os"
	"strings"
	"testing"
)

// TestDocs runs the blocks that the pages mark "cluster", page by page in their order.
func TestDocs(t *testing.T) {
	t.Setenv("ACK", os.Getenv("KUBECONFIG"))
	t.Cleanup(func() { sh(t, "kubectl delete --ignore-not-found -f deploy/asm/tracing-on-external-zipkin.yaml") })
	for _, b := range shellBlocks(t) {
		if b.mark != "cluster" {
			continue
		}
		out := sh(t, "set -e\n"+b.commands)
		t.Logf("%s:\n%s%s", b.page, b.commands, out)
		if strings.Contains(b.commands, "grep -o '<title>") && !strings.Contains(out, title) {
			t.Errorf("%s: the title is missing", b.page)
		}
		if strings.Contains(b.commands, "get pods\n") && strings.Count(out, "2/2") != 6 {
			t.Errorf("%s: want six pods with 2/2:\n%s", b.page, out)
		}
	}
}
