package doctor_test

import (
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/bookinfo/internal/vectors"
	"example.com/bookinfo/services/console/doctor"
	"example.com/bookinfo/services/console/span"
)

// chain is the part of a recorded chain that the doctor may know.
type chain struct {
	ID    string   `json:"id"`
	Envoy []string `json:"envoy"`
	Spans []struct {
		Service   string  `json:"service"`
		Kind      string  `json:"kind"`
		Name      string  `json:"name"`
		Trace     string  `json:"trace"`
		ID        string  `json:"id"`
		Parent    *string `json:"parent"`
		RequestID string  `json:"request_id"`
	} `json:"spans"`
	Hops []struct {
		Service  string      `json:"service"`
		Received [][2]string `json:"received"`
		Calls    []struct {
			To   string      `json:"to"`
			Sent [][2]string `json:"sent"`
		} `json:"calls"`
	} `json:"hops"`
}

// bookinfo is what whole traces of Bookinfo teach.
func bookinfo() doctor.Knowledge {
	callees := map[string][]string{
		"productpage.default": {"details.default", "reviews.default"},
		"reviews.default":     {"ratings.default"},
	}
	return doctor.Knowledge{
		Callees: func(server *span.Span) []string { return callees[server.Service] },
		Serves: func(application string) bool {
			return slices.Contains([]string{"productpage.default", "details.default", "reviews.default", "ratings.default"}, application)
		},
	}
}

// id gives a symbol such as $trace1.right16 the value that it stands for; traces[$trace1] must end in it.
func id(symbol string) uint64 {
	if !strings.HasPrefix(symbol, "$") {
		parsed, err := span.ParseID(symbol)
		if err != nil {
			panic(err)
		}
		return uint64(parsed)
	}
	h := fnv.New64a()
	h.Write([]byte(strings.TrimSuffix(symbol, ".right16")))
	return h.Sum64()
}

func traceID(symbol string) span.TraceID {
	if !strings.HasPrefix(symbol, "$") {
		parsed, err := span.ParseTraceID(symbol)
		if err != nil {
			panic(err)
		}
		return parsed
	}
	return span.TraceID{Hi: 7, Lo: id(symbol)}
}

// when gives each span of the chain a place in time: the recording keeps none, since it compares byte for byte.
func when(service, kind, name string) (from, to int) {
	callee, _, _ := strings.Cut(name, ".")
	switch {
	case strings.HasPrefix(service, "istio-ingressgateway") && kind == "SERVER":
		return 0, 100
	case strings.HasPrefix(service, "istio-ingressgateway"):
		return 1, 99
	case strings.HasPrefix(service, "productpage") && kind == "SERVER":
		return 2, 98
	case callee == "details" && kind == "CLIENT":
		return 5, 20
	case callee == "details":
		return 6, 19
	case callee == "reviews" && kind == "CLIENT":
		return 30, 90
	case callee == "reviews":
		return 31, 89
	case kind == "CLIENT":
		return 40, 80
	}
	return 41, 79
}

func spansOf(c chain, headers bool) []span.Span {
	epoch := time.Unix(1_700_000_000, 0)
	var spans []span.Span
	for _, s := range c.Spans {
		from, to := when(s.Service, s.Kind, s.Name)
		one := span.Span{
			TraceID: traceID(s.Trace), ID: span.ID(id(s.ID)), Service: s.Service, Name: s.Name, Kind: span.KindServer,
			Start: epoch.Add(time.Duration(from) * time.Millisecond), Duration: time.Duration(to-from) * time.Millisecond,
			Tags: span.Tags{{Key: "component", Value: "proxy"}, {Key: "http.status_code", Value: "200"}},
		}
		if s.Kind == "CLIENT" {
			one.Kind = span.KindClient
		}
		if s.Parent != nil {
			one.ParentID = span.ID(id(*s.Parent))
		}
		if s.RequestID != "" {
			one.Tags = append(one.Tags, span.Tag{Key: "guid:x-request-id", Value: s.RequestID})
		}
		if headers {
			one.Tags = append(one.Tags, recordedHeaders(c, s.Service, s.Kind, s.Name)...)
		}
		spans = append(spans, one)
	}
	return spans
}

