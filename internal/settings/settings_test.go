package settings

import (
	"strings"
	"testing"
	"time"
)

func TestUnsetHasTheDefaultAndEmptyHasNot(t *testing.T) {
	env := From(Map(map[string]string{"EMPTY": ""}))
	if got := env.String("EMPTY", "x", ""); got != "" {
		t.Errorf("set to nothing: %q", got)
	}
	if got := env.String("UNSET", "x", ""); got != "x" {
		t.Errorf("unset: %q", got)
	}
	if _, set := env.Optional("EMPTY", ""); !set {
		t.Error("EMPTY counts as unset")
	}
	if _, set := env.Optional("UNSET", ""); set {
		t.Error("UNSET counts as set")
	}
	// Numbers, durations and truth values have no empty form.
	if env.Int("EMPTY", 5, 0, 9, "") != 5 || !env.Bool("EMPTY", true, "") || env.Duration("EMPTY", time.Second, "") != time.Second {
		t.Error("an empty number, truth value or duration is not the default")
	}
	if err := env.Err(); err != nil {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	env := From(Map(map[string]string{"N": "7", "B": "TRUE", "D": "1m30s", "W": "json"}))
	if env.Int("N", 0, 0, 9, "") != 7 || !env.Bool("B", false, "") || env.Duration("D", 0, "") != 90*time.Second ||
		env.OneOf("W", "text", "", "text", "json") != "json" {
		t.Error("a value was not read")
	}
	if err := env.Err(); err != nil {
		t.Error(err)
	}
}

func TestHosts(t *testing.T) {
	for _, host := range []string{"", "details", "details.shop.svc.cluster.local.", "10.0.0.1", "::1", "[::1]", "under_score"} {
		env := From(Map(map[string]string{"V": host}))
		if got := env.Host("V", "x", ""); got != host || env.Err() != nil {
			t.Errorf("%q: got %q, %v", host, got, env.Err())
		}
	}
}

func TestWrongValues(t *testing.T) {
	for name, c := range map[string]struct {
		value string
		read  func(*Env)
		want  string
	}{
		"no number":       {"x", func(e *Env) { e.Int("V", 0, 1, 9, "") }, `V="x": want a number from 1 to 9`},
		"too small":       {"0", func(e *Env) { e.Int("V", 0, 1, 9, "") }, `V="0": want a number from 1 to 9`},
		"too large":       {"10", func(e *Env) { e.Int("V", 0, 1, 9, "") }, `V="10": want a number from 1 to 9`},
		"no truth":        {"yes", func(e *Env) { e.Bool("V", false, "") }, `V="yes": want true or false`},
		"no unit":         {"5", func(e *Env) { e.Duration("V", 0, "") }, `V="5": want a duration with its unit, such as 500ms, 5s or 2m`},
		"negative":        {"-5s", func(e *Env) { e.Duration("V", 0, "") }, `V="-5s": want a duration with its unit, such as 500ms, 5s or 2m`},
		"not of the list": {"c", func(e *Env) { e.OneOf("V", "a", "", "a", "b") }, `V="c": want one of a, b`},
		"no host":         {"http://a", func(e *Env) { e.Host("V", "a", "") }, `V="http://a": want a host name or an address, without scheme, port or path`},
		"host and port":   {"a:80", func(e *Env) { e.Host("V", "a", "") }, `V="a:80": want a host name or an address, without scheme, port or path`},
		"host and blank":  {"a b", func(e *Env) { e.Host("V", "a", "") }, `V="a b": want a host name or an address, without scheme, port or path`},
		"secret":          {"p", func(e *Env) { e.RejectSecret("V", "more") }, `V="(hidden)": want more`},
	} {
		env := From(Map(map[string]string{"V": c.value}))
		c.read(env)
		if err := env.Err(); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func TestHelpListsEveryVariableOnce(t *testing.T) {
	env := From(Map(nil))
	env.Int("PORT", 9080, 0, 65535, "port to listen on")
	env.String("HOST", "", "host")
	env.Declare("PORT", "", "again")
	var help strings.Builder
	if err := env.WriteHelp(&help); err != nil {
		t.Fatal(err)
	}
	want := "  PORT  9080  port to listen on\n  HOST  \"\"    host\n"
	if help.String() != want {
		t.Errorf("got\n%swant\n%s", &help, want)
	}
}
