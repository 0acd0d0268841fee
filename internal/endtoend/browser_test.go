package endtoend

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

// browser is a Chromium tab in which somebody follows a lesson.
type browser struct {
	t   testing.TB
	ctx context.Context
}

// chromium starts a browser; the test is skipped where none is installed.
func chromium(t testing.TB) *browser {
	t.Helper()
	path := need.Tool(t, "chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("disable-dev-shm-usage", true))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, 8*time.Minute)
	t.Cleanup(stop)
	b := &browser{t, ctx}
	b.look(1440, "light")
	return b
}

// on is the same tab for a subtest.
func (b *browser) on(t testing.TB) *browser { return &browser{t, b.ctx} }

// stepTimeout bounds one step on a loaded machine.
const stepTimeout = 30 * time.Second

// call sends a command of the DevTools protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

// open goes to an address.
func (b *browser) open(address string) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, stepTimeout)
	defer stop()
	if err := chromedp.Do(ctx, chromedp.Navigate(address)); err != nil {
		b.failed(fmt.Errorf("open %s: %w", address, err))
	}
}

// eval gives the value of a JavaScript expression as text; a promise's when it is fulfilled.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, stepTimeout)
	defer stop()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[any](expression, chromedp.EvalAsValue, chromedp.EvalAwaitPromise))
	if err != nil {
		b.failed(fmt.Errorf("%.200s: %w", expression, err))
	}
	return fmt.Sprint(out)
}

// until waits for an expression to be true, also across a change of page.
func (b *browser) until(expression string) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, stepTimeout)
	defer stop()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(stepTimeout)))
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "navigated") && !strings.Contains(err.Error(), "Cannot find context") {
			b.failed(fmt.Errorf("waiting for %s: %w", expression, err))
		}
	}
}

// shows waits until the page's text has the words.
func (b *browser) shows(words string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.body !== null && document.body.innerText.includes(%q)", words))
}

// press clicks the button or link with that text.
func (b *browser) press(words string) {
	b.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll('button, a, summary')].find(e => e.textContent.trim() === %q && e.checkVisibility())", words)
	b.until(find + " !== undefined")
	b.eval(find + ".click(); true")
}

// look sets the window's width and the colour scheme.
func (b *browser) look(width int64, scheme string) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// failed ends the test with a picture of what the browser shows.
func (b *browser) failed(err error) {
	b.t.Helper()
	b.shoot("failed-" + strings.ReplaceAll(b.t.Name(), "/", "-"))
	b.t.Fatal(err)
}

// shoot writes a picture of the window into the folder that BOOKINFO_SCREENSHOTS names, if it does.
func (b *browser) shoot(name string) {
	folder := os.Getenv("BOOKINFO_SCREENSHOTS")
	if folder == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(folder, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Log(err)
	}
}

// audit has axe-core look at the page. BOOKINFO_AXE names its axe.min.js (npm: axe-core).
func (b *browser) audit(what string) {
	b.t.Helper()
	file := os.Getenv("BOOKINFO_AXE")
	if file == "" {
		need.Missing(b.t, "axe", "BOOKINFO_AXE does not name axe-core's axe.min.js")
	}
	axe, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	b.eval(string(axe) + "; true")
	found := b.eval(`axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.target.join(' ') + ' ' + (n.any[0]?.message || n.all[0]?.message || '')).join(' | ')).join('\n'))`)
	if found != "" {
		b.t.Errorf("%s: %s", what, found)
	}
}
