package check

import (
	"slices"

	"example.com/bookinfo/propagation"
)

// judgeForwarder finds what a service that makes no spans does wrong: everything must leave as it came.
func judgeForwarder(outcomes []outcome, required propagation.Set) []Finding {
	f := &findings{required: required}
	usual := judgePlain(f, outcomes)
	for _, o := range outcomes {
		if o.skipped == "" && !o.plain {
			judgeBeyond(f, o, usual)
		}
		if o.name != "duplicate" { // which line is taken is judged there
			judgeTwoContexts(f, o)
		}
	}
	return withoutConsequences(f.list)
}

// withoutConsequences drops what a leak looks like beside being one.
func withoutConsequences(list []Finding) []Finding {
	if !slices.ContainsFunc(list, func(f Finding) bool { return f.Rule == ruleLeak }) {
		return list
	}
	consequences := []string{ruleInvented, ruleTwoContexts, ruleWrongFamily, ruleNewTrace}
	return slices.DeleteFunc(list, func(f Finding) bool { return slices.Contains(consequences, f.Rule) })
}

// judgePlain goes through the plain cases and returns the headers that the service gets wrong there, so that no other
// case repeats it.
func judgePlain(f *findings, outcomes []outcome) (wrong map[string]bool) {
	wrong = map[string]bool{}
	bad, all := map[string][]string{}, map[string][]string{} // header: cases in which it was lost, in which it was sent
	for _, o := range outcomes {
		for name, c := range o.cells {
			if !o.plain || len(c.Sent) == 0 {
				continue
			}
			all[name] = append(all[name], o.name)
			if c.Verdict == Lost || c.Verdict == Emptied {
				bad[name] = append(bad[name], o.name)
			}
		}
	}
	lost := func(name string) bool { return len(all[name]) > 0 && len(bad[name]) == len(all[name]) }
	keptAny, keptOther := false, false
	for name := range all {
		if !lost(name) {
			keptAny = true
			keptOther = keptOther || name != "x-request-id"
		}
		wrong[name] = len(bad[name]) > 0
	}
	inventsContext := judgePlainCells(f, outcomes, wrong)
	switch {
	case !keptAny && !inventsContext:
		f.add(ruleNothing, "", "b3")
		return wrong
	case keptAny && !keptOther && !inventsContext:
		f.add(ruleRequestIDOnly, "", "b3")
		return wrong
	}
	half := lost("x-b3-traceid") != lost("x-b3-spanid")
	for _, name := range headerNames() {
		rule := ruleLost
		switch {
		case len(bad[name]) == 0:
			continue
		case name == "x-request-id":
			rule = ruleRequestIDLost
		case name == "x-b3-sampled":
			rule = ruleSampledLost
		case half && (name == "x-b3-traceid" || name == "x-b3-spanid"):
			rule = ruleHalf
		}
		for _, in := range bad[name] {
			f.add(rule, name, in)
		}
	}
	return wrong
}

// judgePlainCells names changed and invented headers of the plain cases. It tells whether the service writes a context
// of its own.
func judgePlainCells(f *findings, outcomes []outcome, wrong map[string]bool) (inventsContext bool) {
	for _, o := range outcomes {
		if !o.plain {
			continue
		}
		for _, name := range headerNames() {
			c := o.cells[name]
			switch c.Verdict {
			case Changed:
				f.add(changed(name, c.Sent[0], c.Got[0], o.exchanges[0].sent), name, o.name)
				wrong[name] = true
				inventsContext = true
			case Duplicated:
				f.add(ruleDuplicated, name, o.name)
				wrong[name] = true
			case Emptied:
				f.add(ruleEmpty, name, o.name)
			case Leaked:
				f.add(ruleLeak, name, o.name)
			case Invented:
				inventsContext = true
				f.add(invented(o, name), name, o.name)
			case Absent, Kept, Lost:
			}
		}
	}
	return inventsContext
}

// invented names what it means that a header went that did not come.
func invented(o outcome, name string) string {
	sent, _ := contexts(o.exchanges[0].sent)
	for _, c := range o.exchanges[0].calls {
		got, _ := contexts(c.header)
		for _, g := range got {
			for _, s := range sent {
				if g.format != s.format && sameTrace(g.trace, s.trace) {
					return ruleWrongFamily // the same trace in another format
				}
			}
		}
	}
	if slices.Contains([]string{"x-b3-traceid", "x-b3-spanid", "traceparent", "b3"}, name) {
		return ruleNewTrace
	}
	return ruleInvented
}

// judgeBeyond names what a case shows that the plain ones did not.
func judgeBeyond(f *findings, o outcome, wrong map[string]bool) {
	lostIn := map[string]string{
		"mixed-case": ruleCase, "at-once": ruleAsync, "upstream-error": ruleLostAfterError, "redirect": ruleLostOnRedirect,
		"post": ruleLostOnPost, "h2c": ruleLostOnH2C,
	}
	for _, name := range headerNames() {
		c := o.cells[name]
		if wrong[name] && c.Verdict != Leaked {
			continue
		}
		hop := slices.Contains(hopHeaders(), name)
		switch c.Verdict {
		case Absent:
		case Kept:
			if hop {
				f.add(ruleHop, name, o.name)
			}
		case Leaked:
			f.add(ruleLeak, name, o.name)
		case Emptied:
			f.add(ruleEmpty, name, o.name)
		case Duplicated:
			f.add(ruleDuplicated, name, o.name)
		case Invented:
			f.add(invented(o, name), name, o.name)
		case Lost:
			rule := lostIn[o.name]
			if hop || o.name == "unreadable" { // it is right to leave the former behind, and no harm with the latter
				continue
			}
			if rule == "" {
				rule = ruleLost
			}
			f.add(rule, name, o.name)
		case Changed:
			switch {
			case hop || o.name == "unreadable":
			case o.name == "duplicate" && len(c.Sent) > 1 && c.Got[0] == c.Sent[len(c.Sent)-1]:
				f.add(ruleLastLine, name, o.name)
			default:
				f.add(changed(name, c.Sent[0], c.Got[0], o.exchanges[0].sent), name, o.name)
			}
		}
	}
}

// judgeTwoContexts looks for calls whose formats name different spans although those of the request named one.
func judgeTwoContexts(f *findings, o outcome) {
	for _, ex := range o.exchanges {
		if sent, _ := contexts(ex.sent); !agree(sent) {
			continue
		}
		for _, c := range ex.calls {
			if got, _ := contexts(c.header); !agree(got) {
				for _, g := range got {
					f.add(ruleTwoContexts, headerOf(g.format), o.name)
				}
			}
		}
	}
}

// agree tells whether all formats name one span. A trace id that was cut is a fault of its own.
func agree(list []spanContext) bool {
	for _, c := range list {
		right := func(id string) string { return padded(id)[16:] }
		if right(c.trace) != right(list[0].trace) || c.span != list[0].span {
			return false
		}
	}
	return true
}
