package journal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func frames(t *testing.T, dir string, log *slog.Logger) (got []string, last uint64) {
	t.Helper()
	j, err := Open(dir, Options{Log: log}, func(f Frame, block uint64) {
		got = append(got, fmt.Sprintf("%d %d %d %s", f.Format, f.Received.Unix(), f.Wire, f.Body))
		last = block
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return got, last
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	j, err := Open(dir, Options{SyncInterval: time.Hour}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		j.Append(Frame{Format: byte(i), Received: time.Unix(int64(100+i), 0), Wire: int64(i), Body: strings.Repeat("x", i)})
		if i == 2 {
			if n := j.Sync(); n != 1 {
				t.Errorf("block %d after the first sync", n)
			}
		}
	}
	if _, err := Open(dir, Options{}, nil); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second console: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	got, last := frames(t, dir, nil)
	if want := "[0 100 0  1 101 1 x 2 102 2 xx 3 103 3 xxx 4 104 4 xxxx]"; fmt.Sprint(got) != want || last != 2 {
		t.Errorf("got %v up to block %d, want %s", got, last, want)
	}
}

// TestDamage damages the file at each place: what stands before is kept, the cut is said, and writing goes on.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	j, err := Open(dir, Options{SyncInterval: time.Hour}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ends := []int64{}
	for i := range 4 {
		j.Append(Frame{Body: fmt.Sprint("post ", i)})
		j.Sync()
		ends = append(ends, j.Bytes())
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	name := j.names[0]
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		for _, how := range []string{"cut", "flip"} {
			data := bytes.Clone(whole)
			if how == "cut" {
				data = data[:at]
			} else {
				data[at] ^= 0x20
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o600); err != nil {
				t.Fatal(err)
			}
			intact := 0
			for _, end := range ends {
				if int64(at) >= end {
					intact++
				}
			}
			var said bytes.Buffer
			got, _ := frames(t, dir, slog.New(slog.NewTextHandler(&said, nil)))
			if len(got) != intact {
				t.Fatalf("%s at %d: %d posts, want %d", how, at, len(got), intact)
			}
			atEnd := how == "cut" && (intact > 0 && int64(at) == ends[intact-1] || at == len(magic))
			if !atEnd && !strings.Contains(said.String(), "tail is damaged") {
				t.Fatalf("%s at %d: not said: %s", how, at, said.String())
			}
			if again, _ := frames(t, dir, nil); len(again) != intact {
				t.Fatalf("%s at %d: %d posts after the cut, want %d", how, at, len(again), intact)
			}
		}
	}
}

func TestBounded(t *testing.T) {
	dir := t.TempDir()
	const most = 4 << 20
	j, err := Open(dir, Options{MaxBytes: most, SyncInterval: time.Hour}, nil)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 512<<10)
	seed := uint32(1)
	for i := range 40 {
		for k := range noise { // what does not compress
			seed = seed*1664525 + 1013904223
			noise[k] = byte(seed >> 24)
		}
		j.Append(Frame{Wire: int64(i), Body: string(noise)})
		j.Sync()
		if n := j.Bytes(); n > most+1<<20 {
			t.Fatalf("%d bytes, allowed %d", n, most)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var wires []int64
	k, err := Open(dir, Options{}, func(f Frame, _ uint64) { wires = append(wires, f.Wire) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Close() }()
	if len(wires) < 3 || wires[len(wires)-1] != 39 || wires[0] == 0 {
		t.Errorf("posts %v", wires)
	}
}

// full is a disk with room for so many bytes.
type full struct {
	*os.File
	room *int
}

func (f full) Write(p []byte) (int, error) {
	if len(p) > *f.room {
		n, _ := f.File.Write(p[:*f.room/2])
		return n, syscall.ENOSPC
	}
	*f.room -= len(p)
	return f.File.Write(p)
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	room := 300
	var said bytes.Buffer
	j, err := Open(dir, Options{SyncInterval: time.Hour, Log: slog.New(slog.NewTextHandler(&said, nil)), create: func(name string) (file, error) {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		return full{f, &room}, err
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for i := range 20 {
		j.Append(Frame{Body: fmt.Sprintf("post %d of those that fill the disk", i)})
		j.Sync()
		if _, err := j.Broken(); err == nil {
			written++
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	if lost, _ := j.Broken(); written == 0 || lost != int64(20-written) {
		t.Errorf("%d written, %d in memory alone", written, lost)
	}
	if strings.Count(said.String(), "cannot be written") != 1 {
		t.Errorf("said %q", said.String())
	}
	// Room again, and the wait over: the journal goes on behind the last whole block.
	room = 1 << 20
	j.retryAt = time.Time{}
	j.Append(Frame{Body: "after"})
	j.Sync()
	if _, err := j.Broken(); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := frames(t, dir, nil)
	if len(got) != written+1 || !strings.HasSuffix(got[written], "after") {
		t.Errorf("%d posts came back, want %d", len(got), written+1)
	}
}

func FuzzRecover(f *testing.F) {
	dir := f.TempDir()
	j, err := Open(dir, Options{SyncInterval: time.Hour}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 3 {
		j.Append(Frame{Format: 1, Body: fmt.Sprint("post ", i)})
		j.Sync()
	}
	if err := j.Close(); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(j.names[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-3])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		j := &Journal{}
		good, err := j.replayBlocks(bytes.NewReader(data), int64(len(data)), func(Frame, uint64) {})
		if good > int64(len(data)) || err == nil && good != int64(len(data)) && len(data) > 0 {
			t.Fatalf("%d of %d bytes are good, %v", good, len(data), err)
		}
		var d *damage
		if err != nil && !errors.As(err, &d) {
			t.Fatal(err)
		}
		// What was good once is good again.
		if again, err := j.replayBlocks(bytes.NewReader(data[:good]), good, func(Frame, uint64) {}); good > 0 && (err != nil || again != good) {
			t.Fatalf("%d bytes were good, then %d: %v", good, again, err)
		}
	})
}
