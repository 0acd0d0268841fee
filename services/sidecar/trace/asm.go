package trace

import (
	"fmt"
	"strconv"
	"strings"
)

// lastB3 is the last version of Alibaba Cloud Service Mesh whose sidecars write B3; later ones write W3C Trace Context.
var lastB3 = [4]int{1, 18, 0, 124}

// FormatOfASM returns the format that the sidecars of a version of ASM write, such as 1.18.0.124. A version of fewer parts is
// the first of its line; what stands behind a hyphen, as in the console's v1.22.6.71-g82dc4b79-aliyun, does not matter.
func FormatOfASM(asmVersion string) (Format, error) {
	wrong := fmt.Errorf("%q: want a version of ASM, such as 1.18.0.124 or 1.22", asmVersion)
	number, _, _ := strings.Cut(strings.TrimPrefix(asmVersion, "v"), "-")
	words := strings.Split(number, ".")
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
				return W3C, nil
			}
			break
		}
	}
	return B3, nil
}
