package productpage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"example.com/bookinfo/internal/need"
)

// browser starts a real Chromium with one tab.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := need.Tool(t, "chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	do(t, ctx, command(network.Enable, network.EnableParams{})) // starts it; a timeout here would end it
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// step is something that the browser does.
type step = chromedp.Action[chromedp.Void]

// command is a step of the browser's own protocol.
func command[P, R any](c cdp.Command[P, R], params P) step {
	return func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, tab, c, params)
		return chromedp.Void{}, err
	}
}

func do(t *testing.T, ctx context.Context, steps ...step) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

func ask[T any](t *testing.T, ctx context.Context, action chromedp.Action[T]) T {
	t.Helper()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// look is how a page is looked at.
type look struct {
	name          string
	width, height int64
	scheme        string
	noScripts     bool
}

func looks() []look {
	return []look{
		{"wide-light", 1440, 900, "light", false},
		{"wide-dark", 1440, 900, "dark", false},
		{"phone-light", 390, 844, "light", false},
		{"phone-dark", 390, 844, "dark", false},
		{"phone-noscript", 390, 844, "light", true},
	}
}

func (l look) set() step {
	return chromedp.Steps(
		command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.width < 500,
		}),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
		}),
		scripts(!l.noScripts),
	)
}

func scripts(on bool) step {
	return command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

func forgetCookies() step { return command(network.ClearBrowserCookies, cdp.Empty{}) }

// shoot writes a screenshot of the whole page to the folder that BOOKINFO_SCREENSHOTS names.
func shoot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	folder := os.Getenv("BOOKINFO_SCREENSHOTS")
	if folder == "" {
		folder = t.TempDir()
	}
	image := ask(t, ctx, chromedp.FullScreenshot(100))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "productpage-"+name+".png"), image, 0o644); err != nil {
		t.Fatal(err)
	}
}

// scenes are the pages as a user meets them.
func scenes() []struct {
	name, path, user string
	options          []option
} {
	red := strings.ReplaceAll(reviewsV2, "black", "red")
	ratingError := `{"podname":"reviews-v3-58bbd6f7c9-t6rjg","clustername":"shanghai","reviews":[{"reviewer":"Reviewer1","text":"First text.","rating":{"error":"Ratings service is currently unavailable"}}]}`
	down := answer(503, "")
	return []struct {
		name, path, user string
		options          []option
	}{
		{"index", "/", "", nil},
		{"stars", "/productpage", "", []option{reviews(answer(200, red))}},
		{"user", "/productpage", "jason", nil},
		{"rating-error", "/productpage", "", []option{reviews(answer(200, ratingError))}},
		{"failed", "/productpage", "", []option{details(down), reviews(down)}},
		{"notfound", "/nothing", "", nil},
	}
}

// TestPagesInABrowser looks at every page in every way: nothing sticks out, nothing is loaded from elsewhere, nothing
// is blocked or missing, and axe finds nothing.
func TestPagesInABrowser(t *testing.T) {
	ctx := browser(t)
	axe := axeSource(t)
	watch := watchNetwork(t, ctx)
	traced := command(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{
		"traceparent":  "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01",
		"x-request-id": "6f5d0c7e-2f5b-9d0a-8a67-6d3f2ab0c1d4",
	}})
	for _, scene := range scenes() {
		f := newFixture(t, append(scene.options, with("TRACE_URL", "http://127.0.0.1:9411/traces/{traceId}"))...)
		for _, l := range looks() {
			name := scene.name + "-" + l.name
			do(t, ctx, forgetCookies(), traced, l.set())
			if scene.user != "" {
				do(t, ctx, chromedp.Navigate(f.url+"/productpage"))
				signIn(t, ctx, scene.user)
			}
			do(t, ctx, chromedp.Navigate(f.url+scene.path), chromedp.WaitReady("body"))
			do(t, ctx, scripts(true)) // for the test's own
			sizes := ask(t, ctx, chromedp.Evaluate[[]int64](`[document.documentElement.scrollWidth, document.documentElement.clientWidth]`))
			if sizes[0] > sizes[1] {
				t.Errorf("%s: the page is %d wide in a window of %d", name, sizes[0], sizes[1])
			}
			if cut := ask(t, ctx, chromedp.Evaluate[bool](`[...document.querySelectorAll(".scroll")].some(e => e.scrollWidth > e.clientWidth)`)); cut {
				t.Errorf("%s: the table of details is cut", name)
			}
			shoot(t, ctx, name)
			if axe != "" && !l.noScripts {
				for _, violation := range runAxe(t, ctx, axe) {
					t.Errorf("%s: axe: %s", name, violation)
				}
			}
		}
		watch.check(t, f.url, scene.name == "notfound")
	}
}

