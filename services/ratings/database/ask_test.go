package database

import (
	"net/http/httptest"
	"testing"

	"example.com/bookinfo/services/ratings"
)

// ask returns what the service answers to a request.
func ask(t *testing.T, s *ratings.Service, method, path string) (status int, body string) {
	t.Helper()
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return rec.Code, rec.Body.String()
}
