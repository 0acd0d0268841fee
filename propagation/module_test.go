package propagation

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImportRaisesNothing imports the package into a module of an old Go version: its go.mod must stay as it is but for
// the requirement itself.
func TestImportRaisesNothing(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mod := "module importer.example\n\ngo 1.21\n\nrequire example.com/bookinfo/propagation v0.0.0\n\n" +
		"replace example.com/bookinfo/propagation => " + here + "\n"
	write(t, filepath.Join(dir, "go.mod"), mod)
	write(t, filepath.Join(dir, "main.go"), "package main\n\nimport \"example.com/bookinfo/propagation\"\n\nfunc main() { println(propagation.All().String()) }\n")

	run(t, dir, "go", "mod", "tidy")
	if got, err := os.ReadFile(filepath.Join(dir, "go.mod")); err != nil || string(got) != mod {
		t.Errorf("go.mod became (%v)\n%s\nwant\n%s", err, got, mod)
	}
	want := "importer.example\nexample.com/bookinfo/propagation v0.0.0 => " + here + "\n"
	if got := run(t, dir, "go", "list", "-m", "all"); got != want {
		t.Errorf("go list -m all:\n%s\nwant\n%s", got, want)
	}
	for _, dep := range strings.Fields(run(t, dir, "go", "list", "-deps", ".")) {
		if first, _, _ := strings.Cut(dep, "/"); strings.Contains(first, ".") && dep != "importer.example" && dep != "example.com/bookinfo/propagation" {
			t.Errorf("imports %s, want the standard library only", dep)
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a program without a network for modules and returns what it prints.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=mod", "GOWORK=off", "GOTOOLCHAIN=local")
	out, err := cmd.Output()
	if err != nil {
		stderr := ""
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			stderr = string(exit.Stderr)
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr)
	}
	return string(out)
}
