package web_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"example.com/bookinfo/internal/need"
)

// TestAccessible runs axe-core over every page in both themes. BOOKINFO_AXE names its axe.min.js (npm: axe-core).
func TestAccessible(t *testing.T) {
	file := os.Getenv("BOOKINFO_AXE")
	if file == "" {
		need.Missing(t, "axe", "BOOKINFO_AXE does not name axe-core's axe.min.js")
	}
	axe, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b := chromium(t)
	s := open(t)
	spans, id := bookinfo(t, 60)
	s.send(spans)
	trace := "/traces/" + id.String()
	for _, path := range []string{"/", "/applications/reviews.default", "/applications/reviews.default/traces", "/applications/reviews.default/servers",
		"/topology", "/traces", trace, trace + "?span=" + spans[3].ID.String() + "&q=ratings", trace + "?view=table", trace + "?view=flame",
		trace + "?view=statistics", trace + "?view=headers", "/compare?a=" + id.String() + "&b=" + spans[len(spans)-1].TraceID.String(),
		"/settings/applications/reviews.default", "/settings/cluster", "/help/no-data", "/help/trace-id?headers=x-b3-traceid:+463ac35c9f6413ad48485a3953bb6124&format=b3",
		"/help/shortcuts", "/traces/1234567890abcdef", "/nowhere"} {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int{1440, 390} {
				b.look(width, scheme)
				b.do(chromedp.Navigate(s.URL + path))
				b.until("document.documentElement.classList.contains('js')")
				if strings.HasPrefix(path, trace) && !strings.Contains(path, "view") {
					b.until("document.querySelector('[data-ready]') !== null")
				}
				b.eval(string(axe) + "; true")
				found := b.eval(`axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.target.join(' ') + ' ' + (n.any[0]?.message || n.all[0]?.message || '')).join(' | ')).join('\n'))`)
				if found != "" {
					t.Errorf("%s", fmt.Sprintf("%s, %s, %d pixels: %s", path, scheme, width, found))
				}
			}
		}
	}
}
