package details

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"time"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/propagation"
)

// The one book that v2 asks for, whatever the product: the original's edition with Shakespeare as the only author.
const volumePath = "/books/v1/volumes?q=isbn:0486424618"

const (
	booksTimeout = 5 * time.Second // from the connection to the last byte
	maxVolumes   = 1 << 20         // the most that is read of an answer, in bytes
)

// books asks Google Books.
type books struct {
	url    string
	client *http.Client
}

func newBooks(cfg Config) *books {
	return &books{
		url: cfg.BooksURL + volumePath,
		client: &http.Client{
			Transport: propagation.IdentityTransport{Base: cfg.Transport},
			Timeout:   booksTimeout,
			// The original follows no redirect.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// volume is what is used of a book. What is passed on as it came may be of any type, or missing.
type volume struct {
	Authors             []string                            `json:"authors"`
	PublishedDate       any                                 `json:"publishedDate"`
	PrintType           string                              `json:"printType"`
	PageCount           any                                 `json:"pageCount"`
	Publisher           any                                 `json:"publisher"`
	Language            string                              `json:"language"`
	IndustryIdentifiers []struct{ Type, Identifier string } `json:"industryIdentifiers"`
}

// find asks for the book. Its errors are for the caller, as the original's: 400 whatever went wrong.
func (b *books) find(ctx context.Context, id *big.Int) (Details, error) {
	book, err := b.ask(ctx)
	if err != nil {
		return Details{}, refused(err)
	}
	isbn10, err := book.isbn("ISBN_10")
	if err != nil {
		return Details{}, refused(err)
	}
	isbn13, err := book.isbn("ISBN_13")
	if err != nil {
		return Details{}, refused(err)
	}
	facts := Details{
		ID:        id,
		Author:    book.Authors[0],
		Year:      book.PublishedDate,
		Type:      "unknown",
		Pages:     book.PageCount,
		Publisher: book.Publisher,
		Language:  "unknown",
		ISBN10:    isbn10,
		ISBN13:    isbn13,
	}
	if book.PrintType == "BOOK" {
		facts.Type = "paperback"
	}
	if book.Language == "en" {
		facts.Language = "English"
	}
	return facts, nil
}

// isbn returns the first identifier of a kind, ISBN_10 or ISBN_13.
func (v *volume) isbn(kind string) (string, error) {
	for _, identifier := range v.IndustryIdentifiers {
		if identifier.Type == kind {
			return identifier.Identifier, nil
		}
	}
	return "", fmt.Errorf("the book has no %s", kind)
}

func refused(err error) error {
	return &server.Error{Status: http.StatusBadRequest, Message: "Google Books: " + err.Error(), Err: err}
}

func (b *books) ask(ctx context.Context) (*volume, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxVolumes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxVolumes {
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxVolumes)
	}
	var found struct {
		Items []struct {
			VolumeInfo volume `json:"volumeInfo"`
		} `json:"items"`
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, fmt.Errorf("status %d, no JSON: %w", resp.StatusCode, err)
	}
	if len(found.Items) == 0 || len(found.Items[0].VolumeInfo.Authors) == 0 {
		return nil, fmt.Errorf("status %d, no book in the answer", resp.StatusCode)
	}
	return &found.Items[0].VolumeInfo, nil
}
