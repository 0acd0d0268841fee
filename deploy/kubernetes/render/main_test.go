package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"example.com/bookinfo/deploy/kubernetes/combine"
)

const root = ".."

func TestPlatformFilesDoNotDrift(t *testing.T) {
	files, err := platform(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, "platform", name))
		if err != nil {
			t.Errorf("%v: run `make manifests`", err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("platform/%s drifted from its source (-rendered +file), run `make manifests`:\n%s", name, diff)
		}
	}
	entries, err := filepath.Glob(filepath.Join(root, "platform", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(files) {
		t.Errorf("platform holds %d files, its sources render %d", len(entries), len(files))
	}
}

// object is what `kubectl apply` prints of an object.
type object struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		Template struct {
			Spec struct {
				Containers []struct{ Image string }
			}
		}
	}
}

func objects(t *testing.T, manifest []byte) []object {
	t.Helper()
	var all []object
	for _, doc := range strings.Split(string(manifest), "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		all = append(all, o)
	}
	return all
}

// TestContract62_ApplyPrintsTheDocumentedOrder: documentation tests compare kubectl's output line by line.
func TestContract62_ApplyPrintsTheDocumentedOrder(t *testing.T) {
	want := []string{
		"service/details", "serviceaccount/bookinfo-details", "deployment/details-v1",
		"service/ratings", "serviceaccount/bookinfo-ratings", "deployment/ratings-v1",
		"service/reviews", "serviceaccount/bookinfo-reviews", "deployment/reviews-v1", "deployment/reviews-v2", "deployment/reviews-v3",
		"service/productpage", "serviceaccount/bookinfo-productpage", "deployment/productpage-v1",
	}
	for _, name := range []string{"bookinfo.yaml", "bookinfo-psa.yaml", "bookinfo-dualstack.yaml"} {
		data, err := os.ReadFile(filepath.Join(root, "platform", name))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range objects(t, data) {
			got = append(got, strings.ToLower(o.Kind)+"/"+o.Metadata.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestEveryOverlayRenders(t *testing.T) {
	overlays, err := filepath.Glob(filepath.Join(root, "overlays", "*", "kustomization.yaml"))
	if err != nil || len(overlays) == 0 {
		t.Fatalf("no overlays: %v", err)
	}
	for _, overlay := range overlays {
		folder := filepath.Dir(overlay)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			rendered, err := combine.Render(filesys.MakeFsOnDisk(), folder)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects(t, rendered) {
				for _, c := range o.Spec.Template.Spec.Containers {
					if !regexp.MustCompile(`^[a-z0-9.-]+/[a-z0-9./-]+:[a-z0-9.-]+$`).MatchString(c.Image) || strings.HasSuffix(c.Image, ":latest") {
						t.Errorf("%s %s: image %q has no registry or no fixed tag", o.Kind, o.Metadata.Name, c.Image)
					}
				}
			}
		})
	}
}

func TestRegistryAndTag(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	// The ingress overlays read Istio's files beside this folder; they hold no image.
	for _, overlay := range []string{"istio", "gateway-api", "ambient"} {
		if err := os.RemoveAll(filepath.Join(dir, "overlays", overlay)); err != nil {
			t.Fatal(err)
		}
	}
	if err := run([]string{"-root", dir, "-registry", "registry.example.org:5000/team", "-tag", "1.2.3"}, t.Output()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "platform", "bookinfo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"image: registry.example.org:5000/team/examples-bookinfo-details-v1:1.2.3-tools\n",
		"image: registry.example.org:5000/team/examples-bookinfo-ratings-v1:1.2.3-tools\n",
		"image: registry.example.org:5000/team/examples-bookinfo-productpage-v1:1.2.3\n",
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("bookinfo.yaml lacks %q", want)
		}
	}
	console, err := combine.Render(filesys.MakeFsOnDisk(), filepath.Join(dir, "overlays", "console"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "image: registry.example.org:5000/team/bookinfo-console:1.2.3\n"; !strings.Contains(string(console), want) {
		t.Errorf("console lacks %q", want)
	}
	for _, wrong := range [][]string{{"-registry", "Registry/UPPER"}, {"-tag", "a b"}, {"-tag", "a/b"}} {
		if err := run(append(wrong, "-root", dir), t.Output()); err == nil {
			t.Errorf("%v was accepted", wrong)
		}
	}
}
