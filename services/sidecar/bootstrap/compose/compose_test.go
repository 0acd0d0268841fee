package compose_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	istiofiles "example.com/bookinfo/deploy/istio"
	"example.com/bookinfo/internal/mesh"
	"example.com/bookinfo/internal/need"
	"example.com/bookinfo/services/sidecar/bootstrap/compose"
)

const committed = "../../../../deploy/envoy"

// What is committed is what the generator writes today: no file differs, none is missing, none is left over.
func TestCommitted(t *testing.T) {
	files, err := compose.Files(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(committed, filepath.FromSlash(name)))
		if err != nil {
			t.Errorf("%v: run `make envoy-config` and commit what it writes", err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("deploy/envoy/%s is out of date: run `make envoy-config` and commit what it writes", name)
		}
	}
	err = fs.WalkDir(os.DirFS(committed), ".", func(name string, entry fs.DirEntry, err error) error {
		if _, written := files[name]; err == nil && !entry.IsDir() && !written {
			t.Errorf("deploy/envoy/%s is written by nobody any more", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A real Envoy takes every file: the one that Compose runs, and the next one where it is installed.
func TestEnvoyAccepts(t *testing.T) {
	programs := map[string]string{"envoy": need.Tool(t, "envoy")}
	for _, name := range []string{"envoy-1364", "envoy-140"} {
		if path, err := exec.LookPath(name); err == nil {
			programs[name] = path
		}
	}
	paths, err := filepath.Glob(filepath.Join(committed, "*", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, path := range paths {
		if filepath.Base(path) == "sidecar.yaml" {
			continue
		}
		checked++
		for name, program := range programs {
			if out, err := exec.CommandContext(t.Context(), program, "--mode", "validate", "-l", "error", "-c", path).CombinedOutput(); err != nil {
				t.Errorf("%s, %s: %v\n%s", path, name, err, out)
			}
		}
	}
	if checked != 3*9 {
		t.Errorf("%d configurations were validated, want one for each of 9 workloads and 3 formats", checked)
	}
}

// A rule reaches the Envoys that it is about, and a wrong one nobody.
func TestRules(t *testing.T) {
	read := func(name string) mesh.File {
		t.Helper()
		data, err := istiofiles.Files().ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return mesh.File{Name: name, Data: data}
	}
	files, err := compose.Files([]mesh.File{read("destination-rule-all.yaml"), read("virtual-service-reviews-v3.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "cluster: outbound|9080|v3|reviews.default.svc.cluster.local"; !strings.Contains(string(files["b3/productpage-v1.yaml"]), want) {
		t.Errorf("productpage's Envoy has no route with %q", want)
	}
	if _, err := compose.Files([]mesh.File{read("virtual-service-reviews-v3.yaml")}); err == nil || !strings.Contains(err.Error(), "virtual-service-reviews-v3.yaml") {
		t.Errorf("a subset that nobody defines: %v, want an error that names the file", err)
	}
}
