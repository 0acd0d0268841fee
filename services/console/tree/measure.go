package tree

import (
	"cmp"
	"slices"
	"time"
)

// measure sets the self time and the critical path of everything below root.
func measure(root *knot) {
	walk(root, func(k *knot) {
		if k.Span != nil {
			k.Self = k.Duration - covered(k)
		}
	})
	criticalPath(root)
}

// running lists what ran below k: children, and for a child that stands for no span of its own the ones under it.
func running(k *knot) []*knot {
	plain := true
	for _, c := range k.children {
		plain = plain && c.Span != nil
	}
	if plain {
		return k.children
	}
	var out []*knot
	for _, c := range k.children {
		if c.Span != nil {
			out = append(out, c)
			continue
		}
		out = append(out, running(c)...)
	}
	byStart(out)
	return out
}

// covered is how long at least one child ran within k. Children are in order of start.
func covered(k *knot) (sum time.Duration) {
	until, end := k.Start, k.End()
	for _, c := range running(k) {
		from, to := c.Start, c.End()
		if from.Before(until) {
			from = until
		}
		if to.After(end) {
			to = end
		}
		if to.After(from) {
			sum += to.Sub(from)
			until = to
		}
	}
	return sum
}

// criticalPath walks back from the end of each root: what ended last decided, until it began; before that whatever
// ended last by then. What no child explains is the span's own.
func criticalPath(root *knot) {
	type task struct {
		k     *knot
		until time.Time
	}
	var stack []task
	if root.Span != nil {
		stack = append(stack, task{root, root.End()})
	} else {
		for _, r := range running(root) {
			stack = append(stack, task{r, r.End()})
		}
	}
	for len(stack) > 0 {
		k, cursor := stack[len(stack)-1].k, stack[len(stack)-1].until
		stack = stack[:len(stack)-1]
		children := slices.Clone(running(k))
		slices.SortStableFunc(children, func(a, b *knot) int {
			return cmp.Or(b.End().Compare(a.End()), b.Start.Compare(a.Start))
		})
		for _, c := range children {
			end := c.End()
			if end.After(cursor) {
				end = cursor
			}
			if !end.After(c.Start) || !end.After(k.Start) {
				continue
			}
			if cursor.After(end) {
				k.Critical = append(k.Critical, Interval{end, cursor})
			}
			stack = append(stack, task{c, end})
			cursor = c.Start
			if cursor.Before(k.Start) {
				cursor = k.Start
				break
			}
		}
		if cursor.After(k.Start) {
			k.Critical = append(k.Critical, Interval{k.Start, cursor})
		}
		slices.Reverse(k.Critical)
	}
}
