package web_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"example.com/bookinfo/internal/need"
)

// browser is a Chromium tab.
type browser struct {
	t   testing.TB
	ctx context.Context
}

// chromium starts a browser; the test is skipped where none is installed.
func chromium(t testing.TB) *browser {
	t.Helper()
	path := need.Tool(t, "chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("disable-dev-shm-usage", true),
		// Without a graphics card Chromium would emulate one in software, which costs more than drawing by software does.
		chromedp.Flag("disable-gpu", true))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(stop)
	b := &browser{t, ctx}
	call(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "UTC"})
	return b
}

// do runs actions and fails the test if one does.
func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, 20*time.Second)
	defer stop()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.failed(err)
	}
}

// failed ends the test with a picture of what the browser shows.
func (b *browser) failed(err error) {
	b.t.Helper()
	b.shoot("failed-" + strings.ReplaceAll(b.t.Name(), "/", "-"))
	b.t.Fatal(err)
}

// call sends a command of the DevTools protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// eval gives the value of a JavaScript expression as text; a promise's when it is fulfilled.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, 20*time.Second)
	defer stop()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[any](expression, chromedp.EvalAsValue, chromedp.EvalAwaitPromise))
	if err != nil {
		b.failed(fmt.Errorf("%s: %w", expression, err))
	}
	return fmt.Sprint(out)
}

// until waits for an expression to be true, also across a change of page.
func (b *browser) until(expression string) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, 10*time.Second)
	defer stop()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(10*time.Second)))
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "navigated") && !strings.Contains(err.Error(), "Cannot find context") {
			b.failed(fmt.Errorf("waiting for %s: %w", expression, err))
		}
	}
}

// look sets the window's width and the colour scheme.
func (b *browser) look(width int, scheme string) {
	b.t.Helper()
	height := int64(900)
	if width < 500 {
		height = 844
	}
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: int64(width), Height: height,
		DeviceScaleFactor: 1, Mobile: width < 500})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// shoot writes a picture of the window into the folder that BOOKINFO_SCREENSHOTS names, if it does.
func (b *browser) shoot(name string) {
	folder := os.Getenv("BOOKINFO_SCREENSHOTS")
	if folder == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Log(err)
		return
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		b.t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o644); err != nil {
		b.t.Error(err)
	}
}

// TestScreens opens every page wide and narrow, light and dark: nothing may overflow sideways, no script may fail and
// no request may leave the console.
func TestScreens(t *testing.T) {
	b := chromium(t)
	s := open(t)
	spans, id := bookinfo(t, 120)
	s.send(spans)
	trace := "/traces/" + id.String()
	second := spans[len(spans)-1].TraceID.String()
	pages := map[string]string{
		"applications": "/", "overview": "/applications/reviews.default", "servers": "/applications/reviews.default/servers", "topology": "/topology",
		"explorer": "/traces", "trace": trace, "trace-open": trace + "?span=" + spans[3].ID.String(), "trace-joined": trace + "?halves=joined",
		"table": trace + "?view=table", "flame": trace + "?view=flame", "statistics": trace + "?view=statistics", "headers": trace + "?view=headers",
		"compare": "/compare?a=" + id.String() + "&b=" + second, "settings": "/settings/applications/reviews.default", "cluster": "/settings/cluster",
		"no-data": "/help/no-data", "trace-id": "/help/trace-id?headers=x-b3-traceid:+463ac35c9f6413ad48485a3953bb6124&format=b3", "shortcuts": "/help/shortcuts",
		"waiting": "/traces/1234567890abcdef",
	}
	watched := b.watch(s.URL)
	for name, path := range pages {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int{1440, 390} {
				b.look(width, scheme)
				b.do(chromedp.Navigate(s.URL + path))
				b.until("document.documentElement.classList.contains('js')")
				if path == trace || strings.HasPrefix(name, "trace-o") || name == "trace-joined" {
					b.until("document.querySelector('[data-ready]') !== null")
				}
				if wide := b.eval("document.documentElement.scrollWidth > innerWidth + 1"); wide != "false" {
					t.Errorf("%s overflows at %d pixels: %s", name, width, b.eval("[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .wf, .tabs, .graph')).slice(0,9).map(e => e.tagName + '.' + e.className + Math.round(e.getBoundingClientRect().right)).join(' ')"))
				}
				if wide := b.eval("[...document.querySelectorAll('.dock')].some(e => e.scrollWidth > e.clientWidth + 1)"); wide != "false" {
					t.Errorf("%s: the details of a span overflow at %d pixels", name, width)
				}
				b.shoot(fmt.Sprintf("%s-%d-%s", name, width, scheme))
			}
		}
	}
	for _, problem := range watched() {
		t.Error(problem)
	}
}
