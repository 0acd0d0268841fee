package check

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBookinfo checks the binaries of the suite, each in the modes that it has.
func TestBookinfo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds four binaries")
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-tags", "grpcnotrace", "-o", bin+string(filepath.Separator), "./cmd/productpage", "./cmd/details", "./cmd/reviews", "./cmd/ratings")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	upstreams := func(services ...string) (args []string) {
		for _, s := range services {
			args = append(args, "--upstream-env", s+"_HOSTNAME={host}", "--upstream-env", s+"_SERVICE_PORT={port}")
		}
		return args
	}
	sdk := []string{"--profile", "sdk", "--require", "request-id,w3c,b3", "--upstream-env", "OTEL_TRACES_EXPORTER=otlp",
		"--upstream-env", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "--upstream-env", "OTEL_EXPORTER_OTLP_TIMEOUT=100"}
	for _, tt := range []struct {
		name, binary, path string
		args               []string
	}{
		{"ratings", "ratings", "/ratings/0", []string{"--profile", "leaf"}},
		{"details", "details", "/details/0", []string{"--profile", "leaf"}},
		{"reviews", "reviews", "/reviews/0", append(upstreams("RATINGS"), "--upstream-env", "ENABLE_RATINGS=true")},
		{"reviews with an SDK", "reviews", "/reviews/0", append(append(upstreams("RATINGS"), "--upstream-env", "ENABLE_RATINGS=true"), sdk...)},
		{"productpage", "productpage", "/productpage", upstreams("DETAILS", "REVIEWS")},
		{"productpage with an SDK", "productpage", "/productpage", append(upstreams("DETAILS", "REVIEWS"), sdk...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--url", "http://127.0.0.1:{port}" + tt.path}, tt.args...)
			var report, logs bytes.Buffer
			if err := Run(t.Context(), append(args, "--", filepath.Join(bin, tt.binary)), &report, &logs); err != nil {
				t.Errorf("%v\n%s\n%s", err, report.String(), logs.String())
			}
		})
	}
}
