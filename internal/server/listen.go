package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits of every server of the suite.
const (
	// MaxHeaderBytes is the most that a request's line and headers may take; beyond it the answer is 431.
	MaxHeaderBytes = 64 << 10
	// MaxBodyBytes is the most that a request's body may take; beyond it the answer is 413.
	MaxBodyBytes = 1 << 20

	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	// WriteTimeout is from the end of a request's headers to the end of its answer. It is above the slowest thing
	// that Bookinfo does on purpose: a page that waits 3 s for details and twice 3 s for reviews.
	WriteTimeout = time.Minute
	// netHTTPSlack is what net/http allows above http.Server.MaxHeaderBytes.
	netHTTPSlack = 4096
)

// Listen opens the port on host. Without a host it takes every address of both families, or of the only one that the
// machine has. Port 0 picks a free one.
func Listen(ctx context.Context, host string, port int) (net.Listener, error) {
	// No probes of TCP's own: the timeouts of the server end a connection whose peer is gone, and setting the probes up
	// costs four calls of the kernel for each.
	config := net.ListenConfig{KeepAlive: -1}
	return config.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
}

// isAddressError tells whether listening failed for its address and not for its port.
func isAddressError(err error) bool {
	var unknown *net.DNSError
	var malformed *net.AddrError
	return errors.As(err, &unknown) || errors.As(err, &malformed) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// HTTP returns a server for handler with the limits and timeouts of the suite.
func HTTP(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      WriteTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    MaxHeaderBytes - netHTTPSlack,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Drain is how a server stops.
type Drain struct {
	// Delay is how long requests are still taken after the stop was asked for, while readiness already says no: the
	// time that load balancers need to notice.
	Delay time.Duration
	// Timeout is how long requests in flight may take after that; what is left then is cut.
	Timeout time.Duration
	// Draining, if not nil, turns true as soon as the stop was asked for.
	Draining *atomic.Bool
}

// Serve answers requests on listener until ctx is done, then stops as drain says. It returns nil after a stop that
// was asked for, even if requests had to be cut, which it logs.
func Serve(ctx context.Context, srv *http.Server, listener net.Listener, drain Drain, log *slog.Logger) error {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()

	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}

	if drain.Draining != nil {
		drain.Draining.Store(true)
	}
	log.Info("stopping", "drain_delay", drain.Delay.String())
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-time.After(drain.Delay):
	}

	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain.Timeout)
	defer cancel()
	err := srv.Shutdown(finish)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests in flight were cut", "after", drain.Timeout.String())
		err = srv.Close()
	}
	if served := <-served; !errors.Is(served, http.ErrServerClosed) {
		return served
	}
	return err
}
