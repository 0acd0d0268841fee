package productpage

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	cookieName = "session"
	// sessionAge is how long a session counts after the login, as Flask has it.
	sessionAge = 31 * 24 * time.Hour
	// maxCookie bounds what is looked at; browsers keep 4096 bytes.
	maxCookie = 4096
	// maxName is the longest user name, in bytes, whose cookie still fits.
	maxName = 2048
)

// sessions makes and reads the session cookie. It has the form of Flask's: a JSON object that anybody can read, the
// time, and a signature, joined by dots and each in base64url. It says who somebody claims to be; no password stands
// behind it.
type sessions struct {
	key []byte
	now func() time.Time
}

type session struct {
	User *string `json:"user"`
}

// name is the user's, and "" for a session of nobody.
func (s session) name() string {
	if s.User == nil {
		return ""
	}
	return *s.User
}

// start returns the cookie of a new session. A nil user is a session of nobody, which the original starts for a login
// without a name.
func (s sessions) start(user *string) (string, error) {
	payload, err := json.Marshal(session{user})
	if err != nil {
		return "", fmt.Errorf("session: %w", err)
	}
	signed := encode(payload) + "." + encode(big.NewInt(s.now().Unix()).Bytes())
	return signed + "." + encode(s.sign(signed)), nil
}

// read returns the session of the request; found is false without one. A cookie that is forged, damaged or too old is
// as good as none.
func (s sessions) read(r *http.Request) (found session, ok bool) {
	for _, cookie := range r.CookiesNamed(cookieName) {
		if found, ok = s.verify(cookie.Value); ok {
			return found, true
		}
	}
	return session{}, false
}

func (s sessions) verify(cookie string) (content session, ok bool) {
	if len(cookie) > maxCookie {
		return session{}, false
	}
	dot := strings.LastIndexByte(cookie, '.')
	if dot < 0 {
		return session{}, false
	}
	signed := cookie[:dot]
	signature, err := decode(cookie[dot+1:])
	if err != nil || !hmac.Equal(signature, s.sign(signed)) {
		return session{}, false
	}
	payload, stamp, _ := strings.Cut(signed, ".")
	seconds, err := decode(stamp)
	if err != nil || len(seconds) > 8 {
		return session{}, false
	}
	age := s.now().Sub(time.Unix(new(big.Int).SetBytes(seconds).Int64(), 0))
	text, err := decode(payload)
	if err != nil || age > sessionAge {
		return session{}, false
	}
	if json.Unmarshal(text, &content) != nil || checkName(content.name()) != nil {
		return session{}, false
	}
	return content, true
}

func (s sessions) sign(text string) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("cookie-session\x00" + text))
	return mac.Sum(nil)
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// decode is strict about the bits that are left over in the last character: a cookie has one spelling.
func decode(text string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(text) }

// setSession adds the Set-Cookie line. Its attributes stand in the order of the original, with SameSite behind them.
// There is no Secure, since Bookinfo is served in plain text.
func setSession(h http.Header, value string) {
	h.Add("Set-Cookie", cookieName+"="+value+"; HttpOnly; Path=/; SameSite=Lax")
}

func clearSession(h http.Header) {
	h.Add("Set-Cookie", cookieName+"=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Path=/; SameSite=Lax")
}

// checkName tells what is wrong with a user name: it must be able to travel in a header.
func checkName(name string) error {
	switch {
	case len(name) > maxName:
		return fmt.Errorf("username: has %d bytes, want at most %d", len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("username: want UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("username: holds a control character, want none")
	}
	return nil
}

// headerText is a user name as a header carries it: in Latin-1 where that has the letters, as the original sends it,
// else in UTF-8, where the original fails.
func headerText(name string) string {
	latin := make([]byte, 0, len(name))
	for _, r := range name {
		if r > 0xff {
			return name
		}
		latin = append(latin, byte(r))
	}
	return string(latin)
}
