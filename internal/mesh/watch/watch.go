// Package watch keeps a mesh like a folder of files: what is saved there is applied, what is removed is deleted.
package watch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/bookinfo/internal/mesh"
)

// Interval is how often the folder is looked at: often enough to seem at once, and a folder of a hundred files costs
// nothing to list.
const Interval = 250 * time.Millisecond

// Folder is a watched folder.
type Folder struct {
	path      string
	namespace string
	m         *mesh.Mesh
	report    func(line string)

	files map[string]state
}

// state is a file as it was last read.
type state struct {
	modified time.Time
	size     int64
	data     []byte
	keys     []mesh.Key // of the resources that it put into the mesh
	failed   bool       // its last content was refused, or could not be read
}

// New watches the .yaml, .yml and .json files directly in a folder. Resources that name no namespace get the given
// one. Each change and each finding is a line for report.
func New(m *mesh.Mesh, path, namespace string, report func(line string)) *Folder {
	return &Folder{path: path, namespace: namespace, m: m, report: report, files: make(map[string]state)}
}

// Run looks at the folder now and then every interval until ctx is done. The error is that of the first look: a folder
// that cannot be read. Later ones are reported.
func (f *Folder) Run(ctx context.Context, interval time.Duration) error {
	if err := f.Look(); err != nil {
		return err
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			err := f.Look()
			if err != nil && err.Error() != failing {
				f.report(err.Error())
			}
			if failing = ""; err != nil {
				failing = err.Error()
			}
		}
	}
}

// Look compares the folder with what was seen before and brings the mesh up to date, all files in one step. A file with
// an error leaves the mesh as it was before the file was changed.
func (f *Folder) Look() error {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return fmt.Errorf("watch %s: %w", f.path, err)
	}
	seen := make(map[string]bool)
	var changed []mesh.File
	for _, entry := range entries {
		name := entry.Name()
		if !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
			continue
		}
		// A link counts as what it points to: ConfigMaps are mounted in that way.
		info, err := os.Stat(filepath.Join(f.path, name))
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		seen[name] = true
		before, known := f.files[name]
		if known && before.modified.Equal(info.ModTime()) && before.size == info.Size() {
			continue
		}
		data, err := read(filepath.Join(f.path, name))
		if err != nil {
			f.report(err.Error())
			f.files[name] = state{info.ModTime(), info.Size(), before.data, before.keys, true}
			continue
		}
		if known && !before.failed && bytes.Equal(data, before.data) {
			before.modified, before.size = info.ModTime(), info.Size()
			f.files[name] = before
			continue
		}
		f.files[name] = state{info.ModTime(), info.Size(), data, before.keys, true}
		changed = append(changed, mesh.File{Name: name, Data: data})
	}
	// A file that was refused may be right once the others have changed.
	if len(changed) > 0 {
		for name, s := range f.files {
			if s.failed && seen[name] && s.data != nil && !slices.ContainsFunc(changed, func(c mesh.File) bool { return c.Name == name }) {
				changed = append(changed, mesh.File{Name: name, Data: s.data})
			}
		}
		slices.SortFunc(changed, func(a, b mesh.File) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
		f.apply(changed)
	}
	f.forget(seen)
	return nil
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, mesh.MaxFileSize+1))
}

func (f *Folder) apply(files []mesh.File) {
	result := f.m.Apply(files, f.namespace, false)
	refused := make(map[string]bool)
	for _, p := range result.Problems {
		f.report(p.String())
		if !p.Warning {
			refused[p.File] = true
		}
	}
	keys := make(map[string][]mesh.Key)
	for _, c := range result.Changes {
		keys[c.Resource.File] = append(keys[c.Resource.File], c.Resource.Key())
		if c.Action != "unchanged" {
			f.report(c.String())
		}
	}
	var gone []mesh.Key
	for _, file := range files {
		if refused[file.Name] {
			continue
		}
		s := f.files[file.Name]
		s.failed = false
		gone = append(gone, s.keys...)
		s.keys = keys[file.Name]
		f.files[file.Name] = s
	}
	f.delete(gone)
}

// forget deletes what files that are no longer there had put into the mesh.
func (f *Folder) forget(seen map[string]bool) {
	var gone []mesh.Key
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		if !seen[name] {
			gone = append(gone, f.files[name].keys...)
			delete(f.files, name)
		}
	}
	f.delete(gone)
}

// delete removes resources unless another file holds them too.
func (f *Folder) delete(keys []mesh.Key) {
	keys = slices.DeleteFunc(keys, func(key mesh.Key) bool {
		for _, s := range f.files {
			if slices.Contains(s.keys, key) {
				return true
			}
		}
		return false
	})
	if len(keys) == 0 {
		return
	}
	changes, _ := f.m.Delete(keys, false) // somebody else may have deleted one already
	for _, c := range changes {
		f.report(c.String())
	}
}
