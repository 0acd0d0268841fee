package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"example.com/bookinfo/services/console"
	"example.com/bookinfo/services/console/recorded"
	"example.com/bookinfo/services/console/span"
)

// hostile is a trace whose every text tries to become markup or a script.
func hostile() []span.Span {
	const evil = `<script>document.title='owned'</script>"'><img src=x onerror="document.title='owned'">`
	s := span.Span{TraceID: span.TraceID{Lo: 0xbad}, ID: 1, Kind: span.KindServer, Service: evil, Name: evil, Version: evil, Host: evil,
		Start: time.Now().Add(-time.Minute), Duration: time.Second, Status: span.StatusError,
		Tags:   span.Tags{{Key: "istio.canonical_revision", Value: evil}, {Key: evil, Value: evil}, {Key: "bookinfo.received.traceparent", Value: evil}, {Key: "error", Value: evil}},
		Events: []span.Event{{Time: time.Now(), Name: evil}}}
	child := s
	child.ID, child.ParentID, child.Kind = 2, 1, span.KindClient
	return []span.Span{s, child}
}

func TestTraceDataIsNeverMarkup(t *testing.T) {
	s := open(t)
	s.send(hostile())
	service := url.PathEscape(hostile()[0].Service)
	paths := []string{"/", "/traces", "/topology", "/applications/" + service, "/applications/" + service + "/servers", "/traces/bad", "/traces/bad?span=1",
		"/traces/bad?view=table", "/traces/bad?view=flame", "/traces/bad?view=statistics", "/traces/bad?view=headers", "/traces/bad/spans/1",
		"/traces/bad/export/html", "/compare?a=bad&b=bad", "/settings/applications/" + service, "/help/trace-id"}
	for _, path := range paths {
		answer, body := s.get(path)
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, answer.StatusCode)
		}
		if strings.Contains(body, "<script>document") || strings.Contains(body, "<img src=x") {
			t.Errorf("%s: a span's text became markup", path)
		}
	}
	b := chromium(t)
	b.look(1440, "light")
	for _, path := range paths {
		if strings.Contains(path, "export") {
			continue
		}
		b.do(chromedp.Navigate(s.URL + path))
		if strings.Contains(path, "/traces/bad") && !strings.Contains(path, "view") && !strings.Contains(path, "spans") {
			b.until("document.querySelector('[data-ready]') !== null")
			if !strings.Contains(path, "span=") {
				b.eval("document.querySelector('#s0000000000000001 .service-cell').click()")
			}
			b.until("document.querySelector('.dock .card') !== null")
		}
		if got := b.eval("document.title"); strings.HasPrefix(got, "owned") || got == "owned" {
			t.Errorf("%s: a script of a span ran", path)
		}
	}
}

func TestWaterfallByMouseAndKeyboard(t *testing.T) {
	b := chromium(t)
	s := open(t)
	chain := recorded.Find(t, "all/b3/gateway-two-spans")
	spans := chain.Spans(recorded.Options{Start: time.Now().Add(-time.Minute), Seed: 5, Fail: "ratings.default"})
	s.send(spans)
	b.look(1440, "light")
	b.do(chromedp.Navigate(s.URL + "/traces/" + spans[0].TraceID.String()))
	b.until("document.querySelector('[data-ready]') !== null")
	rows := "document.querySelectorAll('.wf tbody tr[data-i]').length"
	expect := func(expression, want string) {
		t.Helper()
		if got := b.eval(expression); got != want {
			b.shoot("failed-waterfall")
			t.Errorf("%s = %s, want %s", expression, got, want)
		}
	}
	expect(rows, "9")

	// Hovering over a service name shows duration, start time, tags and log events.
	x, y := b.middle("#s" + spans[2].ID.String() + " .service-cell")
	b.do(chromedp.MouseEvent("mouseMoved", x, y))
	b.until("document.querySelector('[data-hover]').matches(':popover-open')")
	for _, want := range []string{"Duration", "Start time", "Tags", "http.status_code", "Log events", "server send"} {
		expect("document.querySelector('[data-hover]').innerText.includes("+quote(want)+")", "true")
	}
	b.shoot("hover")
	// Clicking keeps it open, in the address too; back closes it.
	b.do(chromedp.MouseClickXY(x, y))
	b.until("document.querySelector('.dock .card') !== null")
	expect("new URL(location).searchParams.get('span')", spans[2].ID.String())
	b.do(chromedp.NavigateBack())
	b.until("document.querySelector('.dock .card') === null")

	// Collapse and expand, by keys.
	b.eval("document.querySelector('.wf tbody tr[data-i=\"0\"]').focus()")
	b.do(chromedp.KeyEvent(kb.ArrowLeft))
	b.until(rows + " === 1")
	expect("document.activeElement.getAttribute('aria-expanded')", "false")
	b.do(chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowDown))
	expect(rows, "9")
	expect("document.activeElement.dataset.i", "1")
	b.do(chromedp.KeyEvent(kb.End))
	expect("document.activeElement.dataset.i", "8")
	b.do(chromedp.KeyEvent("["))
	expect("document.querySelector('.levels [aria-current]').textContent", "6")
	b.do(chromedp.KeyEvent("]"))
	// The next error.
	b.do(chromedp.KeyEvent(kb.Home), chromedp.KeyEvent("e"))
	expect("document.activeElement.id", "s"+spans[8].ID.String())
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("document.querySelector('.dock .card') !== null")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("document.querySelector('.dock .card') === null")

	// The filter hides what does not match and keeps what is above it.
	b.do(chromedp.KeyEvent("/"))
	expect("document.activeElement.name", "q")
	b.eval("document.activeElement.value = ''")
	b.do(chromedp.KeyEvent("details.default"))
	b.until("document.querySelector('[data-match-count]').textContent === '2 matches'")
	expect(rows, "5")
	expect("new URL(location).searchParams.get('q')", "details.default")
	b.do(chromedp.KeyEvent(kb.Enter))
	expect("document.querySelectorAll('tr.match').length", "2")
	b.shoot("filter")
	b.eval("document.querySelector('.wf-tools [data-filter]').focus()")
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until(rows + " === 9")

	// Zoom by dragging over the minimap; the address says so and back undoes it.
	left, top := b.middle("[data-mini]")
	b.do(chromedp.DragAndDropXY(left-200, top, left+100, top, 5))
	b.until("new URL(location).searchParams.has('zoom-to')")
	b.shoot("zoom")
	b.do(chromedp.NavigateBack())
	b.until("!new URL(location).searchParams.has('zoom-to')")

	// The sheet of shortcuts.
	b.eval("document.activeElement.blur()")
	b.do(chromedp.KeyEvent("?"))
	b.until("document.getElementById('shortcuts').open")
	b.shoot("shortcuts-sheet")
}

