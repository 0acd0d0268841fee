package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/bookinfo/services/console/span"
)

// lostContext looks at every root that should not be one: the CLIENT span of an application that others call. A
// sidecar begins a trace there only when the application gave it no context, or half of one.
func (r *request) lostContext() {
	for i := range r.spans {
		s := &r.spans[i]
		if s.ParentID != 0 {
			continue
		}
		switch {
		case s.Kind == span.KindConsumer:
			if len(s.Links) > 0 {
				continue // linked to its producer, as OpenTelemetry's conventions for messaging ask
			}
			r.add(Finding{Kind: MessagingLost, Application: s.Service, Confidence: Possible, Evidence: []Evidence{r.evidence(i)},
				Text: "The consumer's span begins a trace of its own."})
		case r.edge(i):
		case !fromProxy(s):
			r.newTrace(i)
		case s.Kind == span.KindClient:
			r.rootCall(i)
		}
	}
}

func (r *request) rootCall(i int) {
	s := &r.spans[i]
	server, byRequestID, sure := r.served(i)
	f := Finding{
		Application: s.Service, Caller: r.caller(server), Callees: nonEmpty(r.callee(i)),
		Confidence: Certain, Evidence: []Evidence{r.evidence(i)},
	}
	if server >= 0 {
		f.Evidence = append(f.Evidence, r.evidence(server))
	} else if !sure {
		f.Confidence = Likely
	}
	f.Kind, f.Headers = r.lost(server, i)
	switch {
	case f.Kind == HalfContext || f.Kind == WrongFamily || f.Kind != "" && !r.keptElsewhere(server):
	case r.keptElsewhere(server):
		f.Kind, f.Headers = PartlyForwarded, contextHeaders(r.format(i))
	case byRequestID:
		f.Kind, f.Headers = ContextLost, contextHeaders(r.format(i))
	default:
		f.Kind, f.Headers = NothingForwarded, append([]string{"x-request-id"}, contextHeaders(r.format(i))...)
	}
	if grpc, ok := s.Tags.Get("grpc.path"); ok {
		f.Text = fmt.Sprintf("The gRPC call of %s begins a trace of its own.", grpc)
	} else {
		f.Text = fmt.Sprintf("The call to %s begins a trace of its own at %s's sidecar.", orUnknown(r.callee(i)), s.Service)
	}
	r.add(f)
}

// keptElsewhere reports whether the application carried the context on another call of the same request.
func (r *request) keptElsewhere(server int) bool {
	if server < 0 {
		return false
	}
	return slices.ContainsFunc(r.children[server], func(c int) bool {
		return r.spans[c].Kind == span.KindClient && r.spans[c].Service == r.spans[server].Service
	})
}

// newTrace: a root of the application's own making while its inbound sidecar holds a context for it.
func (r *request) newTrace(i int) {
	s := &r.spans[i]
	server, _, sure := r.served(i)
	if server < 0 || !fromProxy(&r.spans[server]) || r.spans[server].TraceID == s.TraceID {
		return
	}
	f := Finding{
		Kind: NewTrace, Application: s.Service, Caller: r.caller(server), Headers: contextHeaders(r.format(server)),
		Confidence: Certain, Evidence: []Evidence{r.evidence(i), r.evidence(server)},
		Text: fmt.Sprintf("%s's own span %q begins a trace although its sidecar gave it a context.", s.Service, s.Name),
	}
	if !sure {
		f.Confidence = Likely
	}
	r.add(f)
}

// requestIDs looks for calls that belong to a trace and not to its x-request-id: the sidecar made a new one.
func (r *request) requestIDs() {
	for i := range r.spans {
		s := &r.spans[i]
		p := r.parent(i)
		if s.Kind != span.KindClient || p < 0 || r.spans[p].Service != s.Service || r.spans[p].Kind != span.KindServer {
			continue
		}
		given, sent := r.spans[p].RequestID(), s.RequestID()
		// The nibble at index 14 is the sampling reason, which proxies rewrite (envoy uuid request id extension).
		if given == "" || sent == "" || sameRequestID(given, sent) || r.has(Leak, s.Service) {
			continue
		}
		r.add(Finding{
			Kind: RequestIDDropped, Application: s.Service, Caller: r.caller(p), Callees: nonEmpty(r.callee(i)),
			Headers: []string{"x-request-id"}, Confidence: Certain, Evidence: []Evidence{r.evidence(i), r.evidence(p)},
			Text: fmt.Sprintf("The call to %s has another x-request-id than the request that caused it.", orUnknown(r.callee(i))),
		})
	}
}

func sameRequestID(a, b string) bool {
	if len(a) != 36 || len(b) != 36 {
		return a == b
	}
	return a[:14] == b[:14] && a[15:] == b[15:]
}

