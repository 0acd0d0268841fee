package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/bookinfo/internal/docblocks"
)

// TestEveryCommandIsRunOrSaysWhyNot: each block of commands is run by a test, or says what it needs that tests have not.
func TestEveryCommandIsRunOrSaysWhyNot(t *testing.T) {
	blocks, err := docblocks.All("..")
	if err != nil {
		t.Error(err)
	}
	if len(blocks) < 40 {
		t.Fatalf("only %d blocks", len(blocks))
	}
	known := tests(t)
	count := map[string]int{}
	for _, b := range blocks {
		kind, rest, _ := strings.Cut(b.Mark, " ")
		count[kind]++
		switch kind {
		case "demo", "cluster", "measured":
			if rest != "" {
				t.Errorf("%s:%d: mark %q: want nothing after %q", b.Page, b.Line, b.Mark, kind)
			}
		case "tested":
			names, found := strings.CutPrefix(rest, "by ")
			for name := range strings.SplitSeq(names, ", ") {
				if !found || !known[name] {
					t.Errorf("%s:%d: mark %q: there is no such test", b.Page, b.Line, b.Mark)
				}
			}
		case "needs":
		default:
			t.Errorf("%s:%d: mark %q: want demo, cluster, measured, \"tested by …\" or \"needs …\" before\n%s", b.Page, b.Line, b.Mark, b.Commands)
		}
	}
	t.Logf("%v", count)
}

// TestWhatNeedsAnAccountIsListed: a reader finds in one place what was not run, and why.
func TestWhatNeedsAnAccountIsListed(t *testing.T) {
	blocks, err := docblocks.All("..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("asm.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(page), "## What was not run")
	if !found {
		t.Fatal("asm.md has no list")
	}
	for _, b := range blocks {
		if need, ok := strings.CutPrefix(b.Mark, "needs "); ok && !strings.Contains(list, need) {
			t.Errorf("%s:%d needs %s, which the list in asm.md does not name", b.Page, b.Line, need)
		}
	}
}

// tests are the names of the project's tests, and of the steps of CI.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{".ci/run": true}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range function.FindAllSubmatch(data, -1) {
			known[string(m[1])] = true
		}
		return nil
	})
	if err != nil || len(known) < 100 {
		t.Fatalf("%d tests: %v", len(known), err)
	}
	return known
}