// middle gives the middle of an element in the window.
func (b *browser) middle(selector string) (x, y float64) {
	b.t.Helper()
	for name, to := range map[string]*float64{"left + r.width / 2": &x, "top + r.height / 2": &y} {
		got, err := chromedp.Run(b.ctx, chromedp.Evaluate[float64]("(() => { const r = document.querySelector("+quote(selector)+").getBoundingClientRect(); return r."+name+" })()"))
		if err != nil {
			b.failed(err)
		}
		*to = got
	}
	return x, y
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }

// A trace page opened before its first span completes by itself, and an incomplete one in place.
func TestTraceCompletesInPlace(t *testing.T) {
	b := chromium(t)
	s := open(t)
	chain := recorded.Find(t, "all/b3/gateway-two-spans")
	spans := chain.Spans(recorded.Options{Start: time.Now(), Seed: 9})
	b.look(1440, "light")
	b.do(chromedp.Navigate(s.URL + "/traces/" + spans[0].TraceID.String()))
	b.until("document.querySelector('[data-waiting]') !== null")
	s.send(spans[4:])
	b.until("document.querySelector('[data-ready]') !== null")
	b.until("document.querySelector('[data-arriving]') !== null")
	b.until("document.querySelector('.k-missing') !== null")
	b.eval("window.same = true")
	s.send(spans[:4])
	b.until("document.querySelector('.k-missing') === null && document.querySelectorAll('.wf tbody tr[data-i]').length === 9")
	if b.eval("window.same") != "true" {
		t.Error("the page was loaded anew")
	}
}

func TestLivePauseAndClear(t *testing.T) {
	b := chromium(t)
	s := open(t)
	chain := recorded.Find(t, "all/b3/gateway-two-spans")
	next := uint64(100)
	request := func() {
		next++
		s.send(chain.Spans(recorded.Options{Start: time.Now().Add(50 * time.Millisecond), Seed: next}))
	}
	request()
	b.look(1440, "light")
	b.do(chromedp.Navigate(s.URL + "/traces?order=time"))
	shown := "[...document.querySelectorAll('tr[data-since]')].filter(r => !r.hidden).length"
	b.until("document.querySelector('[data-livebar]').hidden === false")
	b.until(shown + " === 1")
	request()
	b.until(shown + " === 2")
	b.eval("document.querySelector('[data-pause]').click()")
	request()
	b.eval("document.querySelector('[data-clear]').click()")
	if got := b.eval(shown); got != "0" {
		t.Errorf("%s traces after Clear", got)
	}
	b.eval("document.querySelector('[data-pause]').click()")
	b.until(shown + " >= 0")
	request()
	b.until(shown + " >= 1")
}

