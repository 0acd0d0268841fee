// Package traceview shows traces on a terminal: it asks the console's API and prints tables and trees.
package traceview

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client asks a console.
type Client struct {
	Console string // its address, such as http://127.0.0.1:9411
	Token   string // bearer token, where the console asks for one
}

// maxAnswer bounds what is read of one answer: a trace of 50,000 spans is about 40 MB.
const maxAnswer = 512 << 20

// Summary is a row of a list of traces, see docs/api.md.
type Summary struct {
	TraceID     string    `json:"traceId"`
	Start       time.Time `json:"start"`
	DurationUs  int64     `json:"durationUs"`
	Application string    `json:"application"`
	Name        string    `json:"name"`
	Status      string    `json:"status"`
	RequestID   string    `json:"requestId"`
	Spans       int       `json:"spans"`
	Errors      int       `json:"errors"`
	Findings    []string  `json:"findings"`
}

// Tree is one trace.
type Tree struct {
	TraceID        string    `json:"traceId"`
	Start          time.Time `json:"start"`
	DurationUs     int64     `json:"durationUs"`
	CriticalPathUs int64     `json:"criticalPathUs"`
	Spans          int       `json:"spans"`
	Errors         int       `json:"errors"`
	Problems       []Problem `json:"problems"`
	Findings       []Finding `json:"findings"`
	Roots          []Node    `json:"roots"`
}

// Node is a span with those it caused.
type Node struct {
	Span       *Span     `json:"span"`
	MissingID  string    `json:"missingId"`
	Version    string    `json:"version"`
	Error      bool      `json:"error"`
	DurationUs int64     `json:"durationUs"`
	SelfUs     int64     `json:"selfUs"`
	CriticalUs int64     `json:"criticalUs"`
	Problems   []Problem `json:"problems"`
	Children   []Node    `json:"children"`
}

// Span is a span in Zipkin's form, as far as it is shown.
type Span struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Timestamp int64  `json:"timestamp"`
	Local     struct {
		ServiceName string `json:"serviceName"`
		IPv4        string `json:"ipv4"`
		IPv6        string `json:"ipv6"`
	} `json:"localEndpoint"`
	Tags map[string]string `json:"tags"`
}

// Problem is what the shape of the tree shows.
type Problem struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	Span string `json:"spanId"`
}

// Finding is what the doctor says.
type Finding struct {
	Kind        string   `json:"kind"`
	Caller      string   `json:"caller"`
	Application string   `json:"application"`
	Callees     []string `json:"callees"`
	Headers     []string `json:"headers"`
	Confidence  string   `json:"confidence"`
	Text        string   `json:"text"`
	Mend        string   `json:"mend"`
	Lesson      string   `json:"lesson"`
	Evidence    []struct {
		TraceID string `json:"traceId"`
		SpanID  string `json:"spanId"`
	} `json:"evidence"`
}

// Traces lists traces; parameters are those of GET /api/bookinfo/v1/traces.
func (c Client) Traces(ctx context.Context, parameters url.Values) (traces []Summary, raw []byte, err error) {
	raw, err = c.get(ctx, "/api/bookinfo/v1/traces?"+parameters.Encode())
	if err != nil {
		return nil, nil, err
	}
	var answer struct {
		Traces []Summary `json:"traces"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, nil, fmt.Errorf("%s answers something else than a list of traces: %w", c.Console, err)
	}
	return answer.Traces, raw, nil
}

// Trace gives one trace as a tree.
func (c Client) Trace(ctx context.Context, id string) (tree Tree, raw []byte, err error) {
	raw, err = c.Export(ctx, id, "tree")
	if err != nil {
		return Tree{}, nil, err
	}
	if err := json.Unmarshal(raw, &tree); err != nil {
		return Tree{}, nil, fmt.Errorf("%s answers something else than a trace: %w", c.Console, err)
	}
	return tree, raw, nil
}

// Export gives one trace in a format: tree, otlp, zipkin or jaeger.
func (c Client) Export(ctx context.Context, id, format string) ([]byte, error) {
	return c.get(ctx, "/api/bookinfo/v1/traces/"+url.PathEscape(id)+"?format="+format)
}

// Import sends a file of spans and gives the ids of their traces.
func (c Client) Import(ctx context.Context, file []byte) ([]string, error) {
	raw, err := c.do(ctx, http.MethodPost, "/api/bookinfo/v1/import", file)
	if err != nil {
		return nil, err
	}
	var answer struct {
		TraceIDs []string `json:"traceIds"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("%s answers something else than trace ids: %w", c.Console, err)
	}
	return answer.TraceIDs, nil
}

func (c Client) get(ctx context.Context, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

func (c Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.Console, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("console %q: %w", c.Console, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no console answers at %s: %w", c.Console, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("console %s: %w", c.Console, err)
	}
	if resp.StatusCode/100 != 2 {
		var failure struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(answer, &failure) != nil || failure.Error == "" {
			failure.Error = strings.TrimSpace(string(answer[:min(len(answer), 300)]))
		}
		err := fmt.Errorf("the console answers %s: %s", resp.Status, failure.Error)
		if resp.StatusCode == http.StatusBadRequest {
			return nil, &BadQuestionError{err}
		}
		return nil, err
	}
	return answer, nil
}

// BadQuestionError is an answer that puts the fault in what was asked or sent.
type BadQuestionError struct{ Err error }

func (e *BadQuestionError) Error() string { return e.Err.Error() }
func (e *BadQuestionError) Unwrap() error { return e.Err }
