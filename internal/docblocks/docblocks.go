// Package docblocks reads the commands that the project's texts tell their readers to type, so that tests can type them.
//
// A block of commands is fenced as sh and has a mark in the line before it, a comment that the page does not show:
//
//	<!-- demo -->             cmd/bookinfo runs it beside a demo
//	<!-- cluster -->          deploy/cluster runs it on a cluster
//	<!-- tested by TestX -->  the test of that name does the same
//	<!-- measured -->         by hand, on a machine that does nothing else; the page has the figures
//	<!-- needs X -->          nobody runs it here, because X is not there
//
// A block fenced as text behind it is what a reader must see, each line somewhere in the output; … stands for anything.
package docblocks

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Block is one block of commands.
type Block struct {
	Page     string // path from the root of the repository
	Line     int
	Mark     string // without the comment's signs
	Commands string
	Shows    []string // lines that the output must have
}

// Missing are the lines of Shows that output has not.
func (b Block) Missing(output string) []string {
	var missing []string
	for _, line := range b.Shows {
		pattern := regexp.QuoteMeta(strings.Join(strings.Fields(line), " "))
		pattern = strings.ReplaceAll(strings.ReplaceAll(pattern, "…", ".*"), " ", `[ \t]+`)
		if !regexp.MustCompile(pattern).MatchString(output) {
			missing = append(missing, line)
		}
	}
	return missing
}

// All reads every page of the repository at root, in the order of their names, and each from top to bottom. Its error
// names blocks of commands that are not fenced as such.
func All(root string) ([]Block, error) {
	var pages []string
	for _, folder := range []string{".", "docs"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && folder == "." && path != filepath.Join(root, ".") {
				return fs.SkipDir
			}
			if !entry.IsDir() && filepath.Ext(path) == ".md" {
				pages = append(pages, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(pages)
	var all []Block
	var wrong []string
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(root, page)
		if err != nil {
			return nil, err
		}
		blocks, unfenced := read(string(data))
		for _, b := range blocks {
			b.Page = filepath.ToSlash(name)
			all = append(all, b)
		}
		for _, line := range unfenced {
			wrong = append(wrong, fmt.Sprintf("%s:%d", name, line))
		}
	}
	if len(wrong) > 0 {
		return all, fmt.Errorf("commands that are not fenced as sh: %s", strings.Join(wrong, ", "))
	}
	return all, nil
}

// command matches the first line of what a reader would type.
var command = regexp.MustCompile(`^(\$ )?([A-Z_]+=\S+ )*(go (run|test|build|install|get|mod)|make|bookinfo|curl|docker|kubectl|istioctl|envoy|sidecar|console) `)

// read finds the blocks of a page, and the lines of those that hold commands but are not fenced as sh.
func read(text string) (blocks []Block, unfenced []int) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		language, fence := strings.CutPrefix(strings.TrimSpace(lines[i]), "```")
		if !fence {
			continue
		}
		start := i
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != "```"; i++ {
		}
		body := lines[start+1 : min(i, len(lines))]
		if language == "sh" {
			b := Block{Line: start + 1, Commands: strings.Join(body, "\n") + "\n"}
			if start > 0 {
				if mark, found := strings.CutPrefix(lines[start-1], "<!-- "); found {
					b.Mark = strings.TrimSuffix(mark, " -->")
				}
			}
			blocks = append(blocks, b)
		} else if language == "text" && len(blocks) > 0 {
			last := &blocks[len(blocks)-1]
			last.Shows = append(last.Shows, body...)
		} else if language == "" && len(body) > 0 && command.MatchString(body[0]+" ") {
			unfenced = append(unfenced, start+1)
		}
	}
	return blocks, unfenced
}
