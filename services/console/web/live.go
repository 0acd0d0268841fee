package web

import (
	"fmt"
	"net/http"
	"time"

	"example.com/bookinfo/services/console/format"
	"example.com/bookinfo/services/console/span"
)

// heartbeat is how often a silent stream says that it is alive, so that proxies keep it open.
const heartbeat = 15 * time.Second

// live tells, as server-sent events (WHATWG HTML, 9.2), which traces changed; with trace= only about that one.
func (c *console) live(w http.ResponseWriter, r *http.Request) error {
	if c.Admin == nil {
		return &statusError{http.StatusNotImplemented, "the engine behind this console does not tell when spans come"}
	}
	var only span.TraceID
	if text := r.URL.Query().Get("trace"); text != "" {
		id, err := span.ParseTraceID(text)
		if err != nil {
			return badRequest(err.Error())
		}
		only = id
	}
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
		c.watch.Do(func() { server.RegisterOnShutdown(func() { close(c.stopping) }) })
	}
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	changed := make(chan span.TraceID, 256)
	c.Admin.Subscribe(r.Context(), func(id span.TraceID) {
		if !only.IsZero() && id.Lo != only.Lo {
			return
		}
		select {
		case changed <- id:
		default: // a page that cannot keep up reads everything at its next look
		}
	})
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	text := "retry: 1000\nevent: ready\ndata: \n\n"
	for {
		// The server's own write timeout is meant for answers that end.
		_ = out.SetWriteDeadline(time.Now().Add(2 * heartbeat))
		if _, err := fmt.Fprint(w, text); err != nil {
			return nil
		}
		if err := out.Flush(); err != nil {
			return nil
		}
		select {
		case id := <-changed:
			text = "event: trace\ndata: " + format.TraceID(id) + "\n\n"
		case <-beat.C:
			text = ": alive\n\n"
		case <-c.stopping:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}
