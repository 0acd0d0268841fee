// Package docker_test builds the images of this folder's Dockerfile and looks at what they hold and do, each alone,
// together, and behind real Envoys by docker-compose.yaml.
package docker_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.com/bookinfo/internal/need"
)

// ImagesSetting names a tag: images that are there already are tested, instead of being built.
const ImagesSetting = "BOOKINFO_TEST_IMAGES"

const (
	registry = "example.com/bookinfo"
	// version and revision are what the images under test say that they are built from.
	version  = "test"
	revision = "0123456789abcdef0123456789abcdef01234567"
)

var built struct {
	sync.Once
	tag string
	err error
	out []byte
}

// images builds every image once for all tests, with one bake, and returns their tag.
func images(t *testing.T) string {
	t.Helper()
	need.Tool(t, "docker")
	built.Do(func() {
		if built.tag = os.Getenv(ImagesSetting); built.tag != "" {
			return
		}
		built.tag = "test"
		bake := exec.Command("docker", "buildx", "bake", "--load", "service", "bookinfo", "details-v1-tools", "reviews-v1-tools", "ratings-v1-tools")
		bake.Dir = root(t)
		bake.Env = append(os.Environ(), "REGISTRY="+registry, "TAG="+built.tag, "VERSION="+version, "REVISION="+revision)
		built.out, built.err = bake.CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("docker buildx bake: %v\n%s", built.err, built.out)
	}
	return built.tag
}

func service(tag, name string) string { return registry + "/examples-bookinfo-" + name + ":" + tag }

func root(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// docker runs the client and returns what it printed.
func docker(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
