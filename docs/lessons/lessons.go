// Package lessons holds the lessons of this folder, as the console shows them, with what tells that one is done.
package lessons

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"slices"
	"strings"

	"github.com/yuin/goldmark"

	"example.com/bookinfo/services/console/backend"
	"example.com/bookinfo/services/console/span"
)

//go:embed [0-9]-*.md
var files embed.FS

// Lesson is one of them.
type Lesson struct {
	Slug  string // file name without number and ending, such as "half-a-context"
	Title string
	Body  template.HTML // without the title
	// Done reports whether the console holds what the lesson asks for.
	Done func(context.Context) (bool, error)
}

// All returns the lessons in their order. admin is nil where the spans belong to another engine.
func All(b backend.Backend, admin backend.Admin) ([]Lesson, error) {
	names, err := fs.Glob(files, "*.md")
	if err != nil {
		return nil, err
	}
	done := checks(b, admin)
	lessons := make([]Lesson, 0, len(names))
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		slug := strings.TrimSuffix(name[2:], ".md")
		heading, body, _ := bytes.Cut(text, []byte("\n"))
		var html bytes.Buffer
		if err := goldmark.Convert(body, &html); err != nil {
			return nil, fmt.Errorf("lesson %s: %w", slug, err)
		}
		if done[slug] == nil {
			return nil, fmt.Errorf("lesson %s: nothing tells when it is done", slug)
		}
		lessons = append(lessons, Lesson{
			Slug: slug, Title: strings.TrimPrefix(string(heading), "# "),
			Body: template.HTML(html.String()), //nolint:gosec // our own files
			Done: done[slug],
		})
	}
	return lessons, nil
}

const (
	productpage = "productpage.default"
	ratings     = "ratings.default"
	// wholeSpans are those of a page with stars: seven, and one or two of the gateway.
	wholeSpans = 8
)

// clientTrace is the trace id which the lesson about the gateway sends, as it reads in that lesson.
func clientTrace() span.TraceID { return span.TraceID{Hi: 0x463ac35c9f6413ad, Lo: 0x48485a3953bb6124} }

func checks(b backend.Backend, admin backend.Admin) map[string]func(context.Context) (bool, error) {
	found := func(kinds ...string) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			return exists(ctx, b, backend.Query{}, func(t backend.Summary) bool {
				return slices.ContainsFunc(kinds, func(k string) bool { return slices.Contains(t.Findings, k) })
			})
		}
	}
	return map[string]func(context.Context) (bool, error){
		"one-request": func(ctx context.Context) (bool, error) {
			return exists(ctx, b, backend.Query{Application: ratings}, func(t backend.Summary) bool {
				return t.Spans >= wholeSpans && len(t.Findings) == 0
			})
		},
		"nothing-forwarded":       found("nothing-forwarded"),
		"half-a-context":          found("half-context", "context-lost"),
		"request-id-and-sampling": found("request-id-dropped"),
		"b3-and-w3c":              found("context-lost", "wrong-family"),
		"gateway-and-client-contexts": func(ctx context.Context) (bool, error) {
			return exists(ctx, b, backend.Query{ID: clientTrace().String(), Application: productpage}, func(backend.Summary) bool { return true })
		},
		"sdk-and-sidecars": found("spans-not-exported", "sdk-new-trace"),
		"quota-and-silence": func(context.Context) (bool, error) {
			if admin == nil {
				return false, nil
			}
			u := admin.Usage()
			room := u.QuotaSpans == 0 || u.Spans < u.QuotaSpans
			return u.Refused > 0 && room, nil
		},
	}
}

// exists reports whether one of the newest traces is as it should be.
func exists(ctx context.Context, b backend.Backend, q backend.Query, is func(backend.Summary) bool) (bool, error) {
	q.OrderBy, q.Limit = backend.ByTime, 100
	result, err := b.Search(ctx, q)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(result.Traces, is), nil
}
