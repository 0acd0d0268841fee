// Package docs tests what the project's texts promise.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// texts are all Markdown files of the project.
func texts(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." || entry.Name() == "node_modules" || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[path] = string(data)
		}
		return nil
	})
	if err != nil || len(found) < 10 {
		t.Fatalf("%d texts: %v", len(found), err)
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	for path, text := range texts(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), target)); err != nil {
				t.Errorf("%s links to %s, which is not there", path, target)
			}
		}
	}
}

func TestTextsNameFilesAndTargetsThatExist(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	target := regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z-]*)")
	file := regexp.MustCompile(`(?:^|[\s` + "`" + `(])((?:docs|deploy|cmd|services|internal|propagation)/[A-Za-z0-9_./-]*[A-Za-z0-9])`)
	placeholder := regexp.MustCompile(`[A-Z]{4}`)                           // such as FILE or WORKLOAD
	deployment := regexp.MustCompile(`^deploy/[a-z]+-(v\d|ingressgateway)`) // kubectl's short name of a Deployment
	for path, text := range texts(t) {
		for _, m := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s says make %s, which the Makefile has not", path, m[1])
			}
		}
		for _, m := range file.FindAllStringSubmatch(text, -1) {
			name := m[1]
			if strings.Contains(name, "...") || placeholder.MatchString(name) || deployment.MatchString(name) {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", name)); err == nil {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), name)); err != nil {
				t.Errorf("%s names %s, which is not there", path, name)
			}
		}
	}
}
