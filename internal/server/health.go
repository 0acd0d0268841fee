package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// healthTimeout bounds the question, connection and answer together.
const healthTimeout = 2 * time.Second

// CheckHealth asks the service that listens on host and port of this machine for /health. It returns an error unless
// the answer is 200.
func CheckHealth(ctx context.Context, host string, port int) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()

	address := "http://" + net.JoinHostPort(reachable(host), strconv.Itoa(port)) + "/health"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	// No proxy: the service is on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // only for the message
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s answers %d %s", address, resp.StatusCode, body)
	}
	return nil
}

// reachable is the address to dial for a service that listens on host: the loopback one when that is every address.
func reachable(host string) string {
	switch ip := net.ParseIP(host); {
	case host == "":
		return "localhost"
	case ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		return "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		return "::1"
	}
	return host
}
