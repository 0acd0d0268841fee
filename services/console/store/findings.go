package store

import "time"

// found is what Options.Findings said of a trace as it was when head was its last record.
type found struct {
	head     location
	findings []string
}

const (
	// quiet is how long after its last span a trace's findings are taken as final, above the time for which the
	// examination itself waits.
	quiet = 10 * time.Second
	// findingsKept bounds the traces whose findings are kept.
	findingsKept = 50_000
)

// findings examines a trace, once when it has settled: decoding and examining all traces of a page each time would
// take longer than finding them.
func (s *Store) findings(slot uint32) []string {
	if s.opts.Findings == nil {
		return nil
	}
	e := s.traces.at(slot)
	s.findingsMu.Lock()
	f, ok := s.found[slot]
	s.findingsMu.Unlock()
	if ok && f.head == e.head {
		return f.findings
	}
	f = found{e.head, s.opts.Findings(s.spans(slot))}
	if s.opts.Now().UnixNano()-e.received > int64(quiet) {
		s.findingsMu.Lock()
		if len(s.found) >= findingsKept {
			clear(s.found)
		}
		s.found[slot] = f
		s.findingsMu.Unlock()
	}
	return f.findings
}
