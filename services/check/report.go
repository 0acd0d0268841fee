package check

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Report is everything that a run found.
type Report struct {
	URL      string    `json:"url"`
	Profile  string    `json:"profile"`
	Protocol string    `json:"protocol"`
	OK       bool      `json:"ok"` // no finding is an error
	Cases    []Case    `json:"cases"`
	Findings []Finding `json:"findings"`
}

// Case is one case of a report.
type Case struct {
	Name    string          `json:"name"`
	About   string          `json:"about"`
	Status  string          `json:"status,omitempty"`  // of the service's answer to the first request
	Skipped string          `json:"skipped,omitempty"` // why the case says nothing
	OK      bool            `json:"ok"`                // no error was found in it
	Calls   int             `json:"calls"`
	Headers map[string]cell `json:"headers"` // those that came or went
}

func newReport(cfg config, outcomes []outcome, found []Finding) Report {
	r := Report{URL: cfg.url, Profile: cfg.profile, Protocol: cfg.protocol, OK: !hasError(found), Findings: found}
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	for _, o := range outcomes {
		c := Case{Name: o.name, About: o.about, Skipped: o.skipped, Headers: map[string]cell{}}
		c.OK = !slices.ContainsFunc(found, func(f Finding) bool { return f.Level == "error" && slices.Contains(f.Cases, o.name) })
		for _, ex := range o.exchanges {
			c.Calls += len(ex.calls)
			if c.Status == "" {
				c.Status = ex.status
			}
		}
		for name, cell := range o.cells {
			if cell.Verdict != Absent || len(cell.Sent) > 0 {
				c.Headers[name] = cell
			}
		}
		r.Cases = append(r.Cases, c)
	}
	return r
}

// write prints the report as text, json, junit or sarif.
func (r Report) write(w io.Writer, format string) error {
	switch format {
	case "json":
		return r.writeJSON(w, r)
	case "junit":
		return r.writeJUnit(w)
	case "sarif":
		return r.writeJSON(w, r.sarif())
	}
	return r.writeText(w)
}

func (Report) writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// sign is a verdict in the matrix.
func sign(v Verdict, came bool) string {
	switch v {
	case Kept:
		return "="
	case Changed:
		return "~"
	case Lost:
		return "-"
	case Emptied:
		return "0"
	case Duplicated:
		return "2"
	case Invented:
		return "+"
	case Leaked:
		return "!"
	case Absent:
	}
	if came {
		return "." // without a value, or of one hop
	}
	return " "
}

func (r Report) writeText(out io.Writer) error {
	var w strings.Builder
	fmt.Fprintf(&w, "%s, profile %s, over %s\n\n", r.URL, r.Profile, r.Protocol)
	r.writeMatrix(&w)
	for i, c := range r.Cases {
		state := "ok"
		switch {
		case c.Skipped != "":
			state = "skipped: " + c.Skipped
		case !c.OK:
			state = "FAIL"
		}
		fmt.Fprintf(&w, "%3d  %-18s %-60s %s\n", i+1, c.Name, c.About, state)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&w, "\n%s %s: %s\n", f.Level, f.Rule, f.Message)
		if len(f.Headers) > 0 {
			fmt.Fprintf(&w, "  headers: %s\n", strings.Join(f.Headers, ", "))
		}
		fmt.Fprintf(&w, "  cases:   %s\n", strings.Join(f.Cases, ", "))
		if f.Level == "note" {
			continue
		}
		for _, language := range languages() {
			fmt.Fprintf(&w, "  %-8s %s\n", language+":", f.Mend[language])
		}
	}
	verdict := "\nThe headers pass.\n"
	if !r.OK {
		verdict = "\nThe headers do not pass.\n"
	}
	w.WriteString(verdict)
	_, err := io.WriteString(out, w.String())
	return err
}

func languages() []string { return []string{"go", "java", "python", "node", "ruby"} }

