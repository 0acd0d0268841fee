package endtoend

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/bookinfo/tracetest"
)

// "Open this trace" of the page leads to its waterfall, where within a second every span of the request is drawn.
func TestOpenThisTrace(t *testing.T) {
	tab := chromium(t)
	suite := tracetest.Start(t, tracetest.Options{Reviews: "v3"})
	tab.open(suite.URL() + "/productpage")
	tab.until("[...document.querySelectorAll('a')].some(a => a.textContent.trim() === 'Open this trace')")
	tab.eval("document.querySelectorAll('a').forEach(a => a.removeAttribute('target')); true")
	clicked := time.Now()
	tab.press("Open this trace")
	tab.until("document.querySelectorAll('table[role=treegrid] tr[id^=s]').length === 9")
	t.Logf("complete %s after the click", time.Since(clicked).Round(time.Millisecond))
	for _, service := range []string{"productpage.default", "details.default", "reviews.default", "ratings.default"} {
		tab.shows(service)
	}
	tab.shoot("open-this-trace")

	// What each sidecar received and sent, and what the application made of it.
	tab.press("Trace headers")
	tab.shows("productpage.default: its inbound sidecar")
	tab.shows("reviews.default: the application, from its request to its call of")
	changes := tab.eval("[...new Set([...document.querySelectorAll('.change')].map(e => e.textContent.trim().split(' ').pop()))].sort().join(' ')")
	for _, want := range []string{"added", "changed", "kept"} {
		if !strings.Contains(changes, want) {
			t.Errorf("the headers show %q, and no %s", changes, want)
		}
	}
	if lost := tab.eval("document.querySelectorAll('.hop.lost').length"); lost != "0" {
		t.Errorf("%s hops are said to lose headers of a whole trace", lost)
	}
}

// What reviews drops is shown at its hop, and it is not said to have served more requests than it did.
func TestDroppedHeaderIsShownAtItsHop(t *testing.T) {
	tab := chromium(t)
	suite := tracetest.Start(t, tracetest.Options{Reviews: "v3", Break: map[string][]string{"reviews": {"drop=w3c"}}})
	trace := suite.Get("/productpage").Trace()
	tab.open(suite.Console() + "/traces/" + trace.ID)
	tab.until("document.querySelector('.finding') !== null")
	tab.shows("Trace context not forwarded")
	tab.open(suite.Console() + "/traces/" + trace.ID + "?view=headers")
	tab.until("document.querySelector('.hop.application.lost') !== null")
	lost := tab.eval("[...document.querySelectorAll('.hop.application.lost')].map(e => e.innerText).join('|')")
	if !strings.Contains(lost, "reviews.default") || !strings.Contains(lost, "traceparent") {
		t.Errorf("lost: %s", lost)
	}
	answer, err := http.Get(suite.Console() + "/api/bookinfo/v1/applications")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var got struct {
		Applications []struct {
			Name     string
			Requests int
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	for _, a := range got.Applications {
		if a.Requests != 1 {
			t.Errorf("%s: %d requests after one", a.Name, a.Requests)
		}
	}
	if len(got.Applications) != 5 {
		t.Errorf("%d applications, want 5", len(got.Applications))
	}
}

// The steps of the managed console, by the words that its pages have.
func TestQuotaStepByStep(t *testing.T) {
	tab := chromium(t)
	suite := tracetest.Start(t, tracetest.Options{})
	suite.Get("/productpage").Trace()
	save := func(spans string) {
		tab.open(suite.Console() + "/")
		tab.press("Cluster Configuration")
		tab.shows("Quota Configuration")
		tab.until("document.documentElement.classList.contains('js')")
		tab.eval(`document.querySelector('input[name="quota-spans"]').value = '` + spans + `'; true`)
		tab.press("Save")
		tab.until("document.getElementById('note').open && document.getElementById('note').innerText.includes('Note')")
		tab.press("OK")
		tab.until("document.querySelector('.note.ok') !== null")
	}
	save("1")
	suite.Get("/productpage")
	tab.until("fetch('/settings/cluster').then(a => a.text()).then(t => /✕ 406/.test(t))")
	tab.open(suite.Console() + "/settings/cluster")
	tab.shows("406")
	tab.open(suite.Console() + "/help/no-data")
	tab.shows("quota is used up")
	save("1000000")
	if trace := suite.Get("/productpage").Trace(); trace.ID == "" {
		t.Error("no trace after the quota was raised")
	}
}