// Quota: Save asks in a Note dialog, OK takes effect at once; senders get 406 and the help page says so.
func TestQuota(t *testing.T) {
	s := open(t)
	spans, _ := bookinfo(t, 3)
	s.send(spans)
	// Without scripts a page stands in for the dialog.
	answer, body := s.post("/settings/cluster", url.Values{"quota-spans": {"5"}, "quota-bytes": {"0"}})
	if answer.StatusCode != http.StatusOK || !strings.Contains(body, "<h1>Note</h1>") || !strings.Contains(body, "refused until midnight") {
		t.Fatalf("no Note: %d %s", answer.StatusCode, body)
	}
	if status := s.send(spans[:1]); status != http.StatusAccepted {
		t.Errorf("the quota changed before OK: %d", status)
	}
	b := chromium(t)
	b.look(1440, "light")
	b.do(chromedp.Navigate(s.URL + "/settings/cluster"))
	b.until("document.documentElement.classList.contains('js')")
	b.do(chromedp.SetValue(chromedp.CSS(`input[name="quota-spans"]`), "5"), chromedp.Click(chromedp.CSS("form[data-note] button")))
	b.until("document.getElementById('note').open")
	b.shoot("note")
	b.do(chromedp.Click(chromedp.CSS("[data-ok]")))
	b.until("document.querySelector('.note.ok') !== null")
	if status := s.send(spans[:1]); status != http.StatusNotAcceptable {
		t.Errorf("over the quota: %d, want 406", status)
	}
	b.do(chromedp.Navigate(s.URL + "/help/no-data"))
	if got := b.eval("document.querySelector('.note').innerText"); !strings.Contains(got, "quota is used up") {
		t.Errorf("the help page says %q", got)
	}
	b.shoot("quota-used-up")
	if answer, _ := s.post("/settings/cluster", url.Values{"quota-spans": {"many"}, "quota-bytes": {"0"}, "ok": {"1"}}); answer.StatusCode != http.StatusBadRequest {
		t.Errorf("quota many: %d", answer.StatusCode)
	}
}

func TestApplicationSettings(t *testing.T) {
	s := open(t)
	spans, id := bookinfo(t, 4)
	s.send(spans)
	answer, _ := s.post("/settings/applications/reviews.default", url.Values{"show": {"server-name"}, "tags": {"team:books\ntier=1"}})
	if answer.StatusCode != http.StatusSeeOther {
		t.Fatalf("save: %d", answer.StatusCode)
	}
	if _, body := s.get("/traces/" + id.String()); !strings.Contains(body, "reviews-v") || !strings.Contains(body, ">Server name<") {
		t.Error("the waterfall does not show server names")
	}
	if _, body := s.get("/?tag=team:books"); !strings.Contains(body, "reviews.default</a>") || strings.Contains(body, "ratings.default</a>") {
		t.Error("Filter by Tag does not keep just the tagged application")
	}
	for _, bad := range []url.Values{{"show": {"both"}}, {"show": {"ip"}, "tags": {"no separator"}}} {
		if answer, _ := s.post("/settings/applications/reviews.default", bad); answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%v: %d", bad, answer.StatusCode)
		}
	}
}

// With scripts off every page still says what it has to say, as tables and links.
func TestWithoutScripts(t *testing.T) {
	b := chromium(t)
	s := open(t)
	spans, id := bookinfo(t, 30)
	s.send(spans)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	for _, width := range []int{1440, 390} {
		b.look(width, "light")
		for path, want := range map[string]string{
			"/": "table.apps a", "/traces": "table.traces a.id", "/applications/reviews.default": "details.as-table", "/settings/cluster": "form[data-note] button",
			"/traces/" + id.String(): "table[role=treegrid] tr[id] a", "/traces/" + id.String() + "?span=" + spans[1].ID.String(): ".dock .card",
			"/traces/1234567890abcdef": "meta[http-equiv=refresh]", "/help/no-data": ".checks", "/help/trace-id": "textarea",
		} {
			b.do(chromedp.Navigate(s.URL + path))
			if found, err := chromedp.Run(b.ctx, chromedp.Nodes(chromedp.CSS(want), chromedp.NodeReady)); err != nil || len(found) == 0 {
				t.Errorf("%s lacks %s: %v", path, want, err)
			}
		}
		b.do(chromedp.Navigate(s.URL + "/traces/" + id.String()))
		b.shoot("without-scripts-" + map[int]string{1440: "wide", 390: "narrow"}[width])
	}
}

func TestImport(t *testing.T) {
	s := open(t)
	spans := recorded.Find(t, "all/b3/gateway-two-spans").Spans(recorded.Options{Start: time.Now(), Seed: 3})
	s.send(spans)
	_, exported := s.get("/traces/" + spans[0].TraceID.String() + "/export/otlp")
	other := open(t, func(c *console.Config) { c.QuotaSpans = 0 })
	answer := other.upload(exported)
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/traces/"+spans[0].TraceID.String() {
		t.Fatalf("import: %d %s", answer.StatusCode, answer.Header.Get("Location"))
	}
	if _, body := other.get(answer.Header.Get("Location")); !strings.Contains(body, "ratings.default") {
		t.Error("the imported trace lacks its spans")
	}
	if answer := other.upload("{"); answer.StatusCode != http.StatusBadRequest {
		t.Errorf("half a file: %d", answer.StatusCode)
	}
}
