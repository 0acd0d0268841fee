package docker_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/deploy/docker/image"
	"example.com/bookinfo/deploy/docker/imagetest"
)

// shipped are the images from scratch with the binary that each holds.
func shipped() map[string]string {
	images := map[string]string{"bookinfo": "bookinfo", "bookinfo-console": "console", "bookinfo-sidecar": "sidecar"}
	for binary, versions := range map[string][]string{
		"productpage": {"v1", "v-flooding"}, "details": {"v1", "v2"}, "reviews": {"v1", "v2", "v3"},
		"ratings": {"v1", "v2", "v-faulty", "v-delayed", "v-unavailable", "v-unhealthy"},
	} {
		for _, v := range versions {
			images["examples-bookinfo-"+binary+"-"+v] = binary
		}
	}
	return images
}

// An image holds the files that it needs and no other: no shell, nothing that raises privileges, nothing that the user
// of the container could change.
func TestScan(t *testing.T) {
	tag := images(t)
	for _, name := range slices.Sorted(maps.Keys(shipped())) {
		t.Run(name, func(t *testing.T) {
			binary := shipped()[name]
			img, err := image.Read(t.Context(), registry+"/"+name+":"+tag, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{binary, "etc", "etc/ssl", "etc/ssl/certs", "etc/ssl/certs/ca-certificates.crt"}
			if binary == "console" {
				want = append(want, "zoneinfo.zip")
			}
			slices.Sort(want)
			if got := slices.Sorted(maps.Keys(img.Files)); !slices.Equal(got, want) {
				t.Errorf("it holds %q, want %q", got, want)
			}
			locked(t, img)
			if c := img.Config; c.User != "1000:1000" || !slices.Equal(c.Entrypoint, []string{"/" + binary}) {
				t.Errorf("it runs %q as %q", c.Entrypoint, c.User)
			}
			if test := img.Config.Healthcheck.Test; len(test) > 0 && test[0] != "CMD" {
				t.Errorf("its health check %q needs a shell", test)
			}
			if l := img.Config.Labels; l["org.opencontainers.image.version"] == "" || l["org.opencontainers.image.licenses"] != "Apache-2.0" {
				t.Errorf("labels %v", l)
			}
		})
	}
}

// What is pulled is small: a service at most 7 MB, the command and the console 15.
func TestSizes(t *testing.T) {
	tag := images(t)
	for name, limit := range map[string]int64{
		"examples-bookinfo-productpage-v1": 7, "examples-bookinfo-details-v1": 7, "examples-bookinfo-reviews-v3": 7,
		"examples-bookinfo-ratings-v1": 7, "bookinfo-sidecar": 7, "bookinfo": 15, "bookinfo-console": 15,
	} {
		img, err := image.Read(t.Context(), registry+"/"+name+":"+tag, nil)
		if err != nil {
			t.Fatal(err)
		}
		size, err := img.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if size > limit*1_000_000 {
			t.Errorf("%s: %.2f MB compressed, want at most %d", name, float64(size)/1e6, limit)
		}
	}
}

// locked tells whether nothing in the image can be written by its user, or raises privileges.
func locked(t *testing.T, img *image.Image) {
	t.Helper()
	for name, f := range img.Files {
		if f.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s is %v", name, f.Mode)
		}
		if f.Mode&fs.ModeSymlink == 0 && f.Mode.Perm()&0o022 != 0 && f.Mode&fs.ModeSticky == 0 || f.UID == 1000 || f.GID == 1000 {
			t.Errorf("%s is %v of %d:%d, which others than root may write", name, f.Mode, f.UID, f.GID)
		}
	}
}

// The images that tutorials exec into have curl and bash, and still nothing that their user could write.
func TestToolsImages(t *testing.T) {
	tag := images(t) + "-tools"
	for _, name := range []string{"reviews-v1", "ratings-v1"} {
		run := func(args ...string) string {
			t.Helper()
			return docker(t.Context(), t, append([]string{"run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none", "--entrypoint"}, args...)...)
		}
		if out := run("curl", service(tag, name), "--version"); !strings.HasPrefix(out, "curl ") {
			t.Errorf("%s: curl says %q", name, out)
		}
		if out := run("bash", service(tag, name), "-c", "for i in {1..3}; do printf $i; sleep 0; done; id -u"); out != "1231000" {
			t.Errorf("%s: bash says %q", name, out)
		}
	}
}

