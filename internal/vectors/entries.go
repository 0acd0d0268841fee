package vectors

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"
)

// Pair is a header line: name and value.
type Pair [2]string

// Fresh describes a symbol of an entry.
type Fresh struct {
	Hex    int    `json:"hex"`    // number of digits of an id
	Nibble string `json:"nibble"` // the character at index 14 of a request id
}

// Span is a reported span, as far as the header recordings show it.
type Span struct {
	Kind       string            `json:"kind"`
	Name       string            `json:"name"`
	Trace      string            `json:"trace"`
	ID         string            `json:"id"`
	Parent     *string           `json:"parent"`
	Shared     bool              `json:"shared"`
	TraceState *string           `json:"trace_state"`
	Tags       map[string]string `json:"tags"`
}

// Entry is a recording of one request through one proxy: an element of b3.json, b3-w3c.json, otel.json or hcm.json.
type Entry struct {
	ID         string           `json:"id"`
	Note       string           `json:"note"`
	Envoy      []string         `json:"envoy"`
	Format     string           `json:"format"` // "b3", "b3-w3c" or "otel"
	Config     map[string]any   `json:"config"` // defaults of the file included
	Path       string           `json:"path"`
	In         []Pair           `json:"in"`
	Status     int              `json:"status"`
	Out        []Pair           `json:"out"`
	RetriesOut [][]Pair         `json:"retries_out"`
	Response   []Pair           `json:"response"`
	Spans      []Span           `json:"spans"`
	Fresh      map[string]Fresh `json:"fresh"`
}

// Entries returns the recordings of b3.json, b3-w3c.json, otel.json or hcm.json.
func Entries(t testing.TB, name string) []Entry {
	t.Helper()
	var file struct {
		Defaults map[string]any `json:"defaults"`
		Vectors  []Entry        `json:"vectors"`
	}
	Load(t, name, &file)
	if len(file.Vectors) == 0 {
		t.Fatalf("%s holds no recording", name)
	}
	for i := range file.Vectors {
		config := maps.Clone(file.Defaults)
		maps.Copy(config, file.Vectors[i].Config)
		file.Vectors[i].Config = config
	}
	return file.Vectors
}

// Decode puts the entry's settings into config, a struct with Envoy's names as JSON keys. Keys that it does not have
// (the route's: decorator, retries, upstream) are left out; see [Entry.Setting].
func (e *Entry) Decode(t testing.TB, config any) {
	t.Helper()
	data, err := json.Marshal(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(config); err != nil {
		t.Fatalf("%s: %v", e.ID, err)
	}
}

// Text and Number return a setting of the route.
func (e *Entry) Text(key string) string { s, _ := e.Config[key].(string); return s }

// Number returns a setting that is a number.
func (e *Entry) Number(key string) int { n, _ := e.Config[key].(float64); return int(n) }

// Flag returns a setting that is true or false.
func (e *Entry) Flag(key string) bool { b, _ := e.Config[key].(bool); return b }

// Recorded tells whether a header with that lower-case name would be listed in out and response.
func Recorded(name string) bool {
	for _, prefix := range []string{"x-b3-", "x-datadog-", "x-envoy-"} {
		if len(name) > len(prefix) && name[:len(prefix)] == prefix {
			return name != "x-envoy-upstream-service-time"
		}
	}
	return slices.Contains([]string{
		"x-request-id", "x-client-trace-id", "b3", "traceparent", "tracestate", "baggage", "x-ot-span-context", "sw8",
		"uber-trace-id", "grpc-trace-bin", "x-cloud-trace-context", "x-forwarded-for", "x-forwarded-proto",
		"x-forwarded-host", "forwarded",
	}, name)
}
