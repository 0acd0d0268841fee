package ratings

import (
	"context"
	"net/http"
	"time"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
)

// Database holds the ratings of v2.
type Database interface {
	// Ratings reads the first two ratings, in natural order. Its errors are for the caller: an *server.Error that says
	// whether the database could not be reached or not be read.
	Ratings(ctx context.Context) (Ratings, error)
	// Close gives up the pooled connections.
	Close() error
}

// databaseTimeout bounds a request's use of the database, from the connection to the last row. It is below the 2.5 s
// that reviews v3 waits, so that callers hear that the database is down and do not run into their own timeout.
const databaseTimeout = 2 * time.Second

// databaseName is fixed in the original, whatever the URL says.
const databaseName = "test"

// Ratings are those of the two reviewers, each as the JSON of its value; an empty one is left out of the answer, as
// JSON.stringify leaves out what is undefined.
type Ratings [2]string

// noRatings are those of an empty database.
func noRatings() Ratings { return Ratings{"0", "0"} }

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

func errConnect(err error) error {
	return &server.Error{Status: http.StatusInternalServerError, Message: "could not connect to ratings database", Err: err}
}

func databaseFromEnv(env *settings.Env) Database {
	kind := env.String("DB_TYPE", "mongodb", "database of v2: mysql; anything else is MongoDB")
	mysql := mysqlFromEnv(env)
	mongo := mongoFromEnv(env)
	if kind == "mysql" {
		return mysql
	}
	return mongo
}
