// Package imagetest builds the images that tests of this folder look at and run.
package imagetest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.com/bookinfo/internal/need"
)

// TagSetting names the variable with the tag of images that are there already, to be tested instead of new ones.
const TagSetting = "BOOKINFO_TEST_IMAGES"

const (
	// Registry is the one that images of this project have where none is set.
	Registry = "example.com/bookinfo"
	// Version and Revision are what images that Build makes say they are built from.
	Version  = "test"
	Revision = "0123456789abcdef0123456789abcdef01234567"
)

// Build builds the images of the test's bake targets and returns their tag, or that of [TagSetting].
func Build(t testing.TB, targets ...string) (tag string) {
	t.Helper()
	need.Tool(t, "docker")
	if tag := os.Getenv(TagSetting); tag != "" {
		return tag
	}
	tag = "test"
	bake := exec.CommandContext(t.Context(), "docker", append([]string{"buildx", "bake", "--load"}, targets...)...)
	bake.Dir = Root(t)
	bake.Env = append(os.Environ(), "REGISTRY="+Registry, "TAG="+tag, "VERSION="+Version, "REVISION="+Revision)
	if out, err := bake.CombinedOutput(); err != nil {
		t.Fatalf("docker buildx bake: %v\n%s", err, out)
	}
	return tag
}

// Root is the folder of the repository: the one above deploy.
func Root(t testing.TB) string {
	t.Helper()
	folder, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for filepath.Base(folder) != "deploy" {
		if folder == filepath.Dir(folder) {
			t.Fatal("the test does not run below deploy")
		}
		folder = filepath.Dir(folder)
	}
	return filepath.Dir(folder)
}

// Docker runs the client and returns what it printed.
func Docker(ctx context.Context, t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
