package meshctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"example.com/bookinfo/internal/mesh"
)

// ErrDiffers tells that apply would change something: exit status 1, as kubectl diff.
var ErrDiffers = errors.New("apply would change the mesh")

func runDiff(ctx context.Context, env Env) error {
	o := newOptions(env, "diff", "-f FILE|FOLDER|- [flags]")
	o.withFiles()
	o.withNamespace()
	args, err := o.parse()
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return usagef("diff takes no arguments but -f, has %q", args[0])
	}
	files, err := o.read()
	if err != nil {
		return err
	}
	out, err := o.apply(ctx, files, true)
	if err != nil {
		return err
	}
	if err := o.report(out.Problems, "compared"); err != nil {
		// Exit status 1 is for a difference, so that anything else is above it.
		return fmt.Errorf("%w: the files cannot be applied", ErrUsage)
	}
	differs := false
	for _, change := range out.Changes {
		if change.Action == "unchanged" {
			continue
		}
		differs = true
		before, err := plainYAML(change.Before)
		if err != nil {
			return err
		}
		after, err := plainYAML(change.Object)
		if err != nil {
			return err
		}
		r := change.Object
		name := strings.Join([]string{r.Kind.Group, r.Kind.Name, r.Namespace, r.Name}, ".")
		fmt.Fprintf(env.Stdout, "diff -u -N LIVE/%s MERGED/%s\n--- LIVE/%s\n+++ MERGED/%s\n", name, name, name, name)
		for _, line := range unified(before, after) {
			fmt.Fprintln(env.Stdout, line)
		}
	}
	if differs {
		return ErrDiffers
	}
	return nil
}

// plainYAML writes a resource without what the mesh itself adds; nothing for one that is not there.
func plainYAML(r *mesh.Resource) ([]string, error) {
	if r == nil {
		return nil, nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, err
	}
	if metadata, ok := object["metadata"].(map[string]any); ok {
		delete(metadata, "creationTimestamp")
		delete(metadata, "generation")
	}
	if data, err = yaml.Marshal(object); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"), nil
}

// unified returns the hunks of a unified diff with three lines around each change.
func unified(a, b []string) []string {
	const around = 3
	edits := edits(a, b)
	var out []string
	for i := 0; i < len(edits); {
		if edits[i].sign == ' ' {
			i++
			continue
		}
		start, end, last := max(i-around, 0), i, i
		for end < len(edits) && end-last <= 2*around {
			if edits[end].sign != ' ' {
				last = end
			}
			end++
		}
		end = min(last+around+1, len(edits))
		var lines []string
		var countA, countB int
		for _, e := range edits[start:end] {
			lines = append(lines, string(e.sign)+e.line)
			if e.sign != '+' {
				countA++
			}
			if e.sign != '-' {
				countB++
			}
		}
		out = append(out, fmt.Sprintf("@@ -%s +%s @@", span(edits[start].a, countA), span(edits[start].b, countB)))
		out = append(out, lines...)
		i = end
	}
	return out
}

func span(start, count int) string {
	switch count {
	case 0:
		return fmt.Sprintf("%d,0", start)
	case 1:
		return fmt.Sprint(start + 1)
	}
	return fmt.Sprintf("%d,%d", start+1, count)
}

// edit is one line of a diff: ' ' in both, '-' in a, '+' in b; a and b are the lines before it.
type edit struct {
	sign byte
	line string
	a, b int
}

// edits finds the longest common subsequence. What both begin and end with is set aside first, so that the table stays
// small for the usual change of a few lines.
func edits(a, b []string) []edit {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	midA, midB := a[head:len(a)-tail], b[head:len(b)-tail]
	var out []edit
	add := func(sign byte, line string) {
		e := edit{sign: sign, line: line}
		if n := len(out); n > 0 {
			e.a, e.b = out[n-1].a, out[n-1].b
			if out[n-1].sign != '+' {
				e.a++
			}
			if out[n-1].sign != '-' {
				e.b++
			}
		}
		out = append(out, e)
	}
	for _, line := range a[:head] {
		add(' ', line)
	}
	i, j := 0, 0
	if len(midA)*len(midB) <= 4<<20 {
		common := make([][]int, len(midA)+1)
		for i := range common {
			common[i] = make([]int, len(midB)+1)
		}
		for i := len(midA) - 1; i >= 0; i-- {
			for j := len(midB) - 1; j >= 0; j-- {
				if midA[i] == midB[j] {
					common[i][j] = common[i+1][j+1] + 1
				} else {
					common[i][j] = max(common[i+1][j], common[i][j+1])
				}
			}
		}
		for i < len(midA) && j < len(midB) {
			switch {
			case midA[i] == midB[j]:
				add(' ', midA[i])
				i++
				j++
			case common[i+1][j] >= common[i][j+1]:
				add('-', midA[i])
				i++
			default:
				add('+', midB[j])
				j++
			}
		}
	}
	for ; i < len(midA); i++ {
		add('-', midA[i])
	}
	for ; j < len(midB); j++ {
		add('+', midB[j])
	}
	for _, line := range a[len(a)-tail:] {
		add(' ', line)
	}
	return out
}