// signIn does what a user does: the button, the form, the submit button.
func signIn(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	do(t, ctx,
		chromedp.Click("#sign-in-button"),
		chromedp.WaitVisible("#username"),
		chromedp.SendKeys("#username", name),
		chromedp.SendKeys("#passwd", "anything"),
		chromedp.Submit("#passwd"),
		chromedp.WaitVisible(".who-name"),
	)
}

func TestSignInByKeyboard(t *testing.T) {
	ctx := browser(t)
	for _, on := range []bool{true, false} {
		f := newFixture(t)
		do(t, ctx, forgetCookies(), scripts(on),
			chromedp.Navigate(f.url+"/productpage"),
			chromedp.Focus("#sign-in-button"), chromedp.KeyEvent("\r"), chromedp.WaitVisible("#username"))
		if !on {
			do(t, ctx, scripts(true)) // for the test's own
		}
		if focused := ask(t, ctx, chromedp.Evaluate[string](`document.activeElement.id`)); focused != "username" {
			t.Errorf("scripts %t: the form opens with the focus on %q", on, focused)
		}
		shoot(t, ctx, fmt.Sprintf("dialog-scripts-%t", on))
		do(t, ctx, scripts(on), chromedp.Click("#close-dialog"), chromedp.WaitNotVisible("#username"),
			chromedp.Focus("#sign-in-button"), chromedp.KeyEvent("\r"), chromedp.WaitVisible("#username"),
			chromedp.KeyEvent("jason\tsecret\r"), chromedp.WaitVisible(".who-name"))
		if shown := ask(t, ctx, chromedp.Text(".who-name")); shown != "jason" {
			t.Errorf("scripts %t: signed in as %q", on, shown)
		}
		do(t, ctx, chromedp.Click(".signout"), chromedp.WaitVisible("#sign-in-button"))
		if got := f.details.seen()[1].Header.Get("End-User"); got != "jason" {
			t.Errorf("scripts %t: details received end-user %q", on, got)
		}
	}
}

// traffic is what the browser asked for.
type traffic struct {
	mu       sync.Mutex
	urls     []string
	failures []string
}

func watchNetwork(t *testing.T, ctx context.Context) *traffic {
	t.Helper()
	w := &traffic{}
	err := chromedp.Listen(ctx, func(event any) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			w.urls = append(w.urls, e.Request.URL)
		case *network.EventResponseReceived:
			if e.Response.Status >= 400 {
				w.failures = append(w.failures, fmt.Sprintf("%s: %d", e.Response.URL, e.Response.Status))
			}
		case *network.EventLoadingFailed:
			if !e.Canceled {
				w.failures = append(w.failures, e.ErrorText+" "+string(e.BlockedReason))
			}
		case *runtime.EventExceptionThrown:
			w.failures = append(w.failures, e.ExceptionDetails.Text)
		case *page.EventJavascriptDialogOpening:
			w.failures = append(w.failures, "a dialog: "+e.Message)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// check fails the test for requests to other hosts and for those that failed, and forgets them.
func (w *traffic) check(t *testing.T, origin string, failuresWanted bool) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	own, _ := url.Parse(origin)
	for _, address := range w.urls {
		if u, err := url.Parse(address); err != nil || u.Host != own.Host && u.Scheme != "about" && u.Scheme != "data" {
			t.Errorf("the browser asked another host: %s", address)
		}
	}
	if len(w.urls) == 0 {
		t.Error("the browser asked for nothing")
	}
	for _, failure := range w.failures {
		if !failuresWanted {
			t.Errorf("failed: %s", failure)
		}
	}
	w.urls, w.failures = nil, nil
}

// axeSource returns axe-core, which npm fetches once into the user's cache. Without it pages are not checked for
// accessibility, and the test says so.
func axeSource(t *testing.T) string {
	t.Helper()
	const version = "4.10.3"
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	folder := filepath.Join(cache, "bookinfo-test", "axe-"+version)
	script := filepath.Join(folder, "node_modules", "axe-core", "axe.min.js")
	if source, err := os.ReadFile(script); err == nil {
		return string(source)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Log("without npm there is no axe: accessibility is not checked")
		return ""
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), npm, "install", "--no-save", "--ignore-scripts", "--prefix", folder, "axe-core@"+version)
	if output, err := install.CombinedOutput(); err != nil {
		t.Logf("npm cannot fetch axe, accessibility is not checked: %v: %.300s", err, output)
		return ""
	}
	source, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// runAxe returns what axe finds wrong with the page that is shown. The page's policy allows no script; the protocol of
// the browser's tools does.
func runAxe(t *testing.T, ctx context.Context, axe string) []string {
	t.Helper()
	ask(t, ctx, chromedp.Evaluate[chromedp.Void](axe+`;undefined`))
	found := ask(t, ctx, chromedp.Evaluate[string](
		`axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
			.then(r => JSON.stringify(r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html).join(" | ").slice(0, 300))))`,
		chromedp.EvalAwaitPromise))
	var list []string
	if err := json.Unmarshal([]byte(found), &list); err != nil {
		t.Fatal(err)
	}
	return list
}
