package trace

import (
	"testing"
)

func TestFormatOfASM(t *testing.T) {
	for version, want := range map[string]Format{
		"1.18.0.124": B3, "v1.18.0.124": B3, "1.18.0.125": W3C, "1.18.0": B3, "1.18": B3,
		"1.18.1": W3C, "1.19": W3C, "1.9.7": B3, "2.0": W3C, "1.22.6.110": W3C, "v1.18.0.124-gabc1234-aliyun": B3, "v1.22.6.71-g82dc4b79-aliyun": W3C,
		"1": "", "": "", "1.x": "", "1.18.0.124.1": "", "1.-1": "",
	} {
		if got, err := FormatOfASM(version); got != want || (err != nil) != (want == "") {
			t.Errorf("FormatOfASM(%q) = %q, %v; want %q", version, got, err, want)
		}
	}
}
