// Command render writes deploy/kubernetes/platform, the files that Istio's tutorials name, from the kustomize
// sources beside it, and puts a registry and a tag of the user's into every image of ours.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"

	"example.com/bookinfo/deploy/kubernetes/combine"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(2)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("render", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", "deploy/kubernetes", "folder with base, components and overlays")
	registry := flags.String("registry", "", "registry and path of the images, such as registry.example.com/team; empty keeps what the files say")
	tag := flags.String("tag", "", "tag of the images; empty keeps what the files say")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := checkImage(*registry, *tag); err != nil {
		return err
	}
	if *registry != "" || *tag != "" {
		if err := rename(*root, *registry, *tag); err != nil {
			return err
		}
	}
	files, err := platform(*root)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(*root, "platform", name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func checkImage(registry, tag string) error {
	if !regexp.MustCompile(`^$|^[a-z0-9][a-z0-9.:/_-]*[a-z0-9]$`).MatchString(registry) {
		return fmt.Errorf("-registry %q: want a host and path in lower case, such as registry.example.com/team", registry)
	}
	if !regexp.MustCompile(`^$|^[A-Za-z0-9_][A-Za-z0-9_.-]{0,121}$`).MatchString(tag) {
		return fmt.Errorf("-tag %q: want letters, digits, dots, dashes and underscores, at most 122", tag)
	}
	return nil
}

// platform renders overlays/platform/NAME to the content of platform/NAME.yaml.
func platform(root string) (map[string][]byte, error) {
	sources, err := os.ReadDir(filepath.Join(root, "overlays", "platform"))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, source := range sources {
		folder := filepath.Join(root, "overlays", "platform", source.Name())
		rendered, err := combine.Render(filesys.MakeFsOnDisk(), folder)
		if err != nil {
			return nil, err
		}
		comment, err := firstComment(filepath.Join(folder, "kustomization.yaml"))
		if err != nil {
			return nil, err
		}
		head := comment + "# Rendered from overlays/platform/" + source.Name() + " by `make manifests`.\n"
		files[source.Name()+".yaml"] = append([]byte(head), rendered...)
	}
	return files, nil
}

func firstComment(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return line + "\n", nil
}

// ourImage matches an image of ours where manifests and image transformers name it, without the tag.
const ourImage = `(image|name): [a-z0-9.:/_-]+/(examples-bookinfo-[a-z0-9-]+|bookinfo-console|bookinfo-sidecar|bookinfo)`

// rename gives every image of ours under root the registry and tag, where those are not empty.
func rename(root, registry, tag string) error {
	withTag := regexp.MustCompile(ourImage + `(:[A-Za-z0-9_.-]+)?(\n|$)`)
	newTag := regexp.MustCompile(`newTag: [A-Za-z0-9_.-]+?(-tools)?\n`)
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Name() == "platform" && filepath.Dir(path) == filepath.Clean(root) {
			return fs.SkipDir // rendered
		}
		if filepath.Ext(path) != ".yaml" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		changed := withTag.ReplaceAllStringFunc(string(data), func(line string) string {
			parts := withTag.FindStringSubmatch(line)
			key, image, oldTag, end := parts[1], parts[2], parts[3], parts[4]
			prefix := strings.TrimSuffix(strings.TrimPrefix(line, key+": "), "/"+image+oldTag+end)
			if registry != "" {
				prefix = registry
			}
			if tag != "" && oldTag != "" {
				oldTag = ":" + tag
			}
			return key + ": " + prefix + "/" + image + oldTag + end
		})
		if tag != "" {
			changed = newTag.ReplaceAllString(changed, "newTag: "+tag+"$1\n")
		}
		if bytes.Equal(data, []byte(changed)) {
			return nil
		}
		return os.WriteFile(path, []byte(changed), 0o644)
	})
}
