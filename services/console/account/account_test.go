package account

import (
	"errors"
	"testing"
	"time"

	"example.com/bookinfo/services/console/backend"
)

func TestQuota(t *testing.T) {
	zone := time.FixedZone("UTC+8", 8*3600)
	now := time.Date(2026, 11, 22, 23, 59, 0, 0, zone)
	a := New(Options{Now: func() time.Time { return now }, Location: zone, QuotaSpans: 10, QuotaBytes: 1000})
	steps := []struct {
		what         string
		do           func()
		spans, bytes int64
		want         error
	}{
		{what: "first", spans: 8, bytes: 100},
		{what: "up to the quota", spans: 2, bytes: 100},
		{what: "over the spans", spans: 1, bytes: 1, want: ErrQuota},
		{what: "raised while running", spans: 1, bytes: 1, do: func() {
			if err := a.Update(func(s *backend.Settings) error { s.QuotaSpans = 100; return nil }); err != nil {
				t.Fatal(err)
			}
		}},
		{what: "over the bytes", spans: 1, bytes: 900, want: ErrQuota},
		{what: "after local midnight", spans: 1, bytes: 900, do: func() { now = now.Add(time.Minute) }},
	}
	for _, s := range steps {
		if s.do != nil {
			s.do()
		}
		if err := a.Take(s.spans, s.bytes); !errors.Is(err, s.want) {
			t.Fatalf("%s: %v, want %v", s.what, err, s.want)
		}
	}
	u := a.Usage()
	if u.Day != "2026-11-23" || u.Spans != 1 || u.Bytes != 900 || u.Refused != 0 {
		t.Errorf("today: %+v", u)
	}
	if len(u.History) != 1 || u.History[0] != (backend.DayUsage{Day: "2026-11-22", Spans: 11, Bytes: 201, Refused: 2}) {
		t.Errorf("history: %+v", u.History)
	}
}

func TestUpdateChangesNothingOnError(t *testing.T) {
	a := New(Options{QuotaSpans: 5})
	for _, f := range []func(*backend.Settings) error{
		func(s *backend.Settings) error { s.QuotaSpans = -1; return nil },
		func(s *backend.Settings) error { s.QuotaSpans = 9; return errors.New("no") },
		func(s *backend.Settings) error {
			s.Applications[""] = backend.ApplicationSettings{}
			return nil
		},
	} {
		if a.Update(f) == nil {
			t.Error("no error")
		}
	}
	if s := a.Settings(); s.QuotaSpans != 5 || len(s.Applications) != 0 {
		t.Errorf("settings changed to %+v", s)
	}
}

func TestRestart(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	o := Options{Now: func() time.Time { return now }, Location: time.UTC}
	a := New(o)
	if err := a.Take(3, 30); err != nil {
		t.Fatal(err)
	}
	if err := a.Update(func(s *backend.Settings) error {
		s.QuotaSpans = 7
		s.Applications["details.default"] = backend.ApplicationSettings{ShowServerName: true, Tags: map[string]string{"team": "a"}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	data, changed, err := a.Save(4)
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	b := New(o)
	if err := b.Restore(data); err != nil {
		t.Fatal(err)
	}
	b.Replay(now, 3, 30, 4) // counted in the state
	b.Replay(now, 2, 20, 5)
	b.Replay(now.AddDate(0, 0, -1), 2, 20, 6) // yesterday's
	if u := b.Usage(); u.Spans != 5 || u.Bytes != 50 || u.QuotaSpans != 7 {
		t.Errorf("usage %+v", u)
	}
	if app := b.Settings().Applications["details.default"]; !app.ShowServerName || app.Tags["team"] != "a" {
		t.Errorf("settings %+v", app)
	}
	if err := b.Restore([]byte(`{"settings":{"quotaSpans":-1}}`)); err == nil {
		t.Error("a wrong state was taken")
	}
}

func TestPushLog(t *testing.T) {
	a := New(Options{})
	for i := range pushesKept + 3 {
		a.Push(backend.Push{Spans: i}, 0, false)
	}
	log := a.PushLog()
	if len(log) != pushesKept || log[0].Spans != pushesKept+2 || log[len(log)-1].Spans != 3 {
		t.Errorf("%d lines from %d to %d", len(log), log[0].Spans, log[len(log)-1].Spans)
	}
}
