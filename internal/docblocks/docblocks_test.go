package docblocks

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	blocks, unfenced := read("text\n<!-- demo -->\n```sh\nbookinfo trace ls\ncurl x\n```\n\n```sh\nmake\n```\n```\nA=b make test\n```\n```\nan answer\n```\n```json\n{}\n```\n```text\npod-…  2/2\n```\n")
	want := []Block{{Line: 3, Mark: "demo", Commands: "bookinfo trace ls\ncurl x\n"}, {Line: 8, Commands: "make\n", Shows: []string{"pod-…  2/2"}}}
	if diff := cmp.Diff(want, blocks); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{11}, unfenced); diff != "" {
		t.Error(diff)
	}
}

func TestMissing(t *testing.T) {
	b := Block{Shows: []string{"pod-…  2/2  Running", "(done)"}}
	if missing := b.Missing("NAME\npod-v1-abc \t2/2    Running   0\n(done)\n"); missing != nil {
		t.Errorf("missing %q", missing)
	}
	if missing := b.Missing("pod-v1-abc 1/2 Running\n2/2 Running (done)"); len(missing) != 1 {
		t.Errorf("missing %q, want the first", missing)
	}
}
