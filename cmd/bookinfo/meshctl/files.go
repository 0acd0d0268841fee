package meshctl

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"example.com/bookinfo/internal/mesh"
)

// read returns what -f names: a file, the .yaml, .yml and .json files of a folder in order of their names, or standard
// input.
func (o *options) read() ([]mesh.File, error) {
	if len(o.files) == 0 {
		return nil, usagef("must specify -f FILE, a folder, or - for standard input")
	}
	var files []mesh.File
	for _, name := range o.files {
		if name == "-" {
			data, err := io.ReadAll(io.LimitReader(o.env.Stdin, mesh.MaxFileSize+1))
			if err != nil {
				return nil, fmt.Errorf("standard input: %w", err)
			}
			files = append(files, mesh.File{Name: "STDIN", Data: data})
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("the path %q does not exist", name)
		}
		paths := []string{name}
		if info.IsDir() {
			if paths, err = yamlFiles(name); err != nil {
				return nil, err
			}
		}
		for _, path := range paths {
			data, err := readFile(path)
			if err != nil {
				return nil, err
			}
			files = append(files, mesh.File{Name: path, Data: data})
		}
	}
	return files, nil
}

func yamlFiles(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, entry := range entries {
		if !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) {
			paths = append(paths, filepath.Join(folder, entry.Name()))
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no .yaml, .yml or .json file in %q", folder)
	}
	return paths, nil
}

// readFile reads one file up to the mesh's limit, above which the mesh says what is wrong.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, mesh.MaxFileSize+1))
}
