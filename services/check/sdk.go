package check

import (
	"slices"
	"strings"

	"example.com/bookinfo/propagation"
)

// judgeParticipant finds what a service that makes spans of its own does wrong: each call must carry a span of the
// service, in the caller's trace, by the rules of W3C Trace Context and B3.
func judgeParticipant(outcomes []outcome, required propagation.Set) []Finding {
	f := &findings{required: required}
	seen := map[string]string{} // traces of requests that came without one, and which request that was
	for _, o := range outcomes {
		if o.skipped != "" {
			continue
		}
		for i, ex := range o.exchanges {
			for _, c := range ex.calls {
				judgeCall(f, o, i, c, seen)
			}
		}
		judgePassing(f, o)
	}
	return slices.DeleteFunc(f.list, func(lost Finding) bool {
		// tracestate has nothing to travel with when no context leaves that continues the caller's.
		return lost.Rule == ruleLost && slices.Equal(lost.Headers, []string{"tracestate"}) &&
			(f.has(ruleNoContext) || f.has(ruleMalformed) || f.has(ruleNewTrace))
	})
}

func judgeCall(f *findings, o outcome, i int, c call, seen map[string]string) {
	ex := o.exchanges[i]
	got, malformed := contexts(c.header)
	for _, name := range malformed {
		f.add(ruleMalformed, name, o.name)
	}
	if len(got) == 0 {
		if len(malformed) == 0 {
			f.add(ruleNoContext, "", o.name)
		}
		return
	}
	if !agree(got) {
		for _, g := range got {
			f.add(ruleTwoContexts, headerOf(g.format), o.name)
		}
	}
	sent, _ := contexts(ex.sent)
	understood := slices.DeleteFunc(slices.Clone(sent), func(s spanContext) bool { return !f.required.Has(headerOf(s.format)) })
	switch {
	case o.name == "unreadable" || o.name == "duplicate" || o.name == "empty":
		// Whether to start anew is the participant's choice where the context is in doubt; it was looked at above.
		return
	case len(sent) == 0:
		me := owned(o.name, i)
		if of := seen[got[0].trace]; of != "" && of != me || ofAnother(o, i, got[0].trace) {
			f.add(ruleLeak, headerOf(got[0].format), o.name)
		}
		seen[got[0].trace] = me
		return
	case len(understood) == 0:
		return
	}
	judgeContinued(f, o, i, got[0], understood)
}

// judgeContinued compares the context of a call with that of the request that caused it.
func judgeContinued(f *findings, o outcome, i int, got spanContext, sent []spanContext) {
	lostIn := map[string]string{
		"mixed-case": ruleCase, "at-once": ruleAsync, "upstream-error": ruleLostAfterError, "redirect": ruleLostOnRedirect,
		"post": ruleLostOnPost, "h2c": ruleLostOnH2C,
	}
	header := headerOf(sent[0].format)
	continues := slices.ContainsFunc(sent, func(s spanContext) bool { return sameTrace(s.trace, got.trace) })
	switch {
	case !continues && ofAnother(o, i, got.trace):
		f.add(ruleLeak, header, o.name)
		return
	case !continues && lostIn[o.name] != "" && !f.has(ruleNewTrace): // else it is always lost
		f.add(lostIn[o.name], header, o.name)
		return
	case !continues && slices.ContainsFunc(sent, func(s spanContext) bool {
		return len(s.trace) == 32 && strings.HasSuffix(s.trace, strings.TrimLeft(got.trace, "0"))
	}):
		f.add(ruleTruncated, header, o.name)
		return
	case !continues:
		f.add(ruleNewTrace, header, o.name)
		return
	}
	for _, s := range sent {
		if s.span == got.span {
			f.add(ruleRaw, headerOf(s.format), o.name)
			return
		}
	}
	if d := sent[0].sampled; d != "" && got.sampled != "" && d != got.sampled {
		f.add(ruleSampledChanged, header, o.name)
	}
}

// ofAnother tells whether a trace is that of another request of the same case.
func ofAnother(o outcome, i int, trace string) bool {
	for j, other := range o.exchanges {
		theirs, _ := contexts(other.sent)
		if j != i && slices.ContainsFunc(theirs, func(s spanContext) bool { return sameTrace(s.trace, trace) }) {
			return true
		}
	}
	return false
}

// judgePassing looks at the headers that an SDK does not write: those of Envoy must pass, contexts must not be copied.
func judgePassing(f *findings, o outcome) {
	if o.name == "unreadable" {
		return
	}
	passing := propagation.All().Only(propagation.RequestID, propagation.ClientTraceID)
	for _, name := range headerNames() {
		c := o.cells[name]
		switch {
		case slices.Contains(hopHeaders(), name):
			if c.Verdict == Kept {
				f.add(ruleHop, name, o.name)
			}
		case c.Verdict == Leaked:
			f.add(ruleLeak, name, o.name)
		case c.Verdict == Emptied:
			f.add(ruleEmpty, name, o.name)
		case name == "tracestate" && c.Verdict == Lost && o.plain && f.required.Has(name):
			f.add(ruleLost, name, o.name)
		case passing.Has(name) && c.Verdict == Lost && o.name != "duplicate":
			if name == "x-request-id" {
				f.add(ruleRequestIDLost, name, o.name)
			} else {
				f.add(ruleLost, name, o.name)
			}
		case name == "x-request-id" && c.Verdict == Changed:
			f.add(ruleRequestIDReplaced, name, o.name)
		case o.name == "vendors" && c.Verdict == Kept && !passing.Has(name) && name != "baggage":
			f.add(ruleRaw, name, o.name)
		}
	}
}
