package endtoend

import (
	"fmt"
	"testing"

	"example.com/bookinfo/tracetest"
)

// TestStartPage uses the demo's own page as people do.
func TestStartPage(t *testing.T) {
	b := chromium(t)
	suite := tracetest.Start(t, tracetest.Options{})
	b.open(suite.Control())
	b.press("Ask for the page")
	b.shows("200 OK in")
	b.eval(`document.querySelector('button[aria-label="Apply virtual-service-reviews-v3.yaml"]').click(); true`)
	b.until(`document.querySelector('button[aria-label="Undo virtual-service-reviews-v3.yaml"]') !== null`)
	b.press("Ask as jason")
	b.shows(", as jason")
	b.eval(`{const f = document.querySelector('input[name=rate]').form; f.rate.value = 5; f.seconds.value = 1; f.requestSubmit(); true}`)
	b.until(`document.querySelector('#load pre') !== null`)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1440, 390} {
			b.look(width, scheme)
			b.open(suite.Control())
			if b.eval("document.documentElement.scrollWidth <= innerWidth") != "true" {
				t.Errorf("%s, %d pixels: the page overflows sideways", scheme, width)
			}
			b.shoot(fmt.Sprintf("start-%s-%d", scheme, width))
		}
	}
	t.Run("axe", func(t *testing.T) {
		for _, scheme := range []string{"light", "dark"} {
			b := b.on(t)
			b.look(1440, scheme)
			b.open(suite.Control())
			b.audit("start page, " + scheme)
		}
	})
	b.look(1440, "light")
	b.press("Open this trace")
	b.until("document.querySelector('[data-ready]') !== null")
}
