package ratings

import "context"

// Database holds the ratings of v2. Package database has those of the original; they are handed over, so that who
// serves from memory alone links no driver.
type Database interface {
	// Ratings reads the first two ratings, in natural order. Its errors are for the caller: an *server.Error that says
	// whether the database could not be reached or not be read.
	Ratings(ctx context.Context) (Ratings, error)
	// Close gives up the pooled connections.
	Close() error
}

// Ratings are those of the two reviewers, each as the JSON of its value; an empty one is left out of the answer, as
// JSON.stringify leaves out what is undefined.
type Ratings [2]string

func (r Ratings) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	for i, name := range [2]string{`"Reviewer1":`, `"Reviewer2":`} {
		if r[i] == "" {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(dst, name...), r[i]...)
	}
	return append(dst, '}')
}
