package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/klauspost/compress/s2"
)

// recover replays every file. What follows a damaged block of a file cannot be told apart, so it is cut, and said.
func (j *Journal) recover(replay func(Frame, uint64)) error {
	names, err := logFiles(j.dir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	for _, name := range names {
		good, err := j.replayFile(name, replay)
		var damage *damage
		switch {
		case errors.As(err, &damage):
			j.opts.Log.Warn("the journal's tail is damaged and was cut", "file", name, "offset", good,
				"bytes", damage.after, "reason", damage.reason)
			if err := os.Truncate(name, good); err != nil {
				return fmt.Errorf("cut the damaged tail: %w", err)
			}
		case err != nil:
			return fmt.Errorf("read the journal: %w", err)
		}
		if good <= int64(len(magic)) {
			if err := os.Remove(name); err != nil {
				return fmt.Errorf("remove an empty journal file: %w", err)
			}
			continue
		}
		j.names, j.sizes = append(j.names, name), append(j.sizes, good)
	}
	return nil
}

type damage struct {
	after  int64
	reason string
}

func (d *damage) Error() string { return d.reason }

// replayFile returns the offset after the last whole block.
func (j *Journal) replayFile(name string, replay func(Frame, uint64)) (good int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return j.replayBlocks(f, info.Size(), replay)
}

func (j *Journal) replayBlocks(r io.Reader, size int64, replay func(Frame, uint64)) (good int64, err error) {
	bad := func(reason string) error { return &damage{size - good, reason} }
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(r, head[:len(magic)]); err != nil || string(head[:len(magic)]) != magic {
		return 0, bad("not a journal of this version")
	}
	good = int64(len(magic))
	for good < size {
		if _, err := io.ReadFull(r, head); err != nil {
			return good, bad("a block's header is short")
		}
		n, raw := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[16:])
		if int64(n) > size-good-headerSize || n > maxBlock || raw > maxBlock {
			return good, bad("a block is longer than the file")
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(r, payload); err != nil {
			return good, bad("a block is short")
		}
		sum := crc32.Update(crc32.Checksum(head[8:], castagnoli()), castagnoli(), payload)
		if sum != binary.LittleEndian.Uint32(head[4:]) {
			return good, bad("a block's checksum does not fit")
		}
		if have, err := s2.DecodedLen(payload); err != nil || have != int(raw) {
			return good, bad("a block's length does not fit")
		}
		frames, err := s2.Decode(nil, payload)
		if err != nil {
			return good, bad("a block cannot be decompressed")
		}
		number := binary.LittleEndian.Uint64(head[8:])
		for len(frames) > 0 {
			frame, rest, ok := readFrame(frames)
			if !ok {
				return good, bad("a post in a block is short")
			}
			replay(frame, number)
			frames = rest
		}
		j.number = max(j.number, number)
		good += headerSize + int64(n)
	}
	return good, nil
}
