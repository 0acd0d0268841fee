package watch_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/internal/mesh/watch"
)

const rule = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: NAME
spec:
  host: reviews
`

func save(t *testing.T, folder, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(m *mesh.Mesh) string {
	var names []string
	for _, r := range m.Snapshot().Resources {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestFolder(t *testing.T) {
	folder := t.TempDir()
	m := mesh.New(mesh.Bookinfo())
	var lines []string
	f := watch.New(m, folder, "default", func(line string) { lines = append(lines, line) })
	look := func(want string) {
		t.Helper()
		if err := f.Look(); err != nil {
			t.Fatal(err)
		}
		if got := names(m); got != want {
			t.Fatalf("the mesh has %q, want %q; reported:\n%s", got, want, strings.Join(lines, "\n"))
		}
	}
	look("")
	save(t, folder, "a.yaml", strings.ReplaceAll(rule, "NAME", "one")+"---\n"+strings.ReplaceAll(rule, "NAME", "two"))
	save(t, folder, "notes.txt", "not a resource")
	look("one two")
	version := m.Snapshot().Version
	look("one two")
	if m.Snapshot().Version != version {
		t.Error("nothing was changed, and yet there is a new version")
	}

	save(t, folder, "a.yaml", strings.ReplaceAll(rule, "NAME", "two"))
	look("two")
	save(t, folder, "a.yaml", strings.ReplaceAll(rule, "NAME", "three")+"  hots: x\n")
	look("two")
	if last := lines[len(lines)-1]; !strings.Contains(last, `a.yaml:7) spec.hots: unknown field "hots"`) {
		t.Errorf("reported %q", last)
	}
	save(t, folder, "b.yaml", strings.ReplaceAll(rule, "NAME", "two"))
	look("two")
	if err := os.Remove(filepath.Join(folder, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	look("two")
	if err := os.Remove(filepath.Join(folder, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	look("")
}

// A file that refers to what another will define is taken up as soon as that one is there.
func TestRefusedFileIsTriedAgain(t *testing.T) {
	folder := t.TempDir()
	m := mesh.New(mesh.Bookinfo())
	f := watch.New(m, folder, "default", func(string) {})
	save(t, folder, "a.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: vs}\nspec:\n  hosts: [reviews]\n  http:\n  - route:\n    - destination: {host: reviews, subset: v1}\n")
	if err := f.Look(); err != nil || names(m) != "" {
		t.Fatalf("%v: %s", err, names(m))
	}
	save(t, folder, "b.yaml", strings.ReplaceAll(rule, "NAME", "dr")+"  subsets:\n  - name: v1\n    labels: {version: v1}\n")
	if err := f.Look(); err != nil || names(m) != "dr vs" {
		t.Fatalf("%v: %s", err, names(m))
	}
}

func TestRun(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := mesh.New(mesh.Bookinfo())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- watch.New(m, folder, "default", func(string) {}).Run(ctx, watch.Interval) }()
		synctest.Wait()
		save(t, folder, "a.yaml", strings.ReplaceAll(rule, "NAME", "one"))
		time.Sleep(watch.Interval + time.Millisecond)
		synctest.Wait()
		if got := names(m); got != "one" {
			t.Errorf("the mesh has %q", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := watch.New(mesh.New(mesh.Bookinfo()), folder+"/absent", "default", func(string) {}).Run(t.Context(), watch.Interval); err == nil {
		t.Error("an absent folder is watched")
	}
}
