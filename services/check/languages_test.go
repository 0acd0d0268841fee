package check

import (
	"bytes"
	"path/filepath"
	"testing"

	"example.com/bookinfo/internal/need"
)

// TestLanguages checks the example apps of docs/languages.
func TestLanguages(t *testing.T) {
	folder := filepath.Join("..", "..", "docs", "languages")
	for _, tt := range []struct {
		tool    string // of internal/need; Go itself is there
		command []string
	}{
		{"", []string{"go", "run", "../../docs/languages/go"}},
		{"python", []string{"python3", filepath.Join(folder, "python", "app.py")}},
		{"node", []string{"node", filepath.Join(folder, "node", "app.mjs")}},
		{"java", []string{"java", filepath.Join(folder, "java", "App.java")}},
	} {
		t.Run(tt.command[0], func(t *testing.T) {
			if tt.tool != "" {
				tt.command[0] = need.Tool(t, tt.tool)
			}
			var report, logs bytes.Buffer
			args := append([]string{"--url", "http://127.0.0.1:{port}/", "--upstream-env", "BACKEND_URL", "--start-timeout", "2m", "--require", "-x-b3-flags", "--"}, tt.command...)
			if err := Run(t.Context(), args, &report, &logs); err != nil {
				t.Errorf("%v\n%s\n%s", err, report.String(), logs.String())
			}
		})
	}
}
