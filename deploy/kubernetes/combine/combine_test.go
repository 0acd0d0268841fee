package combine_test

import (
	"os"
	"slices"
	"testing"

	"example.com/bookinfo/deploy/kubernetes/combine"
)

// TestEveryComponentIsOnAnAxis: a component that nobody combines is one that nobody tried.
func TestEveryComponentIsOnAnAxis(t *testing.T) {
	folders, err := os.ReadDir("../components")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	product := 1
	for _, axis := range combine.Axes() {
		known = append(known, slices.Concat(axis.Options...)...)
		product *= len(axis.Options)
	}
	for _, folder := range folders {
		if !slices.Contains(known, folder.Name()) {
			t.Errorf("component %s is on no axis", folder.Name())
		}
	}
	if len(known) != len(folders) {
		t.Errorf("%d components, the axes have %d", len(folders), len(known))
	}
	if product != 82_944 {
		t.Errorf("there are %d combinations, the comment says 82,944", product)
	}
}
