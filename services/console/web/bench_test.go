package web_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"example.com/bookinfo/services/console/ingest"
	"example.com/bookinfo/services/console/recorded"
	"example.com/bookinfo/services/console/span"

	"example.com/bookinfo/services/console"
)

// large makes one trace of n spans: calls of calls, four below each, with the tags that sidecars set.
func large(b testing.TB, n int) []span.Span {
	pattern := recorded.Find(b, "all/b3/gateway-two-spans").Spans(recorded.Options{Start: time.Now().Add(-time.Minute), Seed: 1})
	spans := make([]span.Span, n)
	start := time.Now().Add(-time.Minute)
	for i := range spans {
		s := pattern[i%len(pattern)]
		s.ID, s.ParentID = span.ID(i+1), span.ID((i+3)/4)
		s.TraceID = span.TraceID{Hi: 7, Lo: uint64(n)}
		from := start
		if i > 0 {
			p := &spans[(i+3)/4-1]
			from = p.Start.Add(p.Duration / 5 * time.Duration((i-1)%4))
			s.Duration = max(p.Duration/5, time.Microsecond)
		} else {
			s.Duration = 20 * time.Second
		}
		s.Start = from
		if i%97 == 5 {
			s.Status, s.Tags = span.StatusError, append(span.Tags{{Key: "error", Value: "true"}}, s.Tags...)
		}
		spans[i] = s
	}
	return spans
}

// BenchmarkTracePage measures, in a real browser, the page of a trace, come to from another page of the console as
// people do: time until the answer was read, until the first row was painted, until the script has taken over, the time
// between frames while scrolling from one end to the other, and what crossed the wire.
func BenchmarkTracePage(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000, 50_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s := open(b, func(c *console.Config) { c.Limits = ingest.DefaultLimits() })
			spans := large(b, n)
			s.send(spans)
			tab := chromium(b)
			tab.look(1440, "light")
			call(tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: firstRow})
			url := s.URL + "/traces/" + spans[0].TraceID.String() + "?fold=0"
			var answer, first, ready, wheel50, wheel95, drag50, drag95, own, data float64
			for b.Loop() {
				tab.do(chromedp.Navigate(s.URL+"/help/shortcuts"), chromedp.Navigate(url))
				tab.until("document.querySelector('[data-ready]') !== null && ['first-contentful-paint', 'first-row'].every(n => performance.getEntriesByName(n).length)")
				answer += tab.number("performance.getEntriesByType('navigation')[0].responseEnd")
				first += tab.number("Math.max(...['first-contentful-paint', 'first-row'].map(n => performance.getEntriesByName(n)[0].startTime))")
				ready += tab.number("performance.getEntriesByName('waterfall')[0].startTime")
				own += tab.number("performance.getEntriesByType('navigation')[0].transferSize + performance.getEntriesByType('resource').filter(e => !e.name.includes('nodes.json')).reduce((n, e) => n + e.transferSize, 0)")
				data += tab.number("performance.getEntriesByType('resource').filter(e => e.name.includes('nodes.json')).reduce((n, e) => n + e.transferSize, 0)")
				wheel50 += tab.number(wheelSpun)
				wheel95 += tab.number("window.frames95")
				drag50 += tab.number(dragAll)
				drag95 += tab.number("window.frames95")
			}
			k := float64(b.N)
			b.ReportMetric(answer/k, "ms-to-answer")
			b.ReportMetric(first/k, "ms-to-first-row")
			b.ReportMetric(ready/k, "ms-to-script")
			b.ReportMetric(wheel50/k, "ms-frame-wheel-p50")
			b.ReportMetric(wheel95/k, "ms-frame-wheel-p95")
			b.ReportMetric(drag50/k, "ms-frame-drag-p50")
			b.ReportMetric(drag95/k, "ms-frame-drag-p95")
			b.ReportMetric(own/k/1024, "KiB-page")
			b.ReportMetric(data/k/1024, "KiB-data")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// firstRow marks the end of the first frame which has a row of the waterfall.
const firstRow = `(function look() {
 requestAnimationFrame(() => document.querySelector('.wf tbody tr[data-i]')?.offsetHeight ? setTimeout(() => performance.mark('first-row')) : look());
})()`

// wheelSpun scrolls as fast as a wheel that is spun, four rows a frame, and dragAll through the whole waterfall, in 120 frames
// each. They give the middle time between two frames.
const (
	wheelSpun = `(async () => { const wf = document.querySelector('[data-waterfall]'); wf.scrollTop = 0; return await (` + scroll + `)(112); })()`
	dragAll   = `(async () => { const wf = document.querySelector('[data-waterfall]'); wf.scrollTop = 0; return await (` + scroll + `)((wf.scrollHeight - wf.clientHeight) / 120); })()`
)

const scroll = `step => new Promise(done => {
 const wf = document.querySelector('[data-waterfall]'), times = [];
 let last = performance.now(), n = 0;
 const frame = now => {
  times.push(now - last); last = now; wf.scrollTop += step;
  if (++n < 121) return requestAnimationFrame(frame);
  times.shift(); times.sort((a, b) => a - b);
  window.frames95 = times[Math.floor(times.length * .95)];
  done(times[Math.floor(times.length / 2)]);
 };
 requestAnimationFrame(frame);
})`

// BenchmarkPageBytes gives what each page costs on the wire on a first visit, everything it loads included.
func BenchmarkPageBytes(b *testing.B) {
	s := open(b)
	spans, id := bookinfo(b, 60)
	s.send(spans)
	for name, path := range map[string]string{"applications": "/", "overview": "/applications/reviews.default", "explorer": "/traces",
		"trace": "/traces/" + id.String(), "compare": "/compare", "cluster": "/settings/cluster", "no-data": "/help/no-data", "trace-id": "/help/trace-id"} {
		b.Run(name, func(b *testing.B) {
			var size float64
			for b.Loop() {
				tab := chromium(b)
				tab.look(1440, "light")
				tab.do(chromedp.Navigate(s.URL + path))
				tab.until("document.documentElement.classList.contains('js')")
				size += tab.number("performance.getEntriesByType('navigation')[0].transferSize + performance.getEntriesByType('resource').reduce((n, e) => n + e.transferSize, 0)")
			}
			b.ReportMetric(size/float64(b.N)/1024, "KiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// number gives the value of a JavaScript expression.
func (b *browser) number(expression string) float64 {
	b.t.Helper()
	v, err := strconv.ParseFloat(b.eval(expression), 64)
	if err != nil {
		b.failed(fmt.Errorf("%s: %w", expression, err))
	}
	return v
}
