// Package breakage breaks the forwarding of trace headers on purpose, while a service runs: each change is a mistake
// that applications make in the field. It sits below the transport that forwards, so that what it changes is what
// leaves. Services have it only where teaching was asked for.
package breakage

import (
	"fmt"
	"slices"
	"strings"

	"example.com/bookinfo/propagation"
)

// Change is a set of mistakes. The zero value makes none.
type Change struct {
	Drop      []string `json:"drop,omitempty"`      // headers that are not forwarded
	Empty     []string `json:"empty,omitempty"`     // headers that are sent without a value
	Duplicate []string `json:"duplicate,omitempty"` // headers that are sent on two lines
	Join      []string `json:"join,omitempty"`      // headers that are sent as value,value
	Case      []string `json:"case,omitempty"`      // headers whose name is sent in capitals

	NewTrace   bool `json:"newTrace,omitempty"`   // an SDK that does not read the incoming context
	HiddenSDK  bool `json:"hiddenSDK,omitempty"`  // an SDK whose spans are not exported
	StaleB3    bool `json:"staleB3,omitempty"`    // an old single b3 header beside the context
	Reuse      bool `json:"reuse,omitempty"`      // the headers of the first request are sent with every later one
	SampledOff bool `json:"sampledOff,omitempty"` // an SDK that denies sampling
	Async      bool `json:"async,omitempty"`      // every second call is made outside of the request's context
}

// Words are the changes as Parse reads them, each with what it stands for.
func Words() [][2]string {
	return [][2]string{
		{"drop=HEADER|FAMILY[,…]", "does not forward them"},
		{"empty=HEADER|FAMILY[,…]", "sends them without a value"},
		{"duplicate=HEADER|FAMILY[,…]", "sends them on two lines"},
		{"join=HEADER|FAMILY[,…]", "sends them as value,value"},
		{"case=HEADER|FAMILY[,…]", "sends their names in capitals"},
		{"new-trace", "begins a trace of its own, as an SDK does that reads another format"},
		{"hidden-sdk", "puts a span of its own between, which is never exported"},
		{"stale-b3", "sends an old b3 header beside the context"},
		{"reuse", "captures the headers once and sends them with every later request"},
		{"sampled-off", "denies sampling"},
		{"async", "makes every second call outside of the request's context"},
	}
}

// Parse reads changes such as "drop=x-b3-spanid" and "sampled-off". An error names the word and those there are.
func Parse(words []string) (Change, error) {
	var c Change
	lists := map[string]*[]string{"drop": &c.Drop, "empty": &c.Empty, "duplicate": &c.Duplicate, "join": &c.Join, "case": &c.Case}
	switches := map[string]*bool{
		"new-trace": &c.NewTrace, "hidden-sdk": &c.HiddenSDK, "stale-b3": &c.StaleB3, "reuse": &c.Reuse,
		"sampled-off": &c.SampledOff, "async": &c.Async,
	}
	if len(words) == 0 {
		return Change{}, fmt.Errorf("nothing to break: want %s", known())
	}
	for _, word := range words {
		name, value, hasValue := strings.Cut(word, "=")
		if to, ok := switches[name]; ok && !hasValue {
			*to = true
			continue
		}
		list, ok := lists[name]
		if !ok {
			return Change{}, fmt.Errorf("%q: want %s", word, known())
		}
		set, err := propagation.Parse(value)
		if err != nil || value == "" || len(set.Headers()) == 0 {
			return Change{}, fmt.Errorf("%q: want %s=HEADER or FAMILY, several with commas: %w", word, name, orNone(err))
		}
		for _, h := range set.Headers() {
			if !slices.Contains(*list, h.Name) {
				*list = append(*list, h.Name)
			}
		}
	}
	return c, nil
}

func orNone(err error) error {
	if err == nil {
		return fmt.Errorf("none given")
	}
	return err
}

func known() string {
	words := make([]string, 0, len(Words()))
	for _, w := range Words() {
		words = append(words, w[0])
	}
	return strings.Join(words, ", ")
}

// Strings gives the change back as words that Parse reads.
func (c Change) Strings() []string {
	var words []string
	for _, l := range []struct {
		name string
		list []string
	}{{"drop", c.Drop}, {"empty", c.Empty}, {"duplicate", c.Duplicate}, {"join", c.Join}, {"case", c.Case}} {
		if len(l.list) > 0 {
			words = append(words, l.name+"="+strings.Join(l.list, ","))
		}
	}
	for _, s := range []struct {
		name string
		on   bool
	}{{"new-trace", c.NewTrace}, {"hidden-sdk", c.HiddenSDK}, {"stale-b3", c.StaleB3}, {"reuse", c.Reuse}, {"sampled-off", c.SampledOff}, {"async", c.Async}} {
		if s.on {
			words = append(words, s.name)
		}
	}
	return words
}
