package cluster

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// block is a shell block of a page with the mark before it: "cluster" when the tests run it on a cluster, else what
// it needs that they have not.
type block struct{ page, mark, commands string }

// shellBlocks reads the pages on clusters.
func shellBlocks(t *testing.T) []block {
	t.Helper()
	var blocks []block
	fence := regexp.MustCompile("(?s)(?:<!-- ([^\n]*) -->\n)?```sh\n(.*?)```")
	for _, page := range []string{"kubernetes.md", "asm.md"} {
		text, err := os.ReadFile(filepath.Join("../../docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
			blocks = append(blocks, block{page, m[1], m[2]})
		}
	}
	return blocks
}

// TestEveryCommandIsRunOrSaysWhyNot: a block without a mark is one that nobody tried.
func TestEveryCommandIsRunOrSaysWhyNot(t *testing.T) {
	run, named := 0, regexp.MustCompile(`\bdeploy/[a-z0-9/_.-]+`)
	for _, b := range shellBlocks(t) {
		switch {
		case b.mark == "cluster":
			run++
		case !strings.HasPrefix(b.mark, "needs "):
			t.Errorf("%s: neither run on a cluster nor said to need something:\n%s", b.page, b.commands)
		}
		for _, path := range named.FindAllString(b.commands, -1) {
			if _, err := os.Stat(filepath.Join("../..", path)); err != nil && !strings.Contains(b.commands, "exec "+path) {
				t.Errorf("%s names %s: %v", b.page, path, err)
			}
		}
	}
	if run < 8 {
		t.Errorf("only %d blocks are run", run)
	}
}
