// Package database reads the ratings of v2 from MySQL or MongoDB.
package database

import (
	"net/http"
	"time"

	"example.com/bookinfo/internal/server"
	"example.com/bookinfo/internal/settings"
	"example.com/bookinfo/services/ratings"
)

// timeout bounds a request's use of the database, from the connection to the last row. It is below the 2.5 s that
// reviews v3 waits, so that callers hear that the database is down and do not run into their own timeout.
const timeout = 2 * time.Second

// databaseName is fixed in the original, whatever the URL says.
const databaseName = "test"

// FromEnv returns the database that the environment names, which connects when it is first asked.
func FromEnv(env *settings.Env) ratings.Database {
	kind := env.String("DB_TYPE", "mongodb", "database of v2: mysql; anything else is MongoDB")
	mysql := mysqlFromEnv(env)
	mongo := mongoFromEnv(env)
	if kind == "mysql" {
		return mysql
	}
	return mongo
}

// none are the ratings of an empty database.
func none() ratings.Ratings { return ratings.Ratings{"0", "0"} }

func errConnect(err error) error {
	return &server.Error{Status: http.StatusInternalServerError, Message: "could not connect to ratings database", Err: err}
}
