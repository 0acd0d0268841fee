package productpage_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

// BenchmarkPage makes the page with details and reviews behind it, on pooled connections, without the server's part.
func BenchmarkPage(b *testing.B) {
	env := map[string]string{"POOL_CONNECTIONS": "true"}
	for name, body := range map[string]string{"DETAILS": detailsJSON, "REVIEWS": reviewsV2} {
		srv := httptest.NewServer(answer(200, body))
		defer srv.Close()
		address := srv.Listener.Addr().(*net.TCPAddr)
		env[name+"_HOSTNAME"], env[name+"_SERVICE_PORT"] = address.IP.String(), strconv.Itoa(address.Port)
	}
	h := handler(b, env, nil)
	req := httptest.NewRequest(http.MethodGet, "/productpage", nil)
	req.Header.Set("traceparent", "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01")
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}
