// Package journal keeps on disk what a console took in: blocks of posts, compressed and checksummed, in files of
// bounded size and number. After a crash everything up to the last whole block comes back.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
)

const (
	// DefaultMaxBytes bounds the files of a journal.
	DefaultMaxBytes = 1 << 30
	// DefaultSyncInterval is how long a post may be in memory alone.
	DefaultSyncInterval = 100 * time.Millisecond

	magic      = "BKJRNL1\n"
	headerSize = 4 + 4 + 8 + 4 // payload length, checksum of what follows it, number, length before compression
	// flushAt is the size at which a block does not wait for the interval; maxBlock what recovery takes for a length.
	flushAt  = 4 << 20
	maxBlock = 256 << 20
	// retryAfter is how long a journal that could not write waits.
	retryAfter = 10 * time.Second
)

// Frame is one post.
type Frame struct {
	Format   byte // the caller's own numbering
	Received time.Time
	Wire     int64 // bytes on the wire
	Body     string
}

// Options configure a Journal. Zero values take the defaults.
type Options struct {
	MaxBytes     int64
	SyncInterval time.Duration
	Log          *slog.Logger
	// Locked is called before the first frame is replayed, when the folder is ours; nil is allowed.
	Locked func() error
	// Synced is called after each block that is on disk, with its number; nil is allowed.
	Synced func(block uint64)
	// create opens files, replaced by tests that fill the disk.
	create func(name string) (file, error)
}

type file interface {
	Write([]byte) (int, error)
	Sync() error
	Truncate(int64) error
	Close() error
}

// Journal appends posts. It is safe for concurrent use.
type Journal struct {
	dir  string
	opts Options
	lock *os.File

	mu     sync.Mutex // the buffer
	buf    []byte
	frames int

	io       sync.Mutex // the files
	out      file
	size     int64
	names    []string // oldest first, the last one is out
	sizes    []int64
	number   uint64 // of the last block
	broken   error
	retryAt  time.Time
	lost     int64
	scratch  []byte
	spare    []byte // becomes buf
	quit     chan struct{}
	finished chan struct{}
}

