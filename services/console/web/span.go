package web

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/bookinfo/services/console/span"
	"example.com/bookinfo/services/console/tree"
)

// spanCard is what hovering over a span shows, and clicking keeps open.
type spanCard struct {
	ID, Name, Service, Half, Version, IP, Host, Status string
	Trace, Parent, Close, Alike, Application           string
	Hue                                                int
	Bad                                                bool
	Start                                              time.Time
	After, Duration, Self, Critical, Skew              time.Duration
	Tags, Resource                                     span.Tags
	Headers                                            []headerLine
	Events                                             []eventLine
	Links                                              []Link
	Problems                                           []string
	Cut                                                []string
	Scope, TraceState, Message, Path                   string
	Other                                              *spanCard
}

type eventLine struct {
	Name  string
	After time.Duration
	Time  time.Time
	Tags  span.Tags
}

// span is the page, or for scripts the part, that shows one span in full.
func (c *console) span(w http.ResponseWriter, r *http.Request) error {
	held, v, err := c.part(r)
	if err != nil {
		return err
	}
	want, err := span.ParseID(param(r, "span"))
	if err != nil {
		return badRequest(err.Error())
	}
	t := c.tree(r.Context(), held, v)
	at := t.Find(want)
	if at < 0 && !v.Together {
		// The span of a fragment may be asked for under the trace that shows it.
		v.Together = true
		t = c.tree(r.Context(), held, v)
		at = t.Find(want)
	}
	if at < 0 {
		return notFound("the trace holds no span " + want.String())
	}
	card := c.card(t, at, r.URL)
	if r.URL.Query().Get("part") == "card" {
		return c.write(w, http.StatusOK, "trace", "card", card)
	}
	return c.render(w, r, http.StatusOK, "span", view{Title: card.Name + " · " + card.Service, Section: "traces", Body: card})
}

func (c *console) card(t *tree.Tree, at int, u *url.URL) spanCard {
	n := &t.Nodes[at]
	card := c.cardOf(n.Span, t.Start)
	card.Half, card.Self, card.Critical, card.Skew = half(n), n.Self, n.CriticalTime(), n.Skew
	card.After, card.Duration, card.Bad, card.Status = n.Start.Sub(t.Start), n.Duration, n.Error(), statusText(n)
	card.Path = dottedPath(t, at)
	for _, p := range n.Problems {
		card.Problems = append(card.Problems, p.Text)
	}
	q := u.Query()
	var rest []string
	for _, id := range q["span"] {
		if id != card.ID {
			rest = append(rest, id)
		}
	}
	q["span"] = rest
	card.Close = u.Path + "?" + q.Encode()
	if n.Server != nil {
		other := c.cardOf(n.Server, t.Start)
		other.Half = "SERVER"
		card.Other = &other
	}
	return card
}

func (c *console) cardOf(s *span.Span, start time.Time) spanCard {
	card := spanCard{ID: s.ID.String(), Name: s.Name, Service: s.Service, Half: s.Kind.String(), Version: s.Version, IP: s.IP, Host: s.Host,
		Trace: s.TraceID.String(), Hue: hue(s.Service), Start: s.Start, After: s.Start.Sub(start), Duration: s.Duration,
		Resource: s.Resource, Cut: s.Cut, Scope: s.Scope, TraceState: s.TraceState, Message: s.StatusMessage, Bad: s.Error(),
		Application: "/applications/" + url.PathEscape(s.Service),
		Alike:       "/traces?" + url.Values{"application": {s.Service}, "name": {s.Name}}.Encode()}
	if s.ParentID != 0 {
		card.Parent = s.ParentID.String()
	}
	for _, tag := range s.Tags {
		if !strings.HasPrefix(tag.Key, receivedPrefix) && !strings.HasPrefix(tag.Key, sentPrefix) {
			card.Tags = append(card.Tags, tag)
		}
	}
	card.Headers = headerLines(headersOf(s, receivedPrefix), headersOf(s, sentPrefix))
	for _, e := range s.Events {
		card.Events = append(card.Events, eventLine{eventName(e.Name), e.Time.Sub(start), e.Time, e.Tags})
	}
	for _, l := range s.Links {
		card.Links = append(card.Links, Link{l.TraceID.String(), "/traces/" + l.TraceID.String() + "?span=" + l.SpanID.String()})
	}
	return card
}

// eventName spells out the annotations that Zipkin abbreviates.
func eventName(name string) string {
	long := map[string]string{"cs": "client send", "cr": "client receive", "ss": "server send", "sr": "server receive"}[name]
	if long == "" {
		return name
	}
	return name + " (" + long + ")"
}

// dottedPath numbers the span by the order of siblings from the root down, as the managed console's RpcId: 0.1.2.
func dottedPath(t *tree.Tree, at int) string {
	var parts []string
	for at >= 0 && len(parts) < 64 {
		n := &t.Nodes[at]
		place := 0
		if n.Parent >= 0 {
			for i, sibling := range t.Nodes[n.Parent].Children {
				if sibling == at {
					place = i + 1
				}
			}
		}
		parts = append([]string{count(place)}, parts...)
		at = n.Parent
	}
	return strings.Join(parts, ".")
}
