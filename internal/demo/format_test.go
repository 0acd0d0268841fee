package demo

import (
	"testing"

	"example.com/bookinfo/services/sidecar/trace"
)

func TestFormatOf(t *testing.T) {
	for version, want := range map[string]trace.Format{
		"1.18.0.124": trace.B3, "v1.18.0.124": trace.B3, "1.18.0.125": trace.W3C, "1.18.0": trace.B3, "1.18": trace.B3,
		"1.18.1": trace.W3C, "1.19": trace.W3C, "1.9.7": trace.B3, "2.0": trace.W3C, "1.22.6.110": trace.W3C,
		"1": "", "": "", "1.x": "", "1.18.0.124.1": "", "1.-1": "",
	} {
		if got, err := FormatOf(version); got != want || (err != nil) != (want == "") {
			t.Errorf("FormatOf(%q) = %q, %v; want %q", version, got, err, want)
		}
	}
}
