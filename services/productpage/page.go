package productpage

import (
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"example.com/bookinfo/services/productpage/pyjson"
)

// productID is the product that the page shows.
const productID = "0"

// maxStars bounds how many stars a page draws for one rating; five are usual.
const maxStars = 100

// pageView is what the product page shows.
type pageView struct {
	Title   string
	Summary template.HTML
	User    string

	Details      *detailsView // nil if they could not be fetched
	DetailsSorry string
	Reviews      *reviewsView // nil if they could not be fetched
	ReviewsSorry string

	Trace traceView
}

type detailsView struct {
	ISBN10, Publisher, Pages, Type, Language string
}

type reviewsView struct {
	PodName string
	Cluster string // empty: the service does not say
	Reviews []reviewView
}

type reviewView struct {
	First          bool
	Reviewer, Text string
	Rated          bool // there are stars to draw
	Stars          int
	Drawn          template.HTML // the stars, and outlines up to five
	Color          string
	RatingError    string
}

// A star, and the outline of one that was not given. Tutorials search the page for the id, which is on every star and
// must not be anywhere else. They are no part of the template since a page has many.
const (
	starHTML    = `<svg id="glyphicon glyphicon-star" viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><path fill="currentColor" d="m12 2 3 6.6 7 .8-5.2 4.8L18.2 21 12 17.5 5.8 21l1.4-6.8L2 9.4l7-.8z"/></svg>` + "\n"
	outlineHTML = `<svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><path fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round" d="m12 3.5 2.5 5.6 6 .7-4.5 4.1 1.2 6L12 16.9l-5.2 3 1.2-6L3.5 9.8l6-.7z"/></svg>` + "\n"
)

// page asks details, then reviews, one after the other as the original does, and shows the page also when they fail.
func (s *service) page(w http.ResponseWriter, r *http.Request) error {
	found, _ := s.sessions.read(r)
	ctx := withIdentity(r, found.name())
	view := pageView{
		Title:        productTitle,
		Summary:      template.HTML(summaryHTML),
		User:         found.name(),
		DetailsSorry: s.details.sorry,
		ReviewsSorry: s.reviews.sorry,
		Trace:        s.traceView(r),
	}

	status, document, err := s.details.fetch(ctx, productID)
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		view.Details = newDetailsView(document)
	}

	for range s.flood {
		if _, _, err := s.reviews.fetch(ctx, productID); ctx.Err() != nil {
			return err
		}
	}
	status, document, err = s.reviews.fetch(ctx, productID)
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		if view.Reviews, err = newReviewsView(document); err != nil {
			return err
		}
	}
	w.Header().Set("Vary", "Cookie")
	return s.html(w, http.StatusOK, "productpage", view)
}

func newDetailsView(document pyjson.Value) *detailsView {
	return &detailsView{
		ISBN10:    text(document, "ISBN-10"),
		Publisher: text(document, "publisher"),
		Pages:     text(document, "pages"),
		Type:      text(document, "type"),
		Language:  text(document, "language"),
	}
}

func newReviewsView(document pyjson.Value) (*reviewsView, error) {
	view := &reviewsView{PodName: text(document, "podname"), Cluster: text(document, "clustername")}
	if view.Cluster == "null" { // how reviews spells a cluster without a name
		view.Cluster = ""
	}
	list, _ := document.Get("reviews")
	for i, item := range list.Items() {
		review := reviewView{First: i == 0, Reviewer: text(item, "reviewer"), Text: text(item, "text")}
		if rating, found := item.Get("rating"); found {
			if err := review.rate(rating); err != nil {
				return nil, err
			}
		}
		view.Reviews = append(view.Reviews, review)
	}
	return view, nil
}

// rate reads a rating: {"stars": 5, "color": "black"} or {"error": "…"}. No stars at all draw nothing.
func (v *reviewView) rate(rating pyjson.Value) error {
	v.Color, v.RatingError = text(rating, "color"), text(rating, "error")
	stars, found := rating.Get("stars")
	if !found || stars.Kind() == pyjson.Null || stars.Plain() == "" {
		return nil
	}
	n, ok := stars.Int()
	if !ok || n > maxStars {
		return fmt.Errorf("reviews answers %q stars, want a whole number up to %d", stars.Plain(), maxStars)
	}
	v.Rated, v.Stars = n != 0, max(0, n)
	v.Drawn = drawStars(v.Stars)
	return nil
}

// drawStars draws n stars, and outlines up to the usual five. Up to five it cuts them out of one long row, since making
// the text anew would be a tenth of what a page allocates.
func drawStars(n int) template.HTML {
	const (
		five = starHTML + starHTML + starHTML + starHTML + starHTML
		none = outlineHTML + outlineHTML + outlineHTML + outlineHTML + outlineHTML
		row  = five + none
	)
	if n > 5 {
		return template.HTML(strings.Repeat(starHTML, n))
	}
	return template.HTML(row[(5-n)*len(starHTML) : len(five)+(5-n)*len(outlineHTML)])
}

func text(document pyjson.Value, name string) string {
	value, _ := document.Get(name)
	return value.Plain()
}