// silence looks for applications below which nothing came although they always call others: the application denied
// sampling, or sent a context that no proxy can read, so that none of them reports.
func (r *request) silence() {
	r.explain()
	for application, servers := range r.servers {
		for _, i := range servers {
			s := &r.spans[i]
			if !fromProxy(s) || !succeeded(s) {
				continue // it, or a rule of its sidecar's, may have refused before anybody was called
			}
			usual := r.known.Callees(s)
			if len(usual) == 0 || len(r.children[i]) > 0 || r.rootsDuring(i) {
				continue
			}
			headers := contextHeaders(r.format(i)) // traceparent holds the decision on sampling itself
			if r.format(i) != "w3c" {
				headers = append(headers, "x-b3-sampled")
			}
			r.add(Finding{
				Kind: TraceStops, Application: application, Caller: r.caller(i), Callees: slices.Clone(usual),
				Headers: headers, Confidence: Possible,
				Evidence: []Evidence{r.evidence(i)},
				Text:     fmt.Sprintf("%s usually calls %s for this request, and no sidecar reported such a call.", application, joined(usual)),
			})
		}
	}
	r.missingServers()
}

// succeeded reports whether a request was answered as it usually is: what is refused, redirected or not modified needs
// no calls. A gRPC error has status 200.
func succeeded(s *span.Span) bool {
	status := s.HTTPStatus()
	return strings.HasPrefix(status, "2") || status == "" && !s.Error()
}

// rootsDuring reports whether a call of the application that lost its context explains why its SERVER span has no
// children: one that belongs to the same request elsewhere.
func (r *request) rootsDuring(server int) bool { return r.explained[server] }

// explain notes the SERVER spans during which calls were made that hang elsewhere.
func (r *request) explain() {
	r.explained = make([]bool, len(r.spans))
	for i := range r.spans {
		if s := &r.spans[i]; s.Kind != span.KindServer {
			if server, _, _ := r.served(i); server >= 0 && r.parent(i) != server {
				r.explained[server] = true
			}
		}
	}
}

// missingServers: a call that was answered by an application which reports its requests otherwise.
func (r *request) missingServers() {
	for i := range r.spans {
		s := &r.spans[i]
		if s.Kind != span.KindClient || !fromProxy(s) || s.Error() {
			continue
		}
		callee := r.callee(i)
		if len(r.children[i]) > 0 {
			callee = r.skipped(i)
		}
		if callee == "" || callee == s.Service || !r.known.Serves(callee) || len(r.servers[callee]) > 0 {
			continue
		}
		if status := s.HTTPStatus(); status == "" || status == "0" {
			continue
		}
		if flags, ok := s.Tags.Get("response_flags"); ok && flags != "-" {
			continue // the proxy answered itself
		}
		if slices.ContainsFunc(r.findings, func(f Finding) bool { return f.Kind == TraceStops }) {
			continue
		}
		r.add(Finding{
			Kind: NoSidecar, Application: callee, Caller: s.Service, Confidence: Possible, Evidence: []Evidence{r.evidence(i)},
			Text: fmt.Sprintf("%s answered %s and no sidecar of %s reported the request.", callee, s.Service, callee),
		})
	}
}

// skipped is the application that a call went to when only those which it called in turn reported below the call: their
// sidecars name the request after a host of their own, and not after that of the call.
func (r *request) skipped(i int) string {
	called := host(r.spans[i].Name)
	if called == "" {
		return ""
	}
	for _, c := range first(r.children[i]) {
		s := &r.spans[c]
		if s.Kind == span.KindServer && (s.Service == applicationOf(called) || host(s.Name) == "" || host(s.Name) == called) {
			return ""
		}
	}
	return applicationOf(called)
}

// host is that of an operation named as Istio names it, "reviews.default.svc.cluster.local:9080/*", else "".
func host(operation string) string {
	h, _, _ := strings.Cut(operation, ":")
	if !strings.Contains(h, ".svc.") {
		return ""
	}
	return h
}

func applicationOf(host string) string {
	parts := strings.SplitN(host, ".", 3)
	if len(parts) < 3 {
		return ""
	}
	return parts[0] + "." + parts[1]
}

// skew names clocks that disagree. It is no fault of propagation, so it is said once and with that word.
func (r *request) skew() {
	for i := range r.spans {
		s := &r.spans[i]
		p := r.parent(i)
		if p < 0 || s.Kind != span.KindServer || r.spans[p].Kind != span.KindClient {
			continue
		}
		parent := &r.spans[p]
		early := parent.Start.Sub(s.Start)
		// Shorter than its caller's span and yet outside of it: only a clock does that.
		if early <= time.Millisecond && s.Start.Sub(parent.End()) <= time.Millisecond || s.Duration > parent.Duration {
			continue
		}
		r.add(Finding{
			Kind: ClockSkew, Application: s.Service, Caller: parent.Service, Confidence: Likely, Evidence: []Evidence{r.evidence(i), r.evidence(p)},
			Text: fmt.Sprintf("The clock of %s is about %s off its caller's; the headers are in order.", s.Service, early.Abs().Round(time.Millisecond)),
		})
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func orUnknown(s string) string {
	if s == "" {
		return "an unknown service"
	}
	return s
}

func joined(names []string) string {
	switch len(names) {
	case 0:
		return "others"
	case 1:
		return names[0]
	}
	text := names[0]
	for _, n := range names[1 : len(names)-1] {
		text += ", " + n
	}
	return text + " and " + names[len(names)-1]
}
