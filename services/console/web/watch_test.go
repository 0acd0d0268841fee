package web_test

import (
	"strings"
	"sync"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// watch notes what goes wrong in the tab: errors of scripts, blocked content, and requests that leave the console.
// The returned function gives what was noted.
func (b *browser) watch(home string) func() []string {
	var mu sync.Mutex
	var out []string
	note := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, text)
	}
	err := chromedp.Listen(b.ctx, func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, home) && !strings.HasPrefix(e.Request.URL, "data:") {
				note("a request left the console: " + e.Request.URL)
			}
		case *runtime.EventExceptionThrown:
			note("a script failed: " + e.ExceptionDetails.Text + " " + describe(e.ExceptionDetails))
		case *log.EventEntryAdded:
			if e.Entry.Level == "error" && e.Entry.Source != "network" {
				note("the browser reports: " + e.Entry.Text + " " + e.Entry.URL)
			}
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return out
	}
}

func describe(d *runtime.ExceptionDetails) string {
	if d.Exception == nil {
		return d.URL
	}
	return d.Exception.Description
}
