package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"

	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

// export gives the whole trace as a file: OTLP JSON, Zipkin JSON, or one HTML file that needs nothing beside it.
func (c *console) export(w http.ResponseWriter, r *http.Request) error {
	id, err := span.ParseTraceID(param(r, "id"))
	if err != nil {
		return badRequest(err.Error())
	}
	held, err := c.held.read(r.Context(), id)
	if err != nil {
		return err
	}
	spans := held.spans
	var data []byte
	kind := "application/json"
	var ending string
	switch param(r, "format") {
	case "otlp":
		ending = ".otlp.json"
		data, err = json.MarshalIndent(format.OTLP(spans), "", " ")
	case "zipkin":
		ending = ".zipkin.json"
		data, err = json.MarshalIndent(format.Zipkin(spans), "", " ")
	case "html":
		kind, ending = "text/html; charset=utf-8", ".html"
		data, err = c.exportHTML(r, id, spans)
	default:
		return notFound("export as otlp, zipkin or html")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="trace-%s%s"`, format.TraceID(spans[0].TraceID), ending))
	_, err = w.Write(data)
	return ignoreGone(err)
}

type exportPage struct {
	Style template.CSS
	Page  *tracePage
	Cards []spanCard
}

// exportHTML writes every row with its details below, folded into details elements, and the style inside the file.
func (c *console) exportHTML(r *http.Request, id span.TraceID, spans []span.Span) ([]byte, error) {
	v := traceView{View: "waterfall"}
	p := &tracePage{traceView: v, ID: format.TraceID(spans[0].TraceID), Tree: tree.Build(spans, v.options(id))}
	if at := p.Tree.Root(); at >= 0 {
		p.Name, p.Application = p.Tree.Nodes[at].Span.Name, p.Tree.Nodes[at].Span.Service
	}
	p.Problems = placeProblems(p.Tree, r.URL)
	p.Window = window{Start: p.Tree.Start, Total: p.Tree.Duration(), Width: max(p.Tree.Duration(), 1)}
	p.Ticks = ticks(p.Window)
	body := exportPage{Style: template.CSS(c.assets["console.css"].data), Page: p}
	names := make(map[string]bool)
	for i := range p.Tree.Nodes {
		p.Rows = append(p.Rows, c.row(p.Tree, i, p.Window, r.URL, names))
		var card spanCard
		if p.Tree.Nodes[i].Span != nil {
			card = c.card(p.Tree, i, r.URL)
		}
		body.Cards = append(body.Cards, card)
	}
	var b bytes.Buffer
	err := c.pages["export"].ExecuteTemplate(&b, "export", body)
	return b.Bytes(), err
}