// Open locks the folder, which is made when it is not there, and gives every frame it holds to replay, oldest first.
func Open(dir string, o Options, replay func(f Frame, block uint64)) (*Journal, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = DefaultSyncInterval
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.create == nil {
		o.create = func(name string) (file, error) {
			return os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{dir: dir, opts: o, lock: lock, quit: make(chan struct{}), finished: make(chan struct{})}
	if o.Locked != nil {
		err = o.Locked()
	}
	if err == nil {
		err = j.recover(replay)
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	go j.run()
	return j, nil
}

// Append adds a post; it is on disk after the sync interval. It never fails: a journal that cannot write says so in
// Broken, and the post is then in memory alone.
func (j *Journal) Append(f Frame) {
	j.mu.Lock()
	j.buf = appendFrame(j.buf, f)
	j.frames++
	full := len(j.buf) >= flushAt
	j.mu.Unlock()
	if full {
		j.flush(false)
	}
}

func appendFrame(b []byte, f Frame) []byte {
	b = append(b, f.Format)
	b = binary.AppendVarint(b, f.Received.UnixNano())
	b = binary.AppendUvarint(b, uint64(f.Wire))
	b = binary.AppendUvarint(b, uint64(len(f.Body)))
	return append(b, f.Body...)
}

func readFrame(b []byte) (f Frame, rest []byte, ok bool) {
	if len(b) == 0 {
		return f, nil, false
	}
	f.Format = b[0]
	b = b[1:]
	ns, n := binary.Varint(b)
	if n <= 0 {
		return f, nil, false
	}
	b = b[n:]
	wire, n := binary.Uvarint(b)
	if n <= 0 {
		return f, nil, false
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return f, nil, false
	}
	f.Received, f.Wire = time.Unix(0, ns), int64(wire)
	f.Body = string(b[n : n+int(size)])
	return f, b[n+int(size):], true
}

func (j *Journal) run() {
	defer close(j.finished)
	tick := time.NewTicker(j.opts.SyncInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			j.flush(true)
		case <-j.quit:
			j.flush(true)
			return
		}
	}
}

// flush writes what has gathered as one block.
func (j *Journal) flush(sync bool) {
	j.io.Lock()
	defer j.io.Unlock()
	j.mu.Lock()
	raw, frames := j.buf, j.frames
	j.buf, j.frames = j.spare[:0], 0
	j.mu.Unlock()
	defer func() {
		j.spare = nil
		if cap(raw) <= 2*flushAt {
			j.spare = raw
		}
	}()
	if len(raw) == 0 {
		return
	}
	if j.broken != nil && time.Now().Before(j.retryAt) {
		j.lost += int64(frames)
		return
	}
	if err := j.write(raw, sync); err != nil {
		j.lost += int64(frames)
		if j.broken == nil {
			j.opts.Log.Error("the journal cannot be written; spans are kept in memory alone until it can", "folder", j.dir, "error", err.Error())
		}
		j.broken, j.retryAt = err, time.Now().Add(retryAfter)
		return
	}
	if j.broken != nil {
		j.opts.Log.Info("the journal is written again", "folder", j.dir, "posts_missing", j.lost)
		j.broken = nil
	}
	if sync && j.opts.Synced != nil {
		j.opts.Synced(j.number)
	}
}

func (j *Journal) write(raw []byte, sync bool) error {
	if j.out == nil || j.size >= j.fileBytes() {
		if err := j.rotate(); err != nil {
			return err
		}
	}
	block := encodeBlock(j.scratch[:0], j.number+1, raw)
	j.scratch = block
	if cap(j.scratch) > 2*flushAt {
		j.scratch = nil
	}
	if _, err := j.out.Write(block); err != nil {
		// What was half written must not stand before the next block.
		if terr := j.out.Truncate(j.size); terr != nil {
			_ = j.out.Close()
			j.out = nil
		}
		return err
	}
	j.number++
	j.size += int64(len(block))
	j.sizes[len(j.sizes)-1] = j.size
	if sync {
		if err := j.out.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func encodeBlock(b []byte, number uint64, raw []byte) []byte {
	b = slices.Grow(b, headerSize+s2.MaxEncodedLen(len(raw)))
	payload := s2.Encode(b[headerSize:cap(b)], raw)
	b = b[:headerSize+len(payload)]
	binary.LittleEndian.PutUint32(b[0:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(b[8:], number)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(raw)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli()))
	return b
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func (j *Journal) fileBytes() int64 { return min(max(j.opts.MaxBytes/16, 1<<20), 64<<20) }

// rotate begins a new file and removes the oldest ones over the bound.
func (j *Journal) rotate() error {
	if j.out != nil {
		_ = j.out.Sync()
		_ = j.out.Close()
		j.out = nil
	}
	total := j.fileBytes()
	for _, n := range j.sizes {
		total += n
	}
	for len(j.names) > 0 && total > j.opts.MaxBytes {
		if err := os.Remove(j.names[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= j.sizes[0]
		j.names, j.sizes = j.names[1:], j.sizes[1:]
	}
	name := filepath.Join(j.dir, fmt.Sprintf("spans-%016d.log", j.number+1))
	_ = os.Remove(name) // a file without a whole block, left by a write that failed
	if n := len(j.names); n > 0 && j.names[n-1] == name {
		j.names, j.sizes = j.names[:n-1], j.sizes[:n-1]
	}
	out, err := j.opts.create(name)
	if err != nil {
		return err
	}
	if _, err := out.Write([]byte(magic)); err != nil {
		_ = out.Close()
		_ = os.Remove(name)
		return err
	}
	j.out, j.size = out, int64(len(magic))
	j.names, j.sizes = append(j.names, name), append(j.sizes, j.size)
	return nil
}

// Broken is how many posts are in memory alone, and why the journal does not write at the moment, nil when it does.
func (j *Journal) Broken() (lost int64, err error) {
	j.io.Lock()
	defer j.io.Unlock()
	return j.lost, j.broken
}

// Bytes is the size of the files.
func (j *Journal) Bytes() (n int64) {
	j.io.Lock()
	defer j.io.Unlock()
	for _, size := range j.sizes {
		n += size
	}
	return n
}

// Sync writes what has gathered and returns the number of the last block on disk.
func (j *Journal) Sync() uint64 {
	j.flush(true)
	j.io.Lock()
	defer j.io.Unlock()
	return j.number
}

// Close writes what has gathered and unlocks the folder.
func (j *Journal) Close() error {
	close(j.quit)
	<-j.finished
	j.io.Lock()
	defer j.io.Unlock()
	err := j.broken
	if j.out != nil {
		err = errors.Join(err, j.out.Close())
	}
	return errors.Join(err, j.lock.Close())
}

// WriteFile replaces a file of the folder at once or not at all.
func (j *Journal) WriteFile(name string, data []byte) error {
	path := filepath.Join(j.dir, name)
	f, err := os.CreateTemp(j.dir, name+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// ReadFile reads a file that WriteFile wrote, from a folder that need not be open.
func ReadFile(dir, name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }

func logFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "spans-") && strings.HasSuffix(e.Name(), ".log") {
			names = append(names, filepath.Join(dir, e.Name()))
		}
		if strings.HasSuffix(e.Name(), ".tmp") {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(names)
	return names, nil
}
