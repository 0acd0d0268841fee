// Package combine renders the kustomizations of deploy/kubernetes, those that have a folder under overlays and any other
// that somebody may put together from the components.
package combine

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Render gives the objects of a kustomization as one YAML stream, in the order of its files, as kubectl does.
func Render(files filesys.FileSystem, folder string) ([]byte, error) {
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, folder)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	return objects.AsYaml()
}

// Axis is one thing that a user decides. An option is the components that it takes; the first takes none.
type Axis struct {
	Name    string
	Options [][]string
}

// Axes are in the order in which components must be listed: a component changes what stands before it, so those that
// bring objects come first.
func Axes() []Axis {
	either := func(names ...string) [][]string {
		options := [][]string{nil}
		for _, name := range names {
			options = append(options, strings.Split(name, " "))
		}
		return options
	}
	return []Axis{
		{"ingress", either("ingress-istio", "ingress-gateway-api")},
		{"ambient", either("ambient")},
		{"database", either("mysql", "mongodb")},
		{"faults", either("faults")},
		{"console", either("console")},
		{"load", either("load")},
		{"check", either("check")},
		{"ServiceMonitor", either("service-monitor")},
		{"images", either("tools")},
		{"format", either("b3", "w3c")},
		{"sdk", either("sdk")},
		{"families", either("dual-stack")},
		{"security", either("psa", "hardened")},
		{"availability", either("available")},
	}
}

// Combination is the components of a kustomization over the base.
type Combination []string

// Name is the combination's, such as "mysql+b3+hardened"; "base" without components.
func (c Combination) Name() string {
	if len(c) == 0 {
		return "base"
	}
	return strings.Join(c, "+")
}

// Combinations covers the axes: every three options of three axes stand together in one at least, so that components
// which hinder each other meet. All of them would be 82,944.
func Combinations() []Combination {
	axes := Axes()
	type option struct{ axis, option int }
	type triple [3]option
	missing := map[triple]bool{}
	each := func(choice []int, do func(triple)) {
		for a := range choice {
			for b := a + 1; b < len(choice); b++ {
				for c := b + 1; c < len(choice); c++ {
					do(triple{{a, choice[a]}, {b, choice[b]}, {c, choice[c]}})
				}
			}
		}
	}
	for a := range axes {
		for b := a + 1; b < len(axes); b++ {
			for c := b + 1; c < len(axes); c++ {
				for x := range axes[a].Options {
					for y := range axes[b].Options {
						for z := range axes[c].Options {
							missing[triple{{a, x}, {b, y}, {c, z}}] = true
						}
					}
				}
			}
		}
	}
	dice := rand.New(rand.NewPCG(1, 2)) // the same list each time
	var all []Combination
	for len(missing) > 0 {
		// Of some that are drawn, the one that covers most of what is missing.
		var best []int
		most := 0
		for range 60 {
			choice := make([]int, len(axes))
			for i, axis := range axes {
				choice[i] = dice.IntN(len(axis.Options))
			}
			covers := 0
			each(choice, func(t triple) {
				if missing[t] {
					covers++
				}
			})
			if covers > most {
				most, best = covers, choice
			}
		}
		if best == nil {
			continue
		}
		each(best, func(t triple) { delete(missing, t) })
		var c Combination
		for i, o := range best {
			c = append(c, axes[i].Options[o]...)
		}
		all = append(all, c)
	}
	return all
}

// Tree reads the folder deploy into memory, so that combinations can be written beside its files.
func Tree(deploy string) (filesys.FileSystem, error) {
	tree := filesys.MakeFsInMemory()
	for _, folder := range []string{"kubernetes", "istio", "gateway-api"} {
		err := filepath.WalkDir(filepath.Join(deploy, folder), func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			name, err := filepath.Rel(deploy, file)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return tree.WriteFile(path.Join("/deploy", filepath.ToSlash(name)), data)
		})
		if err != nil {
			return nil, err
		}
	}
	return tree, nil
}

// Render gives the objects of the combination.
func (c Combination) Render(tree filesys.FileSystem) ([]byte, error) {
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- ../../base\n"
	if len(c) > 0 {
		text += "components:\n"
	}
	for _, name := range c {
		text += "- ../../components/" + name + "\n"
	}
	const folder = "/deploy/kubernetes/overlays/combination"
	if err := tree.WriteFile(folder+"/kustomization.yaml", []byte(text)); err != nil {
		return nil, err
	}
	return Render(tree, folder)
}
