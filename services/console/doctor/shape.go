package doctor

import (
	"fmt"
	"slices"
	"time"

	"example.com/bookinfo/services/console/span"
)

// brokenIDs finds ids that cannot be: cycles, one id twice, two widths of one trace id.
func (r *request) brokenIDs() {
	for _, i := range r.cycles() {
		application := r.spans[i].Service
		r.add(Finding{Kind: Cycle, Application: application, Headers: []string{"x-b3-spanid", "x-b3-parentspanid"}, Confidence: Certain,
			Evidence: []Evidence{r.evidence(i)}, Text: fmt.Sprintf("Following parents from %s's span leads back to it.", application)})
	}
	for _, at := range r.byID {
		if len(at) < 2 || r.halves(at) {
			continue
		}
		r.add(Finding{Kind: DuplicateID, Application: r.spans[at[0]].Service, Confidence: Certain,
			Evidence: []Evidence{r.evidence(at[0])}, Text: fmt.Sprintf("%d spans of this trace have the id %s.", len(at), r.spans[at[0]].ID)})
	}
	wide := map[uint64]int{}
	for i := range r.spans {
		if s := &r.spans[i]; s.TraceID.Hi != 0 {
			if _, ok := wide[s.TraceID.Lo]; !ok {
				wide[s.TraceID.Lo] = i
			}
		}
	}
	for i := range r.spans {
		s := &r.spans[i]
		w, ok := wide[s.TraceID.Lo]
		if s.TraceID.Hi != 0 || !ok {
			continue
		}
		if p := r.parent(i); p >= 0 && r.spans[p].TraceID.Hi == 0 {
			continue // it came cut already
		}
		r.add(Finding{Kind: MixedWidth, Application: s.Service, Headers: []string{"x-b3-traceid"}, Confidence: Certain,
			Evidence: []Evidence{r.evidence(i), r.evidence(w)},
			Text:     fmt.Sprintf("The trace id %s leaves %s as its right half alone.", r.spans[w].TraceID, s.Service)})
	}
}

// cycles are the spans that are their own ancestors. Each span is walked once.
func (r *request) cycles() []int {
	const fresh, walking, done = 0, 1, 2
	state := make([]uint8, len(r.spans))
	var found, path []int
	for i := range r.spans {
		path = path[:0]
		at := i
		for at >= 0 && state[at] == fresh {
			state[at] = walking
			path = append(path, at)
			at = r.parents[at]
		}
		if at >= 0 && state[at] == walking {
			found = append(found, path[slices.Index(path, at):]...)
		}
		for _, p := range path {
			state[p] = done
		}
	}
	slices.Sort(found)
	return found
}

// halves reports whether spans with one id are the client's and the server's half of a call.
func (r *request) halves(at []int) bool {
	if len(at) != 2 {
		return false
	}
	a, b := &r.spans[at[0]], &r.spans[at[1]]
	return a.Kind == span.KindClient && b.Kind == span.KindServer || a.Kind == span.KindServer && b.Kind == span.KindClient
}

// brokenParents looks at spans that hang at the wrong place.
func (r *request) brokenParents() {
	missing := map[key][]int{}
	for i := range r.spans {
		s := &r.spans[i]
		if r.orphan(i) {
			missing[key{s.TraceID.Lo, s.ParentID}] = append(missing[key{s.TraceID.Lo, s.ParentID}], i)
		}
	}
	for _, orphans := range missing {
		r.orphans(orphans)
	}
	for i := range r.spans {
		if r.parent(i) >= 0 {
			r.misplaced(i)
		}
	}
}

