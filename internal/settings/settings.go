// Package settings reads a program's settings from environment variables: each is read where it is declared, a wrong
// one is remembered as an [Error], and all of them can be listed with their defaults for -h.
package settings

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Lookup finds a variable and says whether it is set; [os.LookupEnv] is one. A variable that is set to nothing
// differs from one that is not set: only the latter has the default.
type Lookup func(name string) (value string, set bool)

// Map is a Lookup over fixed values, for tests and for programs that start services in their own process.
func Map(values map[string]string) Lookup {
	return func(name string) (string, bool) {
		value, set := values[name]
		return value, set
	}
}

// Error is a setting with a value that the program cannot use.
type Error struct {
	Name  string // the variable
	Value string // what it holds; "(hidden)" for a secret
	Want  string // what would be right
	Err   error  // what is wrong, in the words of the code that reads it; instead of Want
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s=%q: %v", e.Name, e.Value, e.Err)
	}
	return fmt.Sprintf("%s=%q: want %s", e.Name, e.Value, e.Want)
}

type variable struct {
	name, fallback, about string
}

// Env is the environment of one program. It is for start-up only and not safe for concurrent use.
type Env struct {
	lookup    Lookup
	variables []variable
	errs      []error
}

// From returns an Env that reads by lookup.
func From(lookup Lookup) *Env { return &Env{lookup: lookup} }

// Getenv returns the value of a variable without declaring it, and "" when it is not set, as [os.Getenv] does.
func (e *Env) Getenv(name string) string {
	if value, set := e.lookup(name); set {
		return value
	}
	return ""
}

// Declare lists in the help a variable that other code reads.
func (e *Env) Declare(name, fallback, about string) {
	if !slices.ContainsFunc(e.variables, func(v variable) bool { return v.name == name }) {
		e.variables = append(e.variables, variable{name, fallback, about})
	}
}

// Reject records that name holds a value the program cannot use; want says what would be right.
func (e *Env) Reject(name, want string) {
	e.errs = append(e.errs, &Error{Name: name, Value: e.Getenv(name), Want: want})
}

// RejectFor is Reject with an error that says itself what is wrong and what would be right.
func (e *Env) RejectFor(name string, err error) {
	e.errs = append(e.errs, &Error{Name: name, Value: e.Getenv(name), Err: err})
}

// RejectSecret is Reject for a variable whose value must not be printed.
func (e *Env) RejectSecret(name, want string) {
	e.errs = append(e.errs, &Error{Name: name, Value: "(hidden)", Want: want})
}

// Err returns every wrong setting met so far, one a line, or nil.
func (e *Env) Err() error { return errors.Join(e.errs...) }

func (e *Env) read(name, fallback, about string) string {
	e.Declare(name, fallback, about)
	if value, set := e.lookup(name); set {
		return value
	}
	return fallback
}

// String reads a text; any is right, the empty one too.
func (e *Env) String(name, fallback, about string) string {
	return e.read(name, fallback, about)
}

// Optional reads a text that may be unset, which is not the same as empty: set is false then.
func (e *Env) Optional(name, about string) (value string, set bool) {
	e.Declare(name, "", about)
	return e.lookup(name)
}

// Host reads a host name or an address, as it stands in a URL before the port; an empty one is right.
func (e *Env) Host(name, fallback, about string) string {
	value := e.read(name, fallback, about)
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`/\?#@%<>"`, r) }
	address := net.ParseIP(strings.Trim(value, "[]"))
	if strings.ContainsFunc(value, bad) || address == nil && strings.ContainsAny(value, "[]:") {
		e.Reject(name, "a host name or an address, without scheme, port or path")
	}
	return value
}

// OneOf reads one of the words allowed; case matters.
func (e *Env) OneOf(name, fallback, about string, allowed ...string) string {
	value := e.read(name, fallback, about+" ("+strings.Join(allowed, ", ")+")")
	if !slices.Contains(allowed, value) {
		e.Reject(name, "one of "+strings.Join(allowed, ", "))
		return fallback
	}
	return value
}

// Int reads a decimal number from min to max. An empty value means the fallback.
func (e *Env) Int(name string, fallback, min, max int, about string) int {
	value := e.read(name, strconv.Itoa(fallback), about)
	if value == "" {
		return fallback
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < min || n > max {
		e.Reject(name, fmt.Sprintf("a number from %d to %d", min, max))
		return fallback
	}
	return n
}

// Bool reads true or false in any case. An empty value means the fallback.
func (e *Env) Bool(name string, fallback bool, about string) bool {
	value := e.read(name, strconv.FormatBool(fallback), about)
	switch strings.ToLower(value) {
	case "true":
		return true
	case "false":
		return false
	case "":
		return fallback
	}
	e.Reject(name, "true or false")
	return fallback
}

// Duration reads a duration of at least zero with its unit, for example 500ms or 2m. An empty value means the
// fallback.
func (e *Env) Duration(name string, fallback time.Duration, about string) time.Duration {
	value := e.read(name, fallback.String(), about)
	if value == "" {
		return fallback
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		e.Reject(name, "a duration with its unit, such as 500ms, 5s or 2m")
		return fallback
	}
	return d
}

// WriteHelp lists the variables read so far, one a line, with their defaults.
func (e *Env) WriteHelp(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range e.variables {
		fallback := v.fallback
		if fallback == "" {
			fallback = `""`
		}
		if _, err := fmt.Fprintf(table, "  %s\t%s\t%s\n", v.name, fallback, v.about); err != nil {
			return err
		}
	}
	return table.Flush()
}
