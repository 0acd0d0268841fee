// Package account keeps what the console knows beside the spans: settings, the day's usage against its quota, and the
// log of pushes.
package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"example.com/bookinfo/services/console/backend"
)

const (
	pushesKept  = 500
	historyDays = 31
	// maxApplications bounds the applications with settings, maxTags the tags of each, maxText their length in bytes.
	maxApplications = 1000
	maxTags         = 50
	maxText         = 200
)

// ErrQuota says that the day's quota does not leave room for a post.
var ErrQuota = errors.New("the daily quota is used up; it resets at midnight, or raise it under System Configuration > Cluster Configuration")

// Options configure an Account.
type Options struct {
	Now      func() time.Time // default time.Now
	Location *time.Location   // whose midnight ends the day; default time.Local
	// QuotaSpans and QuotaBytes are the daily quota to begin with; 0 is none. A restored state has its own.
	QuotaSpans, QuotaBytes int64
	// Held tells what the store holds. Nil: nothing.
	Held func() (spans, bytes, maxBytes, evicted int64)
}

// state is what survives a restart.
type state struct {
	Settings backend.Settings   `json:"settings"`
	Today    backend.DayUsage   `json:"today"`
	History  []backend.DayUsage `json:"history"`
	// Position is the journal's block up to which Today counts.
	Position uint64 `json:"position"`
}

// Account is safe for concurrent use.
type Account struct {
	opts Options

	mu             sync.Mutex
	st             state
	dayEnd         time.Time
	pushes         []backend.Push // a ring
	next           int
	cut, malformed int64
	changed        bool
}

// New returns an account with nothing used.
func New(o Options) *Account {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Location == nil {
		o.Location = time.Local
	}
	a := &Account{opts: o}
	a.st.Settings = backend.Settings{QuotaSpans: o.QuotaSpans, QuotaBytes: o.QuotaBytes}
	return a
}

// today begins a new day where the last one has ended.
func (a *Account) today(now time.Time) *backend.DayUsage {
	if now.Before(a.dayEnd) && a.st.Today.Day != "" {
		return &a.st.Today
	}
	local := now.In(a.opts.Location)
	y, m, d := local.Date()
	a.dayEnd = time.Date(y, m, d+1, 0, 0, 0, 0, a.opts.Location)
	day := local.Format(time.DateOnly)
	if a.st.Today.Day != day {
		if a.st.Today.Day != "" {
			a.st.History = append(a.st.History, a.st.Today)
			a.st.History = a.st.History[max(0, len(a.st.History)-historyDays):]
		}
		a.st.Today = backend.DayUsage{Day: day}
		a.changed = true
	}
	return &a.st.Today
}

// Take counts a post against the quota; ErrQuota when there is no room for it, which is counted as refused. bytes is
// the post as it crossed the wire.
func (a *Account) Take(spans, bytes int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, q := a.today(a.opts.Now()), &a.st.Settings
	a.changed = true
	if q.QuotaSpans > 0 && t.Spans+spans > q.QuotaSpans || q.QuotaBytes > 0 && t.Bytes+bytes > q.QuotaBytes {
		t.Refused += spans
		return ErrQuota
	}
	t.Spans += spans
	t.Bytes += bytes
	return nil
}

// Replay counts a post that a journal brings back, unless the restored state counts it already.
func (a *Account) Replay(received time.Time, spans, bytes int64, position uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.today(a.opts.Now())
	if position > a.st.Position && received.In(a.opts.Location).Format(time.DateOnly) == t.Day {
		t.Spans += spans
		t.Bytes += bytes
		a.changed = true
	}
}

// Push adds a line to the push log; cut counts its spans from which a limit cut something.
func (a *Account) Push(p backend.Push, cut int, malformed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pushes) < pushesKept {
		a.pushes = append(a.pushes, p)
	} else {
		a.pushes[a.next] = p
	}
	a.next = (a.next + 1) % pushesKept
	a.cut += int64(cut)
	if malformed {
		a.malformed++
	}
}

// PushLog returns the last pushes, newest first.
func (a *Account) PushLog() []backend.Push {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]backend.Push, 0, len(a.pushes))
	for i := range a.pushes {
		out = append(out, a.pushes[(a.next-1-i+2*len(a.pushes))%len(a.pushes)])
	}
	return out
}

// Usage returns the day's usage and what is held.
func (a *Account) Usage() backend.Usage {
	var u backend.Usage
	if a.opts.Held != nil {
		u.HeldSpans, u.HeldBytes, u.MaxBytes, u.Evicted = a.opts.Held()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.today(a.opts.Now())
	u.Day, u.Spans, u.Bytes, u.Refused = t.Day, t.Spans, t.Bytes, t.Refused
	u.QuotaSpans, u.QuotaBytes = a.st.Settings.QuotaSpans, a.st.Settings.QuotaBytes
	u.Cut, u.Malformed = a.cut, a.malformed
	u.History = slices.Clone(a.st.History)
	return u
}

// Settings returns a copy of the settings.
func (a *Account) Settings() backend.Settings {
	a.mu.Lock()
	defer a.mu.Unlock()
	return copySettings(a.st.Settings)
}

func copySettings(s backend.Settings) backend.Settings {
	apps := make(map[string]backend.ApplicationSettings, len(s.Applications))
	for name, app := range s.Applications {
		app.Tags = maps.Clone(app.Tags)
		apps[name] = app
	}
	s.Applications = apps
	return s
}

// Update changes the settings at once, or not at all when f or the check of what it made fails.
func (a *Account) Update(f func(*backend.Settings) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := copySettings(a.st.Settings)
	if err := f(&s); err != nil {
		return err
	}
	if err := check(s); err != nil {
		return err
	}
	a.st.Settings = copySettings(s)
	a.changed = true
	return nil
}

func check(s backend.Settings) error {
	if s.QuotaSpans < 0 {
		return fmt.Errorf("quotaSpans %d: want 0 for no quota, or more", s.QuotaSpans)
	}
	if s.QuotaBytes < 0 {
		return fmt.Errorf("quotaBytes %d: want 0 for no quota, or more", s.QuotaBytes)
	}
	if len(s.Applications) > maxApplications {
		return fmt.Errorf("applications: %d, want at most %d", len(s.Applications), maxApplications)
	}
	for name, app := range s.Applications {
		if name == "" {
			return errors.New("applications: a name is empty")
		}
		if len(app.Tags) > maxTags {
			return fmt.Errorf("tags of %.40q: %d, want at most %d", name, len(app.Tags), maxTags)
		}
		for k, v := range app.Tags {
			if k == "" || len(k) > maxText || len(v) > maxText {
				return fmt.Errorf("tag %.40q of %.40q: want a key of 1 to %d bytes and a value of at most %d", k, name, maxText, maxText)
			}
		}
	}
	return nil
}

// Save returns what a restart needs, as JSON, and whether it changed since the last call. position is the journal's
// last block that is on disk with every post that Take counted before.
func (a *Account) Save(position uint64) (data []byte, changed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed = a.changed
	a.changed = false
	a.st.Position = position
	data, err = json.MarshalIndent(a.st, "", "  ")
	return data, changed, err
}

// Restore replaces the state by what Save returned.
func (a *Account) Restore(data []byte) error {
	var st state
	if err := json.Unmarshal(data, &st); err != nil {
		return fmt.Errorf("settings and usage: %w", err)
	}
	if err := check(st.Settings); err != nil {
		return fmt.Errorf("settings and usage: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.st, a.dayEnd = st, time.Time{}
	return nil
}
