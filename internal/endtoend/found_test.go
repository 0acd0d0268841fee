package endtoend

import (
	"testing"

	"example.com/bookinfo/tracetest"
)

// TestFoundFromThePages asks the pages what docs/lessons/found-from-the-pages.md answers by them.
func TestFoundFromThePages(t *testing.T) {
	tab := chromium(t)
	explorer := func(b *browser, suite *tracetest.Suite, query string) {
		b.open(suite.Console() + "/traces" + query)
		b.until("document.querySelector('a.id') !== null")
	}
	first := func(b *browser) {
		b.eval("document.querySelector('tbody a.id').click(); true")
		b.until("document.querySelector('[data-ready]') !== null")
	}
	apply := func(b *browser, suite *tracetest.Suite, files ...string) {
		for _, file := range files {
			b.open(suite.Control())
			b.eval(`document.querySelector('button[aria-label="Apply ` + file + `"]').click(); true`)
			b.until(`document.querySelector('button[aria-label="Undo ` + file + `"]') !== null`)
		}
	}
	t.Run("slow", func(t *testing.T) {
		b, suite := tab.on(t), tracetest.Start(t, tracetest.Options{})
		apply(b, suite, "virtual-service-reviews-test-v2.yaml", "virtual-service-ratings-test-delay.yaml")
		b.press("Ask as jason")
		b.shows(", as jason")
		suite.Traces()
		explorer(b, suite, "?order=duration")
		first(b)
		b.shows("ratings.default")
		b.shoot("found-slow")
	})
	t.Run("fails", func(t *testing.T) {
		b, suite := tab.on(t), tracetest.Start(t, tracetest.Options{})
		apply(b, suite, "virtual-service-reviews-test-v2.yaml", "virtual-service-ratings-test-abort.yaml")
		for range 3 {
			b.press("Ask as jason")
			b.shows(", as jason")
			b.open(suite.Control())
			b.press("Ask for the page")
			b.until("document.querySelector('#request dl') !== null && !document.querySelector('#request dl').innerText.includes('jason')")
		}
		suite.Traces()
		explorer(b, suite, "?status=error")
		first(b)
		b.shows("500")
		b.eval("[...document.querySelectorAll('button')].find(e => e.textContent.includes('↓ Error'))?.click(); true")
		b.shoot("found-fails")
	})
	t.Run("apart", func(t *testing.T) {
		b, suite := tab.on(t), tracetest.Start(t, tracetest.Options{Forward: "none", Reviews: "v3"})
		suite.Get("/productpage")
		explorer(b, suite, "")
		b.shows("Nothing forwarded") // some seconds after the last span
		b.shoot("found-apart")
	})
	t.Run("silence", func(t *testing.T) {
		b, suite := tab.on(t), tracetest.Start(t, tracetest.Options{})
		l := &learner{browser: b, suite: suite}
		l.setQuota("20")
		for range 4 {
			suite.Get("/productpage")
		}
		suite.Traces()
		b.open(suite.Console() + "/help/no-data")
		b.shows("406")
		b.shoot("found-silence")
	})
}
