package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	openloop "example.com/bookinfo/internal/load"
)

// demoArgs are what the demo is measured with.
type demoArgs struct {
	starts   int
	rate     float64
	duration time.Duration
}

// measureDemo starts the demo as a user has it, several times, and tells how long after exec it is ready and how much
// memory it has while it answers pages.
func measureDemo(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var a demoArgs
	flags.IntVar(&a.starts, "starts", 7, "how many times it is started")
	flags.Float64Var(&a.rate, "rate", 50, "pages per second")
	flags.DurationVar(&a.duration, "duration", 30*time.Second, "how long pages are asked for")
	bin := flags.String("bin", "", "folder with the binary bookinfo; without it it is built")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if a.starts < 1 {
		return errors.New("want -starts above 0")
	}
	if *bin == "" {
		dir, err := os.MkdirTemp("", "bookinfo-bench")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := build(ctx, dir, stderr, "bookinfo"); err != nil {
			return err
		}
		*bin = dir
	}
	var ready []time.Duration
	for i := range a.starts {
		demo, err := startDemo(ctx, filepath.Join(*bin, "bookinfo"))
		if err != nil {
			return err
		}
		ready = append(ready, demo.ready)
		if i+1 == a.starts {
			err = demo.measure(ctx, a, stdout)
		}
		demo.stop()
		if err != nil {
			return err
		}
	}
	slices.Sort(ready)
	fmt.Fprintf(stdout, "ready %v after exec (median of %d starts; %v to %v)\n", ready[len(ready)/2].Round(time.Millisecond),
		len(ready), ready[0].Round(time.Millisecond), ready[len(ready)-1].Round(time.Millisecond))
	return nil
}

// runningDemo is a demo in a process of its own.
type runningDemo struct {
	cmd     *exec.Cmd
	gateway string
	ready   time.Duration // from exec to the line that says so
}

func startDemo(ctx context.Context, binary string) (*runningDemo, error) {
	d := &runningDemo{cmd: exec.CommandContext(ctx, binary, "demo", "--json")}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	d.ready = time.Since(began)
	var info struct {
		Gateway  string
		Services map[string]string
	}
	switch {
	case err != nil:
	case json.Unmarshal([]byte(line), &info) != nil || info.Gateway == "" || len(info.Services) != 6:
		err = fmt.Errorf("the demo printed %q, want its gateway and six services", line)
	default:
		d.gateway = info.Gateway
		return d, nil
	}
	d.stop()
	return nil, err
}

func (d *runningDemo) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait() // killed is as good
}

// measure asks for pages and looks at the memory every second.
func (d *runningDemo) measure(ctx context.Context, a demoArgs, stdout io.Writer) error {
	before, err := d.resident()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%.0f MB resident when ready\n", float64(before)/1e6)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := make(chan []int64)
	go func() {
		var all []int64
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				seen <- all
				return
			case <-tick.C:
				if now, err := d.resident(); err == nil {
					all = append(all, now)
				}
			}
		}
	}()
	result, err := openloop.Run(ctx, openloop.Config{
		URL: d.gateway, Rate: a.rate, Duration: a.duration, Seed: 1, Personas: []string{openloop.Anonymous, "jason"},
	})
	cancel()
	all := <-seen
	if err != nil {
		return err
	}
	if result.Status[200] != result.Planned || len(all) == 0 {
		return fmt.Errorf("of %d pages %d were answered, %v", result.Planned, result.Status[200], result.Status)
	}
	slices.Sort(all)
	fmt.Fprintf(stdout, "%.0f MB resident at most, %.0f MB in the median, during %d pages in %v\n",
		float64(all[len(all)-1])/1e6, float64(all[len(all)/2])/1e6, result.Planned, result.Took.Round(100*time.Millisecond))
	return nil
}

// resident is the process's resident memory in bytes.
func (d *runningDemo) resident() (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", d.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm holds %q", data)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
