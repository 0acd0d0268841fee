// Command report reads the output of `go test -json` and prints what a person wants of it: a line a package, all
// that a failed test said, every test that was skipped and why, and the totals.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is the part of cmd/test2json's record that the report needs.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

func main() {
	failed, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// report copies a summary of the events in r to w and tells whether a test or a package failed.
func report(r io.Reader, w io.Writer) (failed bool, err error) {
	output := map[string][]string{}
	var skipped []string
	passes, fails, skips := 0, 0, 0
	lines := bufio.NewReader(r)
	for {
		line, readErr := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				// Build errors and panics of the go command itself are plain text.
				fmt.Fprintf(w, "%s", line)
				continue
			}
			key := e.Package + " " + e.Test
			switch e.Action {
			case "output", "build-output":
				if e.Action == "build-output" {
					fmt.Fprint(w, e.Output)
				} else {
					output[key] = append(output[key], e.Output)
				}
			case "skip":
				if e.Test != "" {
					skips++
					skipped = append(skipped, key+": "+reason(output[key]))
				}
				delete(output, key)
			case "pass":
				if e.Test != "" {
					passes++
				} else {
					fmt.Fprintf(w, "ok    %s  %.1fs\n", e.Package, e.Elapsed)
				}
				delete(output, key)
			case "fail":
				failed = true
				if e.Test != "" {
					fails++
					fmt.Fprintf(w, "%s", strings.Join(output[key], ""))
				} else {
					fmt.Fprintf(w, "%sFAIL  %s  %.1fs\n", strings.Join(output[key], ""), e.Package, e.Elapsed)
				}
				delete(output, key)
			case "build-fail":
				failed = true
			}
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return failed, readErr
		}
	}
	if len(skipped) > 0 {
		slices.Sort(skipped)
		fmt.Fprintf(w, "\nSkipped:\n  %s\n", strings.Join(skipped, "\n  "))
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", passes, fails, skips)
	return failed, nil
}

// reason is what a skipped test said, without go test's own lines and the source position.
func reason(output []string) string {
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok := strings.Cut(after, ": "); ok {
				return text
			}
		}
		return line
	}
	return "no reason given"
}
