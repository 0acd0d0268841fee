package load

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"
)

// Result is what came of a load.
type Result struct {
	Planned int // requests that were to be sent
	Sent    int
	Skipped int           // not sent because too many were without an answer
	Took    time.Duration // from the first request to the last answer

	Status   map[int]int    // answers by status; 0 counts those that never came
	Versions map[string]int // pages by version of reviews; "" counts those that name none

	mu        sync.Mutex
	start     time.Time
	latencies []time.Duration // from the appointed time of a request to its answer
}

func newResult(planned int) *Result {
	return &Result{
		Planned: planned, Status: map[int]int{}, Versions: map[string]int{},
		latencies: make([]time.Duration, 0, planned),
	}
}

func (r *Result) skip() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Skipped++
}

// add counts an answer, unless it is missing because the load was interrupted. The function that it returns tells the
// progress.
func (r *Result) add(a answer, latency time.Duration, interrupted bool) func(report func(done, planned int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.status == 0 && interrupted {
		return func(func(int, int)) {}
	}
	r.Sent++
	r.Status[a.status]++
	if a.status != 0 {
		r.Versions[a.version]++
		r.latencies = append(r.latencies, latency)
	}
	return func(report func(int, int)) {
		r.mu.Lock()
		defer r.mu.Unlock()
		report(r.Sent+r.Skipped, r.Planned)
	}
}

func (r *Result) finish() {
	r.Took = time.Since(r.start)
	slices.Sort(r.latencies)
}

// Percentile returns the latency that p percent of the answers did not exceed, by the nearest rank, and 0 without
// answers.
func (r *Result) Percentile(p float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(r.latencies))))
	return r.latencies[min(max(rank, 1), len(r.latencies))-1]
}

// Failed tells whether an answer was missing or not 200.
func (r *Result) Failed() bool { return r.Sent != r.Status[200] }

// Write prints the result for people.
func (r *Result) Write(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "Requests\t%d sent in %s, %.1f per second\n", r.Sent, r.Took.Round(time.Millisecond), float64(r.Sent)/max(r.Took.Seconds(), 1e-9))
	if r.Skipped > 0 {
		fmt.Fprintf(table, "\t%d not sent: too many were without an answer\n", r.Skipped)
	}
	fmt.Fprintf(table, "Latency\t")
	for _, p := range []float64{50, 90, 95, 99, 100} {
		name := "p" + strconv.FormatFloat(p, 'f', -1, 64)
		if p == 100 {
			name = "max"
		}
		fmt.Fprintf(table, "%s %s  ", name, r.Percentile(p).Round(10*time.Microsecond))
	}
	fmt.Fprintln(table)
	for i, status := range slices.Sorted(maps.Keys(r.Status)) {
		title, name := "", strconv.Itoa(status)
		if i == 0 {
			title = "Status"
		}
		if status == 0 {
			name = "no answer"
		}
		fmt.Fprintf(table, "%s\t%s: %d\n", title, name, r.Status[status])
	}
	pages := 0
	for _, n := range r.Versions {
		pages += n
	}
	for i, version := range slices.Sorted(maps.Keys(r.Versions)) {
		title, name := "", "reviews "+version
		if i == 0 {
			title = "Pages"
		}
		if version == "" {
			name = "without reviews"
		}
		fmt.Fprintf(table, "%s\t%s: %d (%.1f %%)\n", title, name, r.Versions[version], 100*float64(r.Versions[version])/float64(pages))
	}
	return table.Flush()
}
