package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// healthTimeout bounds the question, connection and answer together.
const healthTimeout = 2 * time.Second

// CheckHealth asks the service that listens on host and port of this machine for /health. It returns an error unless
// the answer is 200.
func CheckHealth(ctx context.Context, host string, port int) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	// No proxy: the service is on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var failed error
	for _, address := range reachable(host) {
		resp, err := askHealth(ctx, client, net.JoinHostPort(address, strconv.Itoa(port)))
		if err != nil { // perhaps the other family
			failed = errors.Join(failed, err)
			continue
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // only for the message
			return fmt.Errorf("health: %s answers %d %s", resp.Request.URL, resp.StatusCode, body)
		}
		return nil
	}
	return fmt.Errorf("health: %s", strings.ReplaceAll(failed.Error(), "\n", "; "))
}

func askHealth(ctx context.Context, client *http.Client, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health", nil)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}

// reachable lists the addresses to dial for a service that listens on host: the loopback ones when that is every
// address. They are numbers because an image from scratch may know no names.
func reachable(host string) []string {
	switch ip := net.ParseIP(host); {
	case host == "":
		return []string{"127.0.0.1", "::1"}
	case ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		return []string{"127.0.0.1"}
	case ip != nil && ip.IsUnspecified():
		return []string{"::1"}
	}
	return []string{host}
}
