package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/internal/docblocks"
	"example.com/bookinfo/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m, main) }

// TestDocumentedCommands types what the pages say beside a demo: each page's blocks in their order, each line by line
// as a reader does, with the addresses of this demo in place of the usual ones. A line that starts the demo starts it
// anew with its switches.
func TestDocumentedCommands(t *testing.T) {
	blocks, err := docblocks.All("../..")
	if err != nil {
		t.Fatal(err)
	}
	start := regexp.MustCompile(`^(?:go run \./cmd/bookinfo|bookinfo) demo\b([^#|]*)`)
	pages := map[string][]docblocks.Block{}
	var order []string
	for _, b := range blocks {
		if b.Mark != "demo" {
			continue
		}
		if pages[b.Page] == nil {
			order = append(order, b.Page)
		}
		pages[b.Page] = append(pages[b.Page], b)
	}
	if len(order) < 8 {
		t.Errorf("only %d pages have such blocks", len(order))
	}
	for _, page := range order {
		t.Run(page, func(t *testing.T) {
			var d *runningDemo
			shell := shellFor(t)
			for _, b := range pages[page] {
				for _, line := range joined(b.Commands) {
					if m := start.FindStringSubmatch(line); m != nil {
						if d != nil {
							d.stop()
						}
						d = startDemo(t, strings.Fields(m[1])...)
						continue
					}
					if d == nil {
						d = startDemo(t)
					}
					// A trace that was made a moment ago may not have arrived: a reader asks again.
					out, err := shell(d, line)
					for tries := 0; err != nil && tries < 20; tries++ {
						time.Sleep(250 * time.Millisecond)
						out, err = shell(d, line)
					}
					if err != nil {
						t.Errorf("%s:%d: %s: %v\n%s", page, b.Line, line, err, out)
					}
				}
			}
		})
	}
}

// joined are the commands of a block, those that go on behind a backslash as one.
func joined(commands string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(commands, "\\\n", " "), "\n") {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// shellFor returns what runs a line at the root of the repository in a shell that knows the command bookinfo, which is
// this test's own binary. An HTTP error fails a line, as a reader would see it.
func shellFor(t *testing.T) func(d *runningDemo, line string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, script string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("bookinfo", fmt.Sprintf("%s exec %s \"$@\"\n", servertest.AsMain(), self))
	if curl, err := exec.LookPath("curl"); err == nil {
		write("curl", fmt.Sprintf("exec %s --fail-with-body --max-time 30 \"$@\"\n", curl))
	}
	return func(d *runningDemo, line string) (string, error) {
		host := func(address string) string {
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			return u.Host
		}
		gateway, console := host(d.Gateway), host(d.Console)
		line = strings.NewReplacer("localhost:9411", console, "127.0.0.1:9411", console, "localhost:8080", gateway, "127.0.0.1:8080", gateway,
			"go run ./cmd/bookinfo ", "bookinfo ").Replace(line)
		cmd := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", line)
		cmd.Dir = dir // where a line that writes a file writes it
		if err := os.Symlink(mustAbs(t, "../../deploy"), filepath.Join(dir, "deploy")); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		runtime, _ := d.lookup("XDG_RUNTIME_DIR")
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "XDG_RUNTIME_DIR="+runtime, "NO_COLOR=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// TestLoadOfTheManifests runs what the load component's containers run, for a second each.
func TestLoadOfTheManifests(t *testing.T) {
	data, err := os.ReadFile("../../deploy/kubernetes/components/load/load.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := startDemo(t)
	args := regexp.MustCompile(`args: \["(load".*)"\]`).FindAllStringSubmatch(string(data), -1)
	if len(args) != 2 {
		t.Fatalf("%d containers, want the Deployment's and the Job's", len(args))
	}
	for _, m := range args {
		words := strings.Split(m[1], `", "`)
		for i, word := range words {
			words[i] = strings.TrimSuffix(word, `"`)
			switch {
			case i > 0 && words[i-1] == "--duration":
				words[i] = "1s"
			case strings.HasPrefix(word, "http://"):
				words[i] = d.Productpage
			}
		}
		if out := d.command(t, words...); !strings.Contains(out, "200:") {
			t.Errorf("%q: %s", words, out)
		}
	}
}
