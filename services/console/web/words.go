package web

import (
	"fmt"
	"hash/fnv"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/span"
)

// funcs are what templates call.
func (c *console) funcs() template.FuncMap {
	return template.FuncMap{
		"asset":    func(name string) string { return c.assets[name].url },
		"duration": duration,
		"count":    count,
		"bytes":    byteSize,
		"percent":  percent,
		"clock":    func(t time.Time) string { return clockText(t.In(c.Location)) },
		"minute":   func(t time.Time) string { return t.In(c.Location).Format("15:04") },
		"moment":   func(t time.Time) string { return t.In(c.Location).Format("2006-01-02 15:04:05.000 MST") },
		"machine":  func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"ago":      func(t time.Time) string { return ago(c.Now().Sub(t)) },
		"hue":      hue,
		"traceid":  format.TraceID,
		"short":    short,
		"modules":  c.modules,
		"ranges":   ranges,
		"themes":   themes,
		"finding":  func(kind string) string { return doctor.Kind(kind).Title() },
		"add":      func(a, b float64) float64 { return a + b },
		"next":     func(a, b int) int { return a + b },
		"pathpart": url.PathEscape,
		"join":     strings.Join,
		"dict":     dict,
	}
}

// dict builds a map for a template call with several arguments.
func dict(pairs ...any) map[string]any {
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m
}

// duration gives three significant digits and a unit: 870 µs, 12.4 ms, 7.01 s.
func duration(d time.Duration) string {
	if d < 0 {
		return "−" + duration(-d)
	}
	switch {
	case d == 0:
		return "0"
	case d < time.Microsecond:
		return strconv.Itoa(int(d)) + " ns"
	case d < time.Millisecond:
		return digits(float64(d)/1e3) + " µs"
	case d < time.Second:
		return digits(float64(d)/1e6) + " ms"
	case d < time.Minute:
		return digits(d.Seconds()) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

func digits(v float64) string {
	decimals := 0
	if v < 10 {
		decimals = 2
	} else if v < 100 {
		decimals = 1
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// count groups the digits by three with narrow spaces.
func count(v any) string {
	text := fmt.Sprint(v)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "\u202f" + text[at:]
	}
	return text
}

func byteSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, unit := float64(n), 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return digits(v) + " " + units[unit]
}

// percent gives part of whole, "–" of nothing.
func percent(part, whole int64) string {
	if whole == 0 {
		return "–"
	}
	v := 100 * float64(part) / float64(whole)
	if v > 0 && v < 0.01 {
		return "<0.01 %"
	}
	return digits(v) + " %"
}

func clockText(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.Format("15:04:05.000")
}

func ago(d time.Duration) string {
	switch {
	case d < 0:
		return "in the future"
	case d < 2*time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

// hue picks one of ten colours for a service; a name always has the same.
func hue(service string) int {
	known := map[string]int{"istio-ingressgateway": 0, "productpage": 1, "details": 2, "reviews": 3, "ratings": 4}
	name, _, _ := strings.Cut(service, ".")
	if h, ok := known[name]; ok {
		return h
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(service))
	return int(h.Sum32() % 10)
}

func short(id span.TraceID) string { return format.TraceID(id)[:8] }

// parseSize reads a number of bytes with an optional unit of 1024s: "250 MiB", "2G", "1048576".
func parseSize(text string) (int64, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, nil
	}
	number := strings.TrimRight(text, "BKMGTibkmgt ")
	unit := strings.ToUpper(strings.TrimSpace(text[len(number):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")
	v, err := strconv.ParseFloat(number, 64)
	power, known := map[string]int{"": 0, "K": 1, "M": 2, "G": 3, "T": 4}[unit]
	if err != nil || !known || v < 0 || v*math.Pow(1024, float64(power)) > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q: want a size such as 250 MiB, or 0 for no limit", text)
	}
	return int64(v * math.Pow(1024, float64(power))), nil
}

func parseCount(text string) (int64, error) {
	text = strings.NewReplacer(" ", "", "\u202f", "", ",", "", "_", "").Replace(text)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q: want a whole number of spans, or 0 for no limit", text)
	}
	return n, nil
}