// orphans are the spans, by start, that name one parent which did not come.
func (r *request) orphans(at []int) {
	first := at[0]
	services := map[string]bool{}
	own := 0
	for _, i := range at {
		services[r.spans[i].Service] = true
		if s := &r.spans[i]; s.Kind == span.KindClient && !r.edge(i) && len(r.servers[s.Service]) > 0 {
			own++
		}
	}
	switch {
	case own == len(at) && len(services) == 1:
		// All are calls of one application, whose inbound sidecar reported: the parent is a span of its own.
		s := &r.spans[first]
		server, _, _ := r.served(first)
		f := Finding{Kind: HiddenSpans, Application: s.Service, Caller: r.caller(server), Confidence: Likely,
			Text: fmt.Sprintf("%s's calls name the parent %s, which nobody reported: a span that the application made itself.", s.Service, s.ParentID)}
		if server >= 0 && r.spans[server].TraceID.Lo != s.TraceID.Lo {
			f.Kind, f.Headers = NewTrace, contextHeaders(r.format(server))
			f.Text = fmt.Sprintf("%s's calls carry a trace id of the application's own making, not that of the request which caused them.", s.Service)
		}
		for _, i := range at[:min(len(at), fewest)] {
			f.Callees = append(f.Callees, nonEmpty(r.callee(i))...)
			f.Evidence = append(f.Evidence, r.evidence(i))
		}
		if f.Kind == NewTrace {
			f.Evidence = append(f.Evidence, r.evidence(server))
		}
		r.add(f)
	default:
		// The parent came from outside. Where spans deeper in the mesh still hang under it, each proxy read the client's
		// old b3 header instead of the x-b3-* that the one before it wrote (Envoy up to 1.36).
		deeper := slices.DeleteFunc(slices.Clone(at[1:]), func(i int) bool { return r.edge(i) || !r.caused(first, i) })
		if len(deeper) == 0 {
			return // a client that sent several requests
		}
		f := Finding{Kind: StaleB3, Application: r.spans[deeper[0]].Service, Headers: []string{"b3"}, Confidence: Certain,
			Text: fmt.Sprintf("%d spans hang under %s, which came from outside, and not under the call that caused them.", len(deeper), r.spans[first].ParentID)}
		if s := &r.spans[first]; s.Kind == span.KindClient && !r.edge(first) && len(r.servers[s.Service]) > 0 {
			// The first is a call from inside the mesh, of an application that was given a context.
			f.Application = s.Service
			f.Text = fmt.Sprintf("%d spans hang under %s, which nobody reported: a b3 header that %s sent beside its context.", len(at), s.ParentID, s.Service)
			f.Evidence = append(f.Evidence, r.evidence(first))
		}
		for _, i := range deeper[:min(len(deeper), fewest)] {
			f.Evidence = append(f.Evidence, r.evidence(i))
		}
		r.add(f)
	}
}

// caused reports whether the request of SERVER span i, or the call of CLIENT span i, may be due to the request of an
// earlier span: it lies within, and under the same x-request-id where both have one.
func (r *request) caused(earlier, i int) bool {
	a, b := &r.spans[earlier], &r.spans[i]
	if b.Start.Before(a.Start) || b.Start.After(a.End().Add(tolerance)) {
		return false
	}
	return a.RequestID() == "" || b.RequestID() == "" || sameRequestID(a.RequestID(), b.RequestID())
}

// tolerance is how far apart clocks and the writing of two spans may be before an order of time means something.
const tolerance = 50 * time.Millisecond

// asynchronous is how long after an answer an application may still work on what it was asked for, with the context of
// the request as it should be.
const asynchronous = time.Minute

// repeated tells a call in a context that was kept from work that an application does after its answer: such a call
// was made under this parent already, or comes too late for that.
func (r *request) repeated(i int) bool {
	s, p := &r.spans[i], r.parent(i)
	if s.Start.Sub(r.spans[p].End()) > asynchronous {
		return true
	}
	for _, c := range first(r.children[p]) {
		if earlier := &r.spans[c]; c != i && earlier.Kind == span.KindClient && earlier.Name == s.Name && within(earlier, &r.spans[p]) {
			return true
		}
	}
	return false
}

// misplaced looks at a CLIENT span whose parent came and yet cannot have caused it.
func (r *request) misplaced(i int) {
	s := &r.spans[i]
	parent := &r.spans[r.parent(i)]
	if s.Kind != span.KindClient || !fromProxy(s) || r.edge(i) {
		return
	}
	if parent.Kind == span.KindServer && parent.Service == s.Service {
		if s.Start.After(parent.End().Add(tolerance)) && samePlace(s, parent) && r.repeated(i) {
			r.add(Finding{Kind: Leak, Application: s.Service, Caller: r.caller(r.parent(i)), Callees: nonEmpty(r.callee(i)),
				Headers: contextHeaders(r.format(i)), Confidence: Likely, Evidence: []Evidence{r.evidence(i), r.evidence(r.parent(i))},
				Text: fmt.Sprintf("%s called %s %s after the request whose context it sent was answered.", s.Service, orUnknown(r.callee(i)), s.Start.Sub(parent.End()).Round(time.Millisecond))})
		}
		return
	}
	if parent.Service == s.Service || !fromProxy(parent) {
		return // the application's own spans lie between
	}
	// The sidecar made a SERVER span for this request, and the call hangs beside it under the span above.
	c, beside := r.under[below{r.parent(i), s.Service}]
	if m := &r.spans[c]; beside && samePlace(s, m) {
		r.add(Finding{Kind: WrongParent, Application: s.Service, Caller: r.caller(c), Callees: nonEmpty(r.callee(i)),
			Headers: []string{"x-b3-spanid"}, Confidence: Certain, Evidence: []Evidence{r.evidence(i), r.evidence(c)},
			Text: fmt.Sprintf("The call to %s hangs beside the request that caused it: %s sent the id of the span above as x-b3-spanid.", orUnknown(r.callee(i)), s.Service)})
	}
}
