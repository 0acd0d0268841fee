package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/bookinfo/services/console/recorded"
)

// drag presses the pointer on an element at a share of its size, moves it and lets go. Headless input is not needed:
// the modules listen to pointer events, which a script may send as a browser does.
const drag = `(css, from, to) => {
 const el = document.querySelector(css), r = el.getBoundingClientRect(), capture = el.setPointerCapture;
 el.setPointerCapture = () => {}; // no real pointer is down
 const send = (type, [x, y], on = el) => on.dispatchEvent(new PointerEvent(type, {bubbles: true, cancelable: true, button: 0, pointerId: 1, clientX: r.left + x * r.width, clientY: r.top + y * r.height}));
 send('pointerdown', from);
 for (let i = 1; i <= 4; i++) send('pointermove', [from[0] + (to[0] - from[0]) * i / 4, from[1] + (to[1] - from[1]) * i / 4]);
 send('pointerup', to);
 el.setPointerCapture = capture;
 return true;
}`

// An area dragged in the scatter plot becomes the time range and the durations of the search, in the address.
func TestBrush(t *testing.T) {
	s := open(t)
	spans, _ := bookinfo(t, 40)
	s.send(spans)
	b := chromium(t)
	b.look(1440, "light")
	b.do(chromedp.Navigate(s.URL + "/traces"))
	b.until("document.querySelector('[data-scatter][data-ready]') !== null")
	all := b.eval("document.querySelectorAll('table.traces tbody tr').length")
	b.eval("(" + drag + ")('[data-scatter] svg', [.5, .02], [.98, .6])")
	b.until("['from', 'to', 'min', 'max'].every(k => new URL(location).searchParams.get(k)) && document.querySelector('table.traces') !== null")
	some := b.eval("document.querySelectorAll('table.traces tbody tr').length")
	if some == all || some == "0" {
		t.Errorf("%s of %s traces are in the area", some, all)
	}
	b.do(chromedp.Navigate(b.eval("location.href")), chromedp.Navigate(s.URL+"/traces"))
	b.eval("history.back(); true")
	b.until("new URL(location).searchParams.has('min') && document.querySelectorAll('table.traces tbody tr').length === " + some)
}

// The topology zooms by its buttons, pans by dragging, fits again, and an edge leads to the traces that cross it.
func TestTopologyByMouse(t *testing.T) {
	s := open(t)
	spans, _ := bookinfo(t, 20)
	s.send(spans)
	b := chromium(t)
	b.look(1440, "light")
	b.do(chromedp.Navigate(s.URL + "/topology"))
	b.until("document.documentElement.classList.contains('js')")
	view := func() string { return b.eval("document.querySelector('svg.topology').getAttribute('viewBox')") }
	whole := view()
	b.do(chromedp.Click(chromedp.CSS(`[data-zoom="in"]`)))
	near := view()
	b.eval("(" + drag + ")('svg.topology', [.5, .5], [.6, .7]); dispatchEvent(new PointerEvent('pointerup')); true")
	moved := view()
	if near == whole || moved == near {
		t.Errorf("whole %s, zoomed %s, panned %s", whole, near, moved)
	}
	b.do(chromedp.Click(chromedp.CSS(`[data-zoom="fit"]`)))
	if got := view(); got != whole {
		t.Errorf("Fit gives %s, want %s", got, whole)
	}
	// A drag ends without a click; a click of its own follows the edge.
	b.eval("[...document.querySelectorAll('a.edge')].find(a => a.textContent.includes('reviews.default v3 calling ratings.default')).dispatchEvent(new MouseEvent('pointerdown', {bubbles: true, button: 0})); true")
	b.eval("[...document.querySelectorAll('a.edge')].find(a => a.textContent.includes('reviews.default v3 calling ratings.default')).dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true})); true")
	b.until("location.pathname.endsWith('/traces') && document.querySelector('table.traces') !== null")
	if got := b.eval("document.querySelector('main').innerText"); !strings.Contains(got, "Traces that cross") {
		t.Error("the edge does not lead to its traces")
	}
}

// A file dropped anywhere on the page is imported, and its trace opens.
func TestImportByDrop(t *testing.T) {
	from, to := open(t), open(t)
	spans := recorded.Find(t, "all/b3/gateway-two-spans").Spans(recorded.Options{Start: time.Now(), Seed: 3})
	from.send(spans)
	_, file := from.get("/traces/" + spans[0].TraceID.String() + "/export/zipkin")
	quoted, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	b := chromium(t)
	b.look(1440, "light")
	b.do(chromedp.Navigate(to.URL + "/traces"))
	b.until("document.documentElement.classList.contains('js')")
	b.eval(`(() => { const data = new DataTransfer();
 data.items.add(new File([` + string(quoted) + `], 'trace.json', {type: 'application/json'}));
 for (const type of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: data}));
 return true; })()`)
	b.until("location.pathname === '/traces/" + spans[0].TraceID.String() + "' && document.querySelectorAll('table[role=treegrid] tr[id]').length > 0")
	if answer, _ := to.get("/traces/" + spans[0].TraceID.String()); answer.StatusCode != http.StatusOK {
		t.Errorf("the trace dropped: %d", answer.StatusCode)
	}
}

// The tag filter completes keys, and after a comparison the values of that key.
func TestTagCompletion(t *testing.T) {
	s := open(t)
	spans, _ := bookinfo(t, 10)
	s.send(spans)
	b := chromium(t)
	b.look(1440, "light")
	b.do(chromedp.Navigate(s.URL + "/traces"))
	b.until("document.getElementById('tag-words') !== null")
	write := func(text string) {
		b.eval("(() => { const i = document.querySelector('[data-complete]'); i.value = " + text + "; i.dispatchEvent(new Event('input')); return true; })()")
	}
	offers := func(want string) {
		b.until("[...document.querySelectorAll('#tag-words option')].some(o => o.value === '" + want + "')")
	}
	write("'http.s'")
	offers("http.status_code")
	write("'component = \"proxy\" and http.method = G'")
	offers(`component = "proxy" and http.method = GET`)
}
