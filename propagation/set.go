package propagation

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Set is a choice of headers of the table. The zero value is none of them. Sets compare with ==.
type Set struct {
	mask uint64 // bit i stands for rows[i]
}

const traceMask = 1<<traceRows - 1

// All returns the set of every trace header. Identity headers are not among them.
func All() Set { return Set{traceMask} }

// Only narrows the set to the headers of the given families.
func (s Set) Only(families ...Family) Set {
	return s.filter(func(r row) bool { return slices.Contains(families, r.family) })
}

// Without takes headers out of the set, each named by itself ("x-b3-sampled") or by its family ("b3"), in any case. As
// in [Parse], "b3" is the family of the x-b3-* headers and "b3-single" the header b3. Names that are not in the set
// change nothing.
func (s Set) Without(names ...string) Set {
	var out uint64
	for _, name := range names {
		out |= lookup(strings.ToLower(name)).mask
	}
	return Set{s.mask &^ out}
}

// Has tells whether the set holds the header, whose name may be in any case.
func (s Set) Has(name string) bool {
	return s.filter(func(r row) bool { return strings.EqualFold(r.name, name) }) != Set{}
}

// Headers lists the set in the order of the table.
func (s Set) Headers() []Header {
	list := make([]Header, 0, bits.OnesCount64(s.mask))
	for rest := s.mask; rest != 0; rest &= rest - 1 {
		r := rows[bits.TrailingZeros64(rest)]
		list = append(list, Header{r.name, r.family})
	}
	return list
}

// String writes the set as [Parse] reads it: whole families by their word, parts of one header by header.
func (s Set) String() string {
	if s.mask == 0 {
		return none
	}
	var words []string
	for _, f := range families() {
		whole := All().Only(f)
		switch part := s.Only(f); part {
		case Set{}:
		case whole:
			words = append(words, string(f))
		default:
			for _, h := range part.Headers() {
				words = append(words, h.Name)
			}
		}
	}
	for _, h := range (Set{s.mask &^ traceMask}).Headers() {
		words = append(words, h.Name)
	}
	return strings.Join(words, ",")
}

func (s Set) filter(keep func(row) bool) Set {
	var kept uint64
	for rest := s.mask; rest != 0; rest &= rest - 1 {
		if i := bits.TrailingZeros64(rest); keep(rows[i]) {
			kept |= 1 << i
		}
	}
	return Set{kept}
}

const none = "none"

// Parse reads a list of headers to forward, as the variable FORWARD_HEADERS holds it: words separated by commas or
// blanks, each the name of a family or of a single header of [Table], in any case; one that begins with "-" is left out,
// wherever it stands. A list of such words alone leaves them out of the whole table. An empty list is the whole table,
// "none" is no header.
//
// "b3" is the family of the x-b3-* headers; the one header b3 is called "b3-single".
//
// An unknown word is an error that lists the known ones.
func Parse(list string) (Set, error) {
	words := strings.FieldsFunc(strings.ToLower(list), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	if len(words) == 0 {
		return All(), nil
	}
	if slices.Contains(words, none) {
		if len(words) > 1 {
			return Set{}, fmt.Errorf("%q stands alone in a list of headers, not in %q", none, list)
		}
		return Set{}, nil
	}
	var in, out uint64
	chosen := false
	for _, word := range words {
		name, leaveOut := strings.CutPrefix(word, "-")
		found := lookup(name).mask & traceMask
		if found == 0 {
			return Set{}, unknown(name)
		}
		if leaveOut {
			out |= found
			continue
		}
		chosen = true
		in |= found
	}
	if !chosen {
		in = traceMask
	}
	return Set{in &^ out}, nil
}

// lookup finds a header, or a family of them, by its name in lower case. Families come first: the family b3 is not the
// header b3.
func lookup(name string) Set {
	table := Set{All().mask | Identity().mask}
	if set := table.Only(Family(name)); set != (Set{}) {
		return set
	}
	return table.filter(func(r row) bool { return r.name == name })
}

func unknown(word string) error {
	if strings.HasPrefix(word, "x-forwarded-") || strings.HasPrefix(word, "x-envoy-") {
		return fmt.Errorf("%q is not a trace header: x-forwarded-* and x-envoy-* describe one hop, the proxies write them and an application must not pass them on", word)
	}
	if Identity().Has(word) {
		return fmt.Errorf("%q says who the caller is, it is not a trace header and has no place in this list", word)
	}
	words := []string{none}
	for _, f := range families() {
		words = append(words, string(f))
	}
	for _, h := range Table() {
		if !slices.Contains(words, h.Name) {
			words = append(words, h.Name)
		}
	}
	return fmt.Errorf("unknown header or family %q; known: %s", word, strings.Join(words, ", "))
}

// families lists the families of trace headers in the order of the table.
func families() []Family {
	var list []Family
	for _, r := range rows[:traceRows] {
		if !slices.Contains(list, r.family) {
			list = append(list, r.family)
		}
	}
	return list
}