// The chaos tutorial ends details by `pkill ruby`: a process of that name serves, as the first of its container.
func TestPkillRuby(t *testing.T) {
	tag := images(t) + "-tools"
	id := strings.TrimSpace(docker(t.Context(), t, "run", "-d", "--read-only", "--cap-drop", "ALL", service(tag, "details-v1")))
	t.Cleanup(func() { docker(context.WithoutCancel(t.Context()), t, "rm", "-f", id) })
	for tries := 0; ; tries++ {
		if exec.CommandContext(t.Context(), "docker", "exec", id, "curl", "-sf", "localhost:9080/details/0").Run() == nil {
			break
		}
		if tries == 50 {
			t.Fatal("details does not answer")
		}
		time.Sleep(100 * time.Millisecond)
	}
	docker(t.Context(), t, "exec", id, "pkill", "ruby")
	if code := strings.TrimSpace(docker(t.Context(), t, "wait", id)); code != "0" {
		t.Errorf("it ended with %s", code)
	}
}

// version and revision are in every binary.
func TestVersions(t *testing.T) {
	tag := images(t)
	if os.Getenv(imagetest.TagSetting) != "" {
		t.Skip("the images under test were not built by this test: " + imagetest.TagSetting)
	}
	for name, binary := range map[string]string{
		"examples-bookinfo-productpage-v1": "productpage", "examples-bookinfo-details-v1": "details",
		"examples-bookinfo-reviews-v3": "reviews", "examples-bookinfo-ratings-v1": "ratings",
		"bookinfo": "bookinfo", "bookinfo-console": "console", "bookinfo-sidecar": "sidecar",
	} {
		out := docker(t.Context(), t, "run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none", registry+"/"+name+":"+tag, "--version")
		if want := fmt.Sprintf("%s %s (%s) go", binary, version, revision); !strings.HasPrefix(out, want) {
			t.Errorf("%s --version: %q, want %q…", name, out, want)
		}
	}
}

// Two builds of one commit give the same binaries: one in Docker, one here in another folder with another cache of
// modules and other paths.
func TestReproducible(t *testing.T) {
	tag := images(t)
	if os.Getenv(imagetest.TagSetting) != "" {
		t.Skip("the images under test were not built by this test: " + imagetest.TagSetting)
	}
	if inside := docker(t.Context(), t, "run", "--rm", "golang:1.26", "go", "env", "GOVERSION"); inside != runtime.Version() {
		t.Skipf("the image has %s, this machine %s", inside, runtime.Version())
	}
	folder := t.TempDir()
	build := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(buildCommand(t), "/out/", folder+"/"))
	build.Dir = root(t)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "VERSION="+version, "REVISION="+revision)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, binary := range map[string]string{
		"examples-bookinfo-productpage-v1": "productpage", "examples-bookinfo-details-v1": "details",
		"examples-bookinfo-reviews-v3": "reviews", "examples-bookinfo-ratings-v1": "ratings",
		"bookinfo": "bookinfo", "bookinfo-console": "console", "bookinfo-sidecar": "sidecar",
	} {
		img, err := image.Read(t.Context(), registry+"/"+name+":"+tag, func(path string) bool { return path == binary })
		if err != nil {
			t.Fatal(err)
		}
		here, err := os.ReadFile(filepath.Join(folder, binary))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(img.Files[binary].Data, here) {
			t.Errorf("%s: %x in the image, %x here", binary, sha256.Sum256(img.Files[binary].Data), sha256.Sum256(here))
		}
	}
}

// buildCommand is the go build of the Dockerfile, in one line.
func buildCommand(t *testing.T) string {
	t.Helper()
	file, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, command, found := strings.Cut(string(file), "go build ")
	command, _, ends := strings.Cut(command, "./cmd/...")
	if !found || !ends {
		t.Fatal("the Dockerfile has no go build of ./cmd/...")
	}
	return "go build " + strings.ReplaceAll(command, "\\\n", " ") + "./cmd/..."
}
