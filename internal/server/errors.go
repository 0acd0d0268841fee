package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Error is a failure that the caller of a service is told about. Any other error is answered with 500 and no
// explanation.
type Error struct {
	Status  int    // HTTP status
	Message string // for the caller
	Err     error  // for the log; may be nil
}

// Errorf returns an Error without a cause.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// HandlerFunc answers a request or returns why it could not; it must not have written anything then.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// Adapt turns handlers that return errors into plain ones: answer writes the status and message of a failure in the
// words of the service, for all of its handlers.
func Adapt(answer func(w http.ResponseWriter, r *http.Request, e *Error)) func(HandlerFunc) http.HandlerFunc {
	return func(handle HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			err := handle(w, r)
			if err == nil {
				return
			}
			e := asError(err)
			recordOf(r.Context()).fail(err)
			answer(w, r, e)
		}
	}
}

func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &Error{Status: http.StatusRequestEntityTooLarge, Message: tooLargeMessage(tooLarge.Limit), Err: err}
	}
	if errors.Is(err, context.Canceled) {
		return &Error{Status: statusClientClosedRequest, Message: "the caller went away", Err: err}
	}
	return &Error{Status: http.StatusInternalServerError, Message: "internal error", Err: err}
}

// statusClientClosedRequest is what proxies log for a caller that left before the answer; nobody receives it.
const statusClientClosedRequest = 499

func tooLargeMessage(limit int64) string {
	return fmt.Sprintf("the body is larger than %d bytes", limit)
}
