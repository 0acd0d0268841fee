package main

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// starts is how often each binary is started for the median time to its first answer.
const starts = 15

// reportBinaries prints what each binary in the folder weighs, how long it takes to answer, and what all of them hold
// together when they have answered once and are idle.
func reportBinaries(ctx context.Context, folder string, stdout io.Writer) error {
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\nbinary\tsize\tgzip -9\tPSS idle\tof it anonymous\texec to first 200\n")
	b := &bench{}
	defer b.stop()
	firsts := map[string]time.Duration{}
	for _, name := range services() {
		first, running, err := startOften(ctx, name, filepath.Join(folder, name))
		if err != nil {
			return err
		}
		firsts[name] = first
		b.started = append(b.started, running)
	}
	select {
	case <-time.After(2 * time.Second): // idle
	case <-ctx.Done():
		return ctx.Err()
	}
	var all memory
	for _, p := range b.started {
		idle, err := p.memory()
		if err != nil {
			return err
		}
		size, compressed, err := weigh(p.binary)
		if err != nil {
			return err
		}
		all.pss += idle.pss
		all.anonymous += idle.anonymous
		fmt.Fprintf(table, "%s\t%.1f MB\t%.1f MB\t%.1f MB\t%.1f MB\t%.1f ms\n", p.name, megabytes(size), megabytes(compressed),
			megabytes(idle.pss), megabytes(idle.anonymous), milliseconds(firsts[p.name]))
	}
	fmt.Fprintf(table, "together\t\t\t%.1f MB\t%.1f MB\t\n", megabytes(all.pss), megabytes(all.anonymous))
	fmt.Fprintf(table, "mark\t20 MB\t7 MB\t64 MB together\t4 MB each\t30 ms\n")
	return table.Flush()
}

// startOften starts a binary again and again. It returns the median time to the first answer and the last process, which
// runs on.
func startOften(ctx context.Context, name, binary string) (time.Duration, *process, error) {
	var firsts []time.Duration
	for {
		p, err := startProcess(ctx, name, binary, nil, nil)
		if err != nil {
			return 0, nil, err
		}
		firsts = append(firsts, p.first)
		if len(firsts) == starts {
			slices.Sort(firsts)
			return firsts[starts/2], p, nil
		}
		p.stop()
	}
}

// weigh returns the size of a file and what is left of it by gzip -9, in bytes.
func weigh(name string) (size, compressed int64, err error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, err
	}
	var count counter
	zip, err := gzip.NewWriterLevel(&count, gzip.BestCompression)
	if err != nil {
		return 0, 0, err
	}
	if _, err := zip.Write(content); err != nil {
		return 0, 0, err
	}
	if err := zip.Close(); err != nil {
		return 0, 0, err
	}
	return int64(len(content)), int64(count), nil
}

// counter is a writer that counts bytes.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
