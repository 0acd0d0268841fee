// Package need tells a test whether what it needs beside Go is on this machine.
package need

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Required is the environment variable with a comma list of tools whose absence is a failure and not a reason to
// skip: CI sets it after installing them, so that a missing install step cannot hide behind a skipped test.
const Required = "BOOKINFO_TEST_REQUIRE"

// candidates lists, for each tool, the executables of which one must be on the PATH.
func candidates() map[string][]string {
	return map[string][]string{
		"chromium": {"chromium", "chromium-browser", "google-chrome"},
		"mariadb":  {"mariadbd", "mysqld"},
		"envoy":    {"envoy"},
		"docker":   {"docker"},
		"python":   {"python3"},
		"node":     {"node"},
		"java":     {"java"},
		"maven":    {"mvn"},
		"npm":      {"npm"},
		"kubectl":  {"kubectl"},
		"jaeger":   {"jaeger-all-in-one"},

		"telemetrygen": {"telemetrygen"},
	}
}

// Tool returns the path of the program that stands for name, for example "chromium". Without one the test is
// skipped, or fails when Required lists the name.
func Tool(t testing.TB, name string) string {
	t.Helper()
	names := candidates()[name]
	for _, program := range names {
		if path, err := exec.LookPath(program); err == nil {
			if name == "docker" && exec.Command(path, "info").Run() != nil {
				continue
			}
			return path
		}
	}
	Missing(t, name, "none of "+strings.Join(names, ", ")+" answers on this machine")
	return ""
}

// Missing skips the test because name is not there, or fails it when Required lists the name.
func Missing(t testing.TB, name, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(Required), ","), name) {
		t.Fatalf("needs %s: %s (and %s demands it)", name, why, Required)
	}
	t.Skipf("needs %s: %s", name, why)
}
