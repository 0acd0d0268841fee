package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"example.com/bookinfo/services/console/backend"
)

// selection is what the top bar chose: a time range and a region. It travels in every link's query.
type selection struct {
	Range    string // "15m", "all", or "custom" with From and To
	From, To time.Time
	Region   string
	now      time.Time
}

type choice struct {
	Value, Label string
	span         time.Duration
}

// ranges are the choices of the time range; the last one has no bound.
func ranges() []choice {
	return []choice{{"5m", "Last 5 minutes", 5 * time.Minute}, {"15m", "Last 15 minutes", 15 * time.Minute},
		{"1h", "Last hour", time.Hour}, {"6h", "Last 6 hours", 6 * time.Hour}, {"24h", "Last 24 hours", 24 * time.Hour},
		{"all", "All time", 0}}
}

const defaultRange = "1h"

// selection reads range, from, to (RFC 3339 or Unix milliseconds) and region.
func (c *console) selection(r *http.Request) (selection, error) {
	q := r.URL.Query()
	s := selection{Range: q.Get("range"), Region: q.Get("region"), now: c.Now()}
	if s.Range == "" {
		s.Range = defaultRange
	}
	var err error
	if s.From, err = moment(q, "from"); err != nil {
		return s, err
	}
	if s.To, err = moment(q, "to"); err != nil {
		return s, err
	}
	if !s.From.IsZero() || !s.To.IsZero() {
		s.Range = "custom"
		return s, nil
	}
	for _, known := range ranges() {
		if known.Value == s.Range {
			if known.span > 0 {
				s.From = s.now.Add(-known.span)
			}
			return s, nil
		}
	}
	bad := s.Range
	s.Range = defaultRange
	return s, badRequest(fmt.Sprintf("range %q: want 5m, 15m, 1h, 6h, 24h or all", bad))
}

func moment(q url.Values, name string) (time.Time, error) {
	text := q.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, badRequest(fmt.Sprintf("%s %q: want a time such as 2026-11-22T09:00:00Z or Unix milliseconds", name, text))
	}
	return t, nil
}

// Window is the selected range as backends take it.
func (s selection) Window() backend.Window { return backend.Window{From: s.From, To: s.To} }

// Query gives what links carry on, "" for the defaults.
func (s selection) Query() string { return s.values().Encode() }

func (s selection) values() url.Values {
	q := url.Values{}
	if s.Range == "custom" {
		if !s.From.IsZero() {
			q.Set("from", strconv.FormatInt(s.From.UnixMilli(), 10))
		}
		if !s.To.IsZero() {
			q.Set("to", strconv.FormatInt(s.To.UnixMilli(), 10))
		}
	} else if s.Range != defaultRange {
		q.Set("range", s.Range)
	}
	if s.Region != "" {
		q.Set("region", s.Region)
	}
	return q
}

// link joins a path with the selection and further pairs of name and value; empty values are left out.
func (s selection) link(path string, pairs ...string) string {
	q := s.values()
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// step divides the window into about n whole minutes.
func (s selection) step(first time.Time, n int) time.Duration {
	from, to := s.From, s.To
	if from.IsZero() {
		from = first
	}
	if to.IsZero() {
		to = s.now
	}
	step := (to.Sub(from) / time.Duration(n)).Truncate(time.Minute)
	return max(step, time.Minute)
}

// bounded closes an open window, so that a series has two ends.
func (s selection) bounded(first time.Time) backend.Window {
	w := s.Window()
	if w.From.IsZero() {
		w.From = first
	}
	if w.To.IsZero() {
		w.To = s.now
	}
	return w
}

// regions lists the regions of everything held.
func (c *console) regions(r *http.Request) []string {
	apps, err := c.Backend.Applications(r.Context(), backend.Window{})
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range apps {
		for _, region := range a.Regions {
			if region != "" && !slices.Contains(out, region) {
				out = append(out, region)
			}
		}
	}
	slices.Sort(out)
	return out
}