// writeMatrix prints headers against cases.
func (r Report) writeMatrix(w *strings.Builder) {
	if !slices.ContainsFunc(r.Cases, func(c Case) bool { return len(c.Headers) > 0 }) {
		return
	}
	fmt.Fprintf(w, "%-28s", "")
	for i := range r.Cases {
		fmt.Fprintf(w, "%3d", i+1)
	}
	fmt.Fprintln(w)
	for _, name := range headerNames() {
		var row strings.Builder
		for _, c := range r.Cases {
			cell, came := c.Headers[name]
			fmt.Fprintf(&row, "%3s", sign(cell.Verdict, came))
		}
		if strings.TrimSpace(row.String()) != "" {
			fmt.Fprintf(w, "%-28s%s\n", name, strings.TrimRight(row.String(), " "))
		}
	}
	fmt.Fprint(w, "\n= forwarded  ~ changed  - lost  + invented  2 duplicated  0 sent empty  ! of another request  . came and rightly stayed\n\n")
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	Classname string        `xml:"classname,attr"`
	Failure   *junitMessage `xml:"failure"`
	Skipped   *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (r Report) writeJUnit(w io.Writer) error {
	suite := junitSuite{Name: "bookinfo check " + r.URL, Tests: len(r.Cases)}
	for _, c := range r.Cases {
		jc := junitCase{Name: c.Name, Classname: "bookinfo.check." + r.Profile}
		switch {
		case c.Skipped != "":
			suite.Skipped++
			jc.Skipped = &junitMessage{Message: c.Skipped}
		case !c.OK:
			suite.Failures++
			jc.Failure = r.failure(c)
		}
		suite.Cases = append(suite.Cases, jc)
	}
	// What is not of any one case, such as a service that makes no call.
	for _, f := range r.Findings {
		if f.Level == "error" && !slices.ContainsFunc(r.Cases, func(c Case) bool { return slices.Contains(f.Cases, c.Name) }) {
			suite.Tests++
			suite.Failures++
			suite.Cases = append(suite.Cases, junitCase{Name: f.Rule, Classname: "bookinfo.check." + r.Profile, Failure: &junitMessage{Message: f.Rule, Text: f.Message}})
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r Report) failure(c Case) *junitMessage {
	var broken, text []string
	for _, f := range r.Findings {
		if f.Level == "error" && slices.Contains(f.Cases, c.Name) {
			broken = append(broken, f.Rule)
			text = append(text, f.Rule+": "+f.Message+" ["+strings.Join(f.Headers, ", ")+"]")
		}
	}
	return &junitMessage{Message: strings.Join(broken, ", "), Text: strings.Join(text, "\n")}
}

// sarif is the report as SARIF 2.1.0 (https://docs.oasis-open.org/sarif/sarif/v2.1.0/).
func (r Report) sarif() any {
	type object = map[string]any
	described, results := []object{}, []object{}
	for i, f := range r.Findings {
		known := slices.ContainsFunc(r.Findings[:i], func(before Finding) bool { return before.Rule == f.Rule })
		if !known {
			described = append(described, object{
				"id":               f.Rule,
				"shortDescription": object{"text": f.Message},
				"help":             object{"text": "Go: " + f.Mend["go"] + "\nJava: " + f.Mend["java"] + "\nPython: " + f.Mend["python"] + "\nNode: " + f.Mend["node"] + "\nRuby: " + f.Mend["ruby"]},
			})
		}
		results = append(results, object{
			"ruleId":  f.Rule,
			"level":   f.Level,
			"message": object{"text": f.Message + " Headers: " + strings.Join(f.Headers, ", ") + ". Cases: " + strings.Join(f.Cases, ", ") + "."},
			"locations": []object{{
				"physicalLocation": object{"artifactLocation": object{"uri": r.URL}},
			}},
		})
	}
	return object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json",
		"version": "2.1.0",
		"runs": []object{{
			"tool":    object{"driver": object{"name": "bookinfo check", "rules": described}},
			"results": results,
		}},
	}
}
