package propagation_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"example.com/bookinfo/propagation"
)

// A service that captures the headers of what it is asked and sends them on with what it asks.
func Example() {
	ratings := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("ratings got", r.Header.Get("traceparent"))
	}))
	defer ratings.Close()

	client := &http.Client{Transport: propagation.Transport{}}
	reviews := func(w http.ResponseWriter, r *http.Request) {
		// The context of the incoming request is what ties the two together.
		call, err := http.NewRequestWithContext(r.Context(), http.MethodGet, ratings.URL, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		resp, err := client.Do(call)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		resp.Body.Close()
	}
	handler := propagation.Handler(propagation.All(), http.HandlerFunc(reviews))

	r := httptest.NewRequest(http.MethodGet, "/reviews/0", nil)
	r.Header.Set("traceparent", "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	// Output: ratings got 00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01
}

func ExampleHandler() {
	set, err := propagation.Parse("request-id,w3c")
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := propagation.Handler(set, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		propagation.FromContext(r.Context()).All(func(name, value string) bool {
			fmt.Println(name, value)
			return true
		})
	}))

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Request-ID", "5d0ea6bd-5ae5-9a5d-9f1c-3d6c2b9d1e55")
	r.Header.Set("X-B3-TraceId", "463ac35c9f6413ad")
	r.Header.Set("Tracestate", "")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	// Output: x-request-id 5d0ea6bd-5ae5-9a5d-9f1c-3d6c2b9d1e55
}

func ExampleTransport() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header["B3"])
	}))
	defer upstream.Close()

	incoming := http.Header{"B3": {"463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1"}}
	client := &http.Client{Transport: propagation.Transport{Base: http.DefaultTransport}}

	r := httptest.NewRequest(http.MethodGet, upstream.URL, nil)
	r.RequestURI = "" // httptest makes requests for servers
	ctx := propagation.NewContext(r.Context(), propagation.All().Capture(incoming))
	resp, err := client.Do(r.WithContext(ctx))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(string(body), err)
	// Output: [463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1] <nil>
}

func ExampleParse() {
	for _, list := range []string{"b3,-x-b3-flags", "w3c, x-request-id", "none", "x-forwarded-for"} {
		set, err := propagation.Parse(list)
		if err != nil {
			fmt.Println("error:", err)
			continue
		}
		fmt.Println(set)
	}
	// Output:
	// x-b3-traceid,x-b3-spanid,x-b3-parentspanid,x-b3-sampled
	// request-id,w3c
	// none
	// error: "x-forwarded-for" is not a trace header: x-forwarded-* and x-envoy-* describe one hop, the proxies write them and an application must not pass them on
}

// Beside an SDK, which writes the trace context, only the ids that Envoy made are left to forward.
func ExampleSet_Only() {
	fmt.Println(propagation.All().Only(propagation.RequestID, propagation.ClientTraceID))
	// Output: request-id,client-trace-id
}

func ExampleTable() {
	for _, h := range propagation.Table()[:3] {
		fmt.Println(h.Family, h.Name)
	}
	// Output:
	// request-id x-request-id
	// b3 x-b3-traceid
	// b3 x-b3-spanid
}

// A frontend knows its user by a session of its own and takes nobody's word for it.
func ExampleIdentityHandler() {
	handler := propagation.IdentityHandler(propagation.Identity().Without("end-user"), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		captured := propagation.IdentityFromContext(r.Context())
		fmt.Printf("%q %q\n", captured.Get("authorization"), captured.Get("end-user"))
	}))

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer 123")
	r.Header.Set("End-User", "somebody else")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	// Output: "Bearer 123" ""
}
