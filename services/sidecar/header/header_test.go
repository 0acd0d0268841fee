package header_test

import (
	"slices"
	"testing"

	"example.com/bookinfo/services/sidecar/header"
)

func sample() header.Fields {
	return header.Fields{{"host", "details:9080"}, {"b3", "1"}, {"accept", "*/*"}, {"b3", "2"}, {"empty", ""}}
}

func TestLookup(t *testing.T) {
	f := sample()
	if got := f.Get("b3"); got != "1" {
		t.Errorf("Get(b3) = %q, want the first line", got)
	}
	if got := f.Values("b3"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("Values(b3) = %q", got)
	}
	if got := f.Joined("b3"); got != "1,2" {
		t.Errorf("Joined(b3) = %q", got)
	}
	if got := f.Joined("host"); got != "details:9080" {
		t.Errorf("Joined(host) = %q", got)
	}
	if v, ok := f.Lookup("empty"); v != "" || !ok {
		t.Errorf("Lookup(empty) = %q, %v", v, ok)
	}
	if v, ok := f.Lookup("absent"); v != "" || ok || f.Has("absent") || f.Joined("absent") != "" || f.Values("absent") != nil {
		t.Errorf("absent: %q, %v", v, ok)
	}
}

func TestChange(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*header.Fields)
		want   header.Fields
	}{
		{"set replaces the first and drops the rest", func(f *header.Fields) { f.Set("b3", "3") },
			header.Fields{{"host", "details:9080"}, {"b3", "3"}, {"accept", "*/*"}, {"empty", ""}}},
		{"join makes two lines one", func(f *header.Fields) { f.Join("b3"); f.Join("accept"); f.Join("absent") },
			header.Fields{{"host", "details:9080"}, {"b3", "1,2"}, {"accept", "*/*"}, {"empty", ""}}},
		{"join leaves empty lines out", func(f *header.Fields) { f.Add("empty", "x"); f.Add("empty", ""); f.Join("empty") },
			header.Fields{{"host", "details:9080"}, {"b3", "1"}, {"accept", "*/*"}, {"b3", "2"}, {"empty", "x"}}},
		{"set appends", func(f *header.Fields) { f.Set("x", "y") },
			append(sample(), header.Field{Name: "x", Value: "y"})},
		{"add appends a second line", func(f *header.Fields) { f.Add("host", "z") },
			append(sample(), header.Field{Name: "host", Value: "z"})},
		{"del removes all lines", func(f *header.Fields) { f.Del("b3") },
			header.Fields{{"host", "details:9080"}, {"accept", "*/*"}, {"empty", ""}}},
		{"del of what is absent", func(f *header.Fields) { f.Del("x") }, sample()},
		{"del by function", func(f *header.Fields) { f.DelFunc(func(n string) bool { return n != "accept" }) },
			header.Fields{{"accept", "*/*"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := sample()
			tt.change(&f)
			if !slices.Equal(f, tt.want) {
				t.Errorf("got %q\nwant %q", f, tt.want)
			}
		})
	}
}

func TestCloneSharesNothing(t *testing.T) {
	f := sample()
	c := f.Clone()
	c.Set("host", "other")
	c.Del("b3")
	if !slices.Equal(f, sample()) {
		t.Errorf("changing the clone changed the original: %q", f)
	}
	if header.Fields(nil).Clone() != nil {
		t.Error("clone of nil is not nil")
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	f := sample()
	if n := testing.AllocsPerRun(100, func() {
		_ = f.Get("empty")
		_ = f.Has("absent")
		_ = f.Joined("host")
		f.Set("accept", "x")
		f.Set("b3", "2")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
