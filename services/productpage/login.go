package productpage

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"example.com/bookinfo/internal/server"
)

// login starts a session for whatever name is given. The password is asked for by the form and never read: Bookinfo
// shows how a mesh routes by user, not how to authenticate one.
func (s *service) login(w http.ResponseWriter, r *http.Request) error {
	name, err := username(r)
	if err != nil {
		return err
	}
	if name != nil {
		if err := checkName(*name); err != nil {
			return &server.Error{Status: http.StatusBadRequest, Message: err.Error()}
		}
	}
	cookie, err := s.sessions.start(name)
	if err != nil {
		return err
	}
	if len(cookie) > maxCookie {
		return server.Errorf(http.StatusBadRequest, "username: its cookie would have %d bytes, want at most %d", len(cookie), maxCookie)
	}
	setSession(w.Header(), cookie)
	w.Header().Set("Vary", "Cookie")
	return s.redirectBack(w, r)
}

// logout ends the session, if there is one.
func (s *service) logout(w http.ResponseWriter, r *http.Request) error {
	if _, found := s.sessions.read(r); found {
		clearSession(w.Header())
		w.Header().Set("Vary", "Cookie")
	}
	return s.redirectBack(w, r)
}

// username returns the field of that name, from the query before the form as in the original, or nil without one.
func username(r *http.Request) (*string, error) {
	var err error
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		err = r.ParseMultipartForm(server.MaxBodyBytes) // no more than the whole body: nothing goes to disk
	} else {
		err = r.ParseForm()
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, err
	}
	if err != nil {
		return nil, server.Errorf(http.StatusBadRequest, "the form cannot be read: %v", err)
	}
	for _, values := range []url.Values{r.URL.Query(), r.PostForm} {
		if values.Has("username") {
			name := values.Get("username")
			return &name, nil
		}
	}
	return nil, nil
}

// redirectBack goes to the page that the request came from if that is one of ours, else to the product page.
func (s *service) redirectBack(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Location", back(r))
	return s.html(w, http.StatusFound, "redirect", back(r))
}

// back returns the Referer if it has the origin of the request, and /productpage otherwise: a redirect to any Referer
// would let a stranger's page send our users on. A gateway may have ended TLS, so the scheme is not compared.
func back(r *http.Request) string {
	const home = "/productpage"
	referer, err := url.Parse(r.Referer())
	if err != nil || referer.Scheme != "http" && referer.Scheme != "https" || referer.Opaque != "" {
		return home
	}
	if referer.Host == "" || !strings.EqualFold(referer.Host, r.Host) || referer.User != nil {
		return home
	}
	return referer.String()
}