// recordedHeaders is what sidecars with --record-headers put on their spans.
func recordedHeaders(c chain, service, kind, name string) (tags span.Tags) {
	workload, _, _ := strings.Cut(service, ".")
	callee, _, _ := strings.Cut(name, ".")
	for _, hop := range c.Hops {
		if hop.Service != workload {
			continue
		}
		if kind == "SERVER" {
			for _, h := range hop.Received {
				tags = append(tags, span.Tag{Key: "bookinfo.sent." + h[0], Value: h[1]})
			}
			continue
		}
		tags = append(tags, span.Tag{Key: "bookinfo.received.:authority", Value: callee})
		for _, call := range hop.Calls {
			if call.To != callee {
				continue
			}
			for _, h := range call.Sent {
				tags = append(tags, span.Tag{Key: "bookinfo.received." + h[0], Value: h[1]})
			}
		}
	}
	return tags
}

// at says which kind is expected at which applications.
func at(kind doctor.Kind, applications ...string) map[string]doctor.Kind {
	want := map[string]doctor.Kind{}
	for _, a := range applications {
		want[a+".default"] = kind
	}
	return want
}

// wanted is the table of scenario against finding. headers tells what recorded headers add.
func wanted(c chain, headers bool) map[string]doctor.Kind {
	scenario, rest, _ := strings.Cut(c.ID, "/")
	format, _, _ := strings.Cut(rest, "/")
	envoy140 := slices.Contains(c.Envoy, "1.40")
	if len(c.Spans) == 0 {
		return at("") // nothing was reported, so there is nothing to examine
	}
	switch scenario {
	case "none", "client-invalid-none":
		return at(doctor.NothingForwarded, "productpage", "reviews")
	case "all-but-reviews":
		return at(doctor.NothingForwarded, "reviews")
	case "all-but-productpage":
		return at(doctor.NothingForwarded, "productpage")
	case "request-id-only", "forced-request-id-only":
		return at(doctor.ContextLost, "productpage", "reviews")
	case "traceid-only", "spanid-only":
		if headers {
			return at(doctor.HalfContext, "productpage", "reviews")
		}
		return at(doctor.ContextLost, "productpage", "reviews")
	case "w3c-only", "b3-only":
		if scenario == "w3c-only" && format == "b3" || scenario == "b3-only" && format == "otel" {
			// Both lists have x-request-id; the gateway wrote one format alone, so no foreign header came to forward.
			return at(doctor.ContextLost, "productpage", "reviews")
		}
	case "no-request-id", "client-context-zero-no-request-id":
		return at(doctor.RequestIDDropped, "productpage", "reviews")
	case "forced-no-request-id":
		if format == "otel" && envoy140 {
			return at(doctor.TraceStops, "productpage")
		}
		return at(doctor.RequestIDDropped, "productpage", "reviews")
	case "joined", "sampled-0", "flags-00", "forced-none", "forced-no-sampled-no-request-id":
		return at(doctor.TraceStops, "productpage")
	case "span-as-parent":
		return at(doctor.WrongParent, "productpage", "reviews")
	case "client-b3":
		if envoy140 {
			return at(doctor.ContextLost, "productpage")
		}
		return at(doctor.StaleB3, "productpage")
	case "client-b3-forwarded":
		if !envoy140 {
			return at(doctor.StaleB3, "productpage")
		}
	}
	return at("")
}

func TestEveryRecordedChain(t *testing.T) {
	var file struct {
		Chains []chain `json:"chains"`
	}
	vectors.Load(t, "chains.json", &file)
	for _, c := range file.Chains {
		for _, headers := range []bool{false, true} {
			name := c.ID + "/" + strings.Join(c.Envoy, "+")
			if headers {
				name += "/headers"
			}
			t.Run(name, func(t *testing.T) {
				got := map[string]doctor.Kind{}
				findings := doctor.Examine(spansOf(c, headers), bookinfo(), time.Time{})
				for _, f := range findings {
					got[f.Application] = f.Kind
					if f.Mend == "" || f.Lesson == "" || f.Text == "" || f.Confidence == "" || len(f.Evidence) == 0 || strings.Contains(f.Mend, "HEADERS") {
						t.Errorf("incomplete finding: %+v", f)
					}
				}
				if diff := cmp.Diff(wanted(c, headers), got); diff != "" {
					t.Errorf("findings (-want +got):\n%s%+v", diff, findings)
				}
				if len(got) != len(findings) {
					t.Errorf("several findings at one application: %+v", findings)
				}
			})
		}
	}
}
