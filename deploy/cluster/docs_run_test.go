//go:build cluster

package cluster

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"example.com/bookinfo/internal/docblocks"
)

// TestDocs types the blocks that the pages mark "cluster", each page in one shell from top to bottom, and looks for the
// lines that the reader must see.
func TestDocs(t *testing.T) {
	blocks, err := docblocks.All(root)
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string][]docblocks.Block{}
	for _, b := range blocks {
		if b.Mark == "cluster" {
			pages[b.Page] = append(pages[b.Page], b)
		}
	}
	t.Setenv("ACK", os.Getenv("KUBECONFIG"))
	loadBalancer(t)
	for _, page := range []string{"docs/kubernetes.md", "docs/asm.md"} {
		t.Run(page, func(t *testing.T) {
			t.Cleanup(func() {
				sh(t, "kubectl delete --ignore-not-found -f deploy/asm/tracing-on-external-zipkin.yaml && kubectl delete namespace --ignore-not-found bookinfo-restricted-docs")
			})
			var script strings.Builder
			script.WriteString("set -eo pipefail\ntrap 'jobs -p | xargs -r kill' EXIT\nexec 2>&1\n")
			for i, b := range pages[page] {
				fmt.Fprintf(&script, "echo '@@ %d'\n%s", i, b.Commands)
				if strings.Contains(b.Commands, "&\n") {
					script.WriteString("sleep 3\n") // a reader takes a moment until the next command
				}
			}
			// Port 9411 of this machine may be taken, by a demo for example.
			text := strings.NewReplacer("9411:9411", "39411:9411", "localhost:9411", "localhost:39411").Replace(script.String())
			out, err := run("", "bash", "-c", text)
			parts := regexp.MustCompile(`(?m)^@@ \d+\n`).Split(out, -1)[1:]
			for i, part := range parts {
				b := pages[page][i]
				t.Logf("%s:%d\n%s--\n%s", page, b.Line, b.Commands, part)
				for _, line := range b.Missing(part) {
					t.Errorf("%s:%d: the output lacks %q:\n%s", page, b.Line, line, part)
				}
			}
			if err != nil {
				t.Errorf("%d of %d blocks, then: %v", len(parts), len(pages[page]), err)
			}
			if len(pages[page]) < 4 {
				t.Errorf("only %d blocks", len(pages[page]))
			}
		})
	}
}

// loadBalancer gives the gateway's Service an address as a cloud would, where no cloud does: kube-proxy leads whatever
// goes to it from a node to the gateway.
func loadBalancer(t *testing.T) {
	t.Helper()
	const service = "kubectl -n istio-system patch service istio-ingressgateway "
	was := sh(t, "kubectl -n istio-system get service istio-ingressgateway -o jsonpath='{.spec.type} {.status.loadBalancer.ingress[0].ip}'")
	kind, address, _ := strings.Cut(was, " ")
	if address != "" {
		return
	}
	sh(t, service+`-p '{"spec":{"type":"LoadBalancer"}}'`)
	t.Cleanup(func() { sh(t, service+`-p '{"spec":{"type":"`+kind+`"}}'`) })
	sh(t, service+`--subresource=status -p '{"status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.80"}]}}}'`)
}
