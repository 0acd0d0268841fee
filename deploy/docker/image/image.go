// Package image reads what an image holds, file by file, from `docker save`.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"strings"
)

// Image is what is shipped.
type Image struct {
	Config Config
	Files  map[string]File // by path, without a leading slash; folders too

	layers [][]byte
}

// Compressed is what a registry sends, in bytes: all layers after gzip at its default level, as BuildKit pushes them.
func (img *Image) Compressed() (int64, error) {
	var n counter
	for _, layer := range img.layers {
		w := gzip.NewWriter(&n)
		if _, err := w.Write(layer); err != nil {
			return 0, err
		}
		if err := w.Close(); err != nil {
			return 0, err
		}
	}
	return int64(n), nil
}

// Config is how the image is run.
type Config struct {
	User        string
	Env         []string
	Entrypoint  []string
	Cmd         []string
	Labels      map[string]string
	Healthcheck struct{ Test []string }
}

// File is an entry of a layer.
type File struct {
	Mode     fs.FileMode
	UID, GID int
	Size     int64
	Data     []byte // of the files that Read was asked to keep
}

// Read returns the image of that name, which must be on this machine. keep chooses the files whose contents are wanted.
func Read(ctx context.Context, name string, keep func(path string) bool) (*Image, error) {
	save := exec.CommandContext(ctx, "docker", "save", name)
	var problem bytes.Buffer
	save.Stderr = &problem
	out, err := save.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := save.Start(); err != nil {
		return nil, err
	}
	entries, err := readAll(out)
	if waitErr := save.Wait(); waitErr != nil {
		return nil, fmt.Errorf("docker save %s: %w: %s", name, waitErr, strings.TrimSpace(problem.String()))
	}
	if err != nil {
		return nil, fmt.Errorf("docker save %s: %w", name, err)
	}
	return assemble(entries, keep)
}

// readAll reads the files of a tar; docker's hold the layers as tars of their own, in order or not.
func readAll(r io.Reader) (map[string][]byte, error) {
	files := make(map[string][]byte)
	t := tar.NewReader(r)
	for {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			// What follows the end of the archive must be read too, or docker waits.
			_, err = io.Copy(io.Discard, r)
			return files, err
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag == tar.TypeReg {
			if files[header.Name], err = io.ReadAll(t); err != nil {
				return nil, err
			}
		}
	}
}

func assemble(entries map[string][]byte, keep func(string) bool) (*Image, error) {
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(entries["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		return nil, fmt.Errorf("manifest.json: want one image: %w", err)
	}
	var config struct{ Config Config }
	if err := json.Unmarshal(entries[manifest[0].Config], &config); err != nil {
		return nil, fmt.Errorf("%s: %w", manifest[0].Config, err)
	}
	img := &Image{Config: config.Config, Files: make(map[string]File)}
	for _, name := range manifest[0].Layers {
		if err := img.add(entries[name], keep); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return img, nil
}

// add lays one layer over those before it.
func (img *Image) add(layer []byte, keep func(string) bool) error {
	if bytes.HasPrefix(layer, []byte{0x1f, 0x8b}) {
		r, err := gzip.NewReader(bytes.NewReader(layer))
		if err != nil {
			return err
		}
		if layer, err = io.ReadAll(r); err != nil {
			return err
		}
	}
	img.layers = append(img.layers, layer)
	t := tar.NewReader(bytes.NewReader(layer))
	for {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
		if name == "" {
			name = "."
		}
		folder, base := path.Split(name)
		if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
			delete(img.Files, folder+hidden)
			continue
		}
		f := File{Mode: header.FileInfo().Mode(), UID: header.Uid, GID: header.Gid, Size: header.Size}
		if keep != nil && keep(name) {
			if f.Data, err = io.ReadAll(t); err != nil {
				return err
			}
		}
		img.Files[name] = f
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
