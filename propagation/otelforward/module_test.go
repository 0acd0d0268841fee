package otelforward_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImportRaisesNothing lists the modules of one that uses a newer OpenTelemetry, without and with a requirement of this one:
// no version may change.
func TestImportRaisesNothing(t *testing.T) {
	dir := t.TempDir()
	list := func(require string) (string, error) {
		core, err := filepath.Abs("..")
		if err != nil {
			t.Fatal(err)
		}
		mod := "module importer.example\n\ngo 1.26\n\nrequire go.opentelemetry.io/otel v1.47.0\n" + require + "\n" +
			"replace example.com/bookinfo/propagation => " + core + "\n" +
			"replace example.com/bookinfo/propagation/otelforward => " + filepath.Join(core, "otelforward") + "\n"
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", "list", "-mod=mod", "-m", "-f", "{{if not .Replace}}{{.Path}} {{.Version}}{{end}}", "all")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, err := cmd.Output()
		return string(out), err
	}
	before, err := list("")
	if err != nil {
		t.Skipf("needs the modules of OpenTelemetry 1.47: %v", err)
	}
	after, err := list("require example.com/bookinfo/propagation/otelforward v0.0.0\n")
	if err != nil {
		t.Fatal(err)
	}
	selected := func(list string) map[string]string {
		versions := map[string]string{}
		for _, line := range strings.Split(list, "\n") {
			path, version, _ := strings.Cut(line, " ")
			versions[path] = version
		}
		return versions
	}
	with := selected(after)
	for path, version := range selected(before) {
		if with[path] != version {
			t.Errorf("%s is %s without this module and %s with it", path, version, with[path])
		}
	}
}
