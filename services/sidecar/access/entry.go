// Package access writes the access log of a proxy: in Istio's default text format, or as JSON with Istio's names
// (istio/istio pilot/pkg/model/telemetry_logging.go).
package access

import (
	"strconv"
	"time"

	"example.com/bookinfo/services/sidecar/jsontext"
)

// Entry is one line of the log. The zero value of a field is written as Envoy writes what is not known: "-" in text,
// null in JSON. Numbers are always written.
type Entry struct {
	Start    time.Time
	Method   string
	Path     string // as the client sent it: x-envoy-original-path if there is one
	Protocol string // "HTTP/1.1"

	Status           int    // 0: none was sent
	Flags            string // %RESPONSE_FLAGS%: "UF,URX"
	Details          string // %RESPONSE_CODE_DETAILS%: "via_upstream"
	Termination      string // %CONNECTION_TERMINATION_DETAILS%
	TransportFailure string // %UPSTREAM_TRANSPORT_FAILURE_REASON%

	BytesReceived int64 // bodies only
	BytesSent     int64
	Duration      time.Duration

	UpstreamServiceTime string // x-envoy-upstream-service-time of the response: milliseconds
	ForwardedFor        string
	UserAgent           string
	RequestID           string
	Authority           string

	UpstreamHost     string // "10.0.0.7:9080"
	UpstreamCluster  string // "outbound|9080||reviews.default.svc.cluster.local"
	UpstreamLocal    string
	DownstreamLocal  string
	DownstreamRemote string
	ServerName       string
	RouteName        string // "default"
}

// startFormat is Envoy's default for %START_TIME%.
const startFormat = "2006-01-02T15:04:05.000Z"

// appendText appends the entry in Istio's default format, with its line end.
func (e *Entry) appendText(b []byte) []byte {
	b = append(b, '[')
	b = e.Start.UTC().AppendFormat(b, startFormat)
	b = append(b, `] "`...)
	b = word(b, e.Method)
	b = word(append(b, ' '), e.Path)
	b = word(append(b, ' '), e.Protocol)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = word(append(b, ' '), e.Flags)
	b = word(append(b, ' '), e.Details)
	b = word(append(b, ' '), e.Termination)
	b = quoted(b, e.TransportFailure)
	b = strconv.AppendInt(append(b, ' '), e.BytesReceived, 10)
	b = strconv.AppendInt(append(b, ' '), e.BytesSent, 10)
	b = strconv.AppendInt(append(b, ' '), e.Duration.Milliseconds(), 10)
	b = word(append(b, ' '), e.UpstreamServiceTime)
	b = quoted(b, e.ForwardedFor)
	b = quoted(b, e.UserAgent)
	b = quoted(b, e.RequestID)
	b = quoted(b, e.Authority)
	b = quoted(b, e.UpstreamHost)
	b = word(append(b, ' '), e.UpstreamCluster)
	b = word(append(b, ' '), e.UpstreamLocal)
	b = word(append(b, ' '), e.DownstreamLocal)
	b = word(append(b, ' '), e.DownstreamRemote)
	b = word(append(b, ' '), e.ServerName)
	b = word(append(b, ' '), e.RouteName)
	return append(b, '\n')
}

func word(b []byte, s string) []byte {
	if s == "" {
		return append(b, '-')
	}
	return append(b, s...)
}

func quoted(b []byte, s string) []byte {
	b = append(b, ` "`...)
	b = word(b, s)
	return append(b, '"')
}

// appendJSON appends the entry as one JSON object with its keys sorted, and a line end.
func (e *Entry) appendJSON(b []byte) []byte {
	b = text(b, `{"authority":`, e.Authority)
	b = number(b, `,"bytes_received":`, e.BytesReceived)
	b = number(b, `,"bytes_sent":`, e.BytesSent)
	b = text(b, `,"connection_termination_details":`, e.Termination)
	b = text(b, `,"downstream_local_address":`, e.DownstreamLocal)
	b = text(b, `,"downstream_remote_address":`, e.DownstreamRemote)
	b = number(b, `,"duration":`, e.Duration.Milliseconds())
	b = text(b, `,"method":`, e.Method)
	b = text(b, `,"path":`, e.Path)
	b = text(b, `,"protocol":`, e.Protocol)
	b = text(b, `,"request_id":`, e.RequestID)
	b = text(b, `,"requested_server_name":`, e.ServerName)
	b = number(b, `,"response_code":`, int64(e.Status))
	b = text(b, `,"response_code_details":`, e.Details)
	flags := e.Flags
	if flags == "" {
		flags = "-"
	}
	b = text(b, `,"response_flags":`, flags)
	b = text(b, `,"route_name":`, e.RouteName)
	b = append(b, `,"start_time":"`...)
	b = e.Start.UTC().AppendFormat(b, startFormat)
	b = text(b, `","upstream_cluster":`, e.UpstreamCluster)
	b = text(b, `,"upstream_host":`, e.UpstreamHost)
	b = text(b, `,"upstream_local_address":`, e.UpstreamLocal)
	b = text(b, `,"upstream_service_time":`, e.UpstreamServiceTime)
	b = text(b, `,"upstream_transport_failure_reason":`, e.TransportFailure)
	b = text(b, `,"user_agent":`, e.UserAgent)
	b = text(b, `,"x_forwarded_for":`, e.ForwardedFor)
	return append(b, '}', '\n')
}

func number(b []byte, key string, n int64) []byte { return strconv.AppendInt(append(b, key...), n, 10) }

func text(b []byte, key, s string) []byte {
	b = append(b, key...)
	if s == "" {
		return append(b, "null"...)
	}
	return jsontext.AppendString(b, s)
}
