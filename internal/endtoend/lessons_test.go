package endtoend

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/bookinfo/docs/lessons"
	"example.com/bookinfo/services/console/store"
	"example.com/bookinfo/tracetest"
)

// learner follows the lessons in a browser beside a running demo.
type learner struct {
	*browser
	suite  *tracetest.Suite
	lesson lessons.Lesson
	number int
}

// TestLessons plays each lesson from its first step until its page says that it is done.
func TestLessons(t *testing.T) {
	steps := map[string]func(*learner){
		"one-request":                 oneRequest,
		"nothing-forwarded":           nothingForwarded,
		"half-a-context":              halfAContext,
		"request-id-and-sampling":     requestIDAndSampling,
		"b3-and-w3c":                  b3AndW3C,
		"gateway-and-client-contexts": gatewayAndClientContexts,
		"sdk-and-sidecars":            sdkAndSidecars,
		"quota-and-silence":           quotaAndSilence,
	}
	// What a lesson starts its demo with.
	options := map[string]tracetest.Options{
		"half-a-context": {Format: "b3"},
		"b3-and-w3c":     {Format: "b3", Forward: "w3c,request-id"},
	}
	all, err := lessons.All(store.New(store.Options{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	tab := chromium(t)
	for i, lesson := range all {
		t.Run(lesson.Slug, func(t *testing.T) {
			play := steps[lesson.Slug]
			if play == nil {
				t.Fatal("nobody plays this lesson")
			}
			l := &learner{browser: tab.on(t), suite: tracetest.Start(t, options[lesson.Slug]), lesson: lesson, number: i + 1}
			l.read()
			l.shows("Not done yet")
			l.picture("to-do")
			play(l)
			l.read()
			l.shows("Done: it happened.")
			l.picture("done")
		})
	}
}

// read opens the lesson's page.
func (l *learner) read() {
	l.t.Helper()
	l.open(l.suite.Console() + "/lessons/" + l.lesson.Slug)
	l.shows(l.lesson.Title)
}

func (l *learner) picture(what string) { l.shoot(fmt.Sprintf("lesson-%d-%s", l.number, what)) }

// stars opens the book until there are some.
func (l *learner) stars() {
	l.t.Helper()
	l.open(l.suite.URL() + "/productpage")
	for range 3 { // the versions of reviews take turns, and one of them has none
		l.until("document.querySelector('.trace a') !== null")
		if l.eval("document.querySelector('.stars') !== null") == "true" {
			return
		}
		l.open(l.suite.URL() + "/productpage")
	}
	l.failed(fmt.Errorf("no stars after three pages"))
}

// trace opens the trace of the page that the browser shows, and waits for what it says.
func (l *learner) trace(says ...string) {
	l.t.Helper()
	l.press("Open this trace")
	l.until("document.querySelector('[data-ready]') !== null")
	for _, words := range says {
		l.shows(words)
	}
}

// fragment opens the newest trace that begins with a call of that service.
func (l *learner) fragment(caller string) {
	l.t.Helper()
	traces := l.suite.Traces()
	for _, trace := range slices.Backward(traces) {
		if first := trace.All()[0]; first.Workload() == caller && first.Kind == "CLIENT" {
			l.open(l.suite.Console() + "/traces/" + trace.ID)
			return
		}
	}
	l.failed(fmt.Errorf("no trace begins at %s", caller))
}

// breaks changes a service by the form of the demo's own page.
func (l *learner) breaks(service, changes string) {
	l.t.Helper()
	l.open(l.suite.Control())
	l.eval(fmt.Sprintf(`{const f = document.querySelector('input[name=service][value=%s]').form; f.changes.value = %q; f.requestSubmit(); true}`, service, changes))
	l.until("location.hash === '#forwarding'")
}

func oneRequest(l *learner) {
	l.stars()
	l.picture("book")
	l.trace("ratings.default")
	l.until("document.querySelectorAll('[role=treegrid] [role=row], tbody tr').length >= 9")
	l.picture("trace")
}

func nothingForwarded(l *learner) {
	l.breaks("reviews", "drop=request-id,w3c,b3,b3-single")
	l.picture("broken")
	l.stars()
	l.trace()
	l.picture("first-half")
	l.fragment("reviews")
	l.shows("Nothing forwarded")
	l.picture("trace")
	l.suite.Mend()
	l.stars()
	l.trace("ratings.default")
	l.picture("mended")
}

func halfAContext(l *learner) {
	l.breaks("reviews", "drop=x-b3-spanid")
	l.stars()
	l.trace()
	l.picture("trace")
	for _, change := range []string{"drop=x-b3-sampled", "empty=x-b3-traceid"} {
		l.breaks("reviews", change)
		l.stars()
		l.trace()
		l.picture("trace-" + strings.ReplaceAll(change, "=", "-"))
	}
}

func requestIDAndSampling(l *learner) {
	l.breaks("reviews", "drop=request-id")
	l.stars()
	l.trace("x-request-id not forwarded")
	l.picture("trace")
	l.breaks("reviews", "sampled-off")
	l.stars()
	l.trace()
	if text := l.eval("document.querySelector('main').innerText"); strings.Contains(text, "ratings.default") {
		l.failed(fmt.Errorf("with sampling denied the trace has ratings"))
	}
	l.picture("trace-sampled-off")
}

func b3AndW3C(l *learner) {
	l.stars()
	l.trace()
	l.picture("trace")
}

func gatewayAndClientContexts(l *learner) {
	const id = "463ac35c9f6413ad48485a3953bb6124"
	l.suite.Get("/productpage", "traceparent", "00-"+id+"-a2fb4a1d1a96d312-01")
	l.suite.Trace(id)
	if untraced := l.suite.Get("/productpage", "traceparent", "00-zz-01"); len(l.suite.Traces()) != 1 {
		l.failed(fmt.Errorf("the request with a context that cannot be read has a trace: %v", untraced.Header))
	}
	l.open(l.suite.Console() + "/traces/" + id)
	l.until("document.querySelector('[data-ready]') !== null")
	l.picture("trace")
}

func sdkAndSidecars(l *learner) {
	l.breaks("reviews", "hidden-sdk")
	l.stars()
	l.trace("Spans not exported")
	l.picture("trace")
	l.breaks("reviews", "new-trace")
	l.stars()
	l.trace()
	l.picture("trace-new-trace")
}

func quotaAndSilence(l *learner) {
	l.setQuota("20")
	l.picture("quota")
	for range 3 {
		l.stars()
	}
	l.open(l.suite.Console() + "/help/no-data")
	l.shows("quota")
	l.picture("why")
	l.setQuota("0")
}

// setQuota follows the console's own steps.
func (l *learner) setQuota(spans string) {
	l.t.Helper()
	l.open(l.suite.Console() + "/")
	l.until("document.documentElement.classList.contains('js')")
	l.eval("[...document.querySelectorAll('summary')].filter(s => s.textContent.includes('System Configuration')).forEach(s => s.parentElement.open = true); true")
	l.press("Cluster Configuration")
	l.shows("Quota Configuration")
	l.eval(fmt.Sprintf("document.querySelector('input[name=quota-spans]').value = %q; true", spans))
	l.press("Save")
	l.shows("The new quota takes effect at once")
	l.press("OK")
	l.shows("The new quota is in effect.")
}
