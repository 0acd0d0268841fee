package demo

import (
	"fmt"
	"strconv"
	"strings"

	"example.com/bookinfo/services/sidecar/trace"
)

// lastB3 is the last version of ASM whose sidecars write B3; later ones write W3C Trace Context.
var lastB3 = [4]int{1, 18, 0, 124}

// FormatOf returns the format that sidecars of an ASM version write, such as 1.18.0.124. A version of fewer parts is
// the first of its line.
func FormatOf(asmVersion string) (trace.Format, error) {
	wrong := fmt.Errorf("%q: want a version of ASM, such as 1.18.0.124 or 1.22", asmVersion)
	words := strings.Split(strings.TrimPrefix(asmVersion, "v"), ".")
	if len(words) < 2 || len(words) > len(lastB3) {
		return "", wrong
	}
	var parts [4]int
	for i, word := range words {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 {
			return "", wrong
		}
		parts[i] = n
	}
	for i := range parts {
		if parts[i] != lastB3[i] {
			if parts[i] > lastB3[i] {
				return trace.W3C, nil
			}
			break
		}
	}
	return trace.B3, nil
}
