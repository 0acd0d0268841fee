package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"example.com/bookinfo/services/sidecar/route"
)

// Limits of the pools of one sidecar.
const (
	MaxIdle     = 256             // idle connections kept for one endpoint
	IdleTimeout = 1 * time.Minute // below the idle timeout that applications usually have
)

// Pools holds a pool for every endpoint that was used. The zero value is not usable; see NewPools.
type Pools struct {
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	mu    sync.RWMutex
	pools map[Target]*Pool
	stop  chan struct{}
	done  chan struct{}
}

// NewPools returns empty pools. Close must be called. dial may be nil for plain TCP.
func NewPools(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Pools {
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	p := &Pools{dial: dial, pools: map[Target]*Pool{}, stop: make(chan struct{}), done: make(chan struct{})}
	go p.sweep()
	return p
}

// Pool holds the idle connections of one endpoint, the last used on top.
type Pool struct {
	mu     sync.Mutex
	idle   []*Conn
	closed bool
}

// busy is how short a pause makes it needless to ask the system whether the endpoint closed the connection meanwhile.
const busy = 200 * time.Microsecond

// Target is what a connection leads to.
type Target struct {
	Addr     string // HOST:PORT
	TLS      bool
	SNI      string // the server's name, with TLS
	Insecure bool   // do not verify it
}

// TargetOf returns the target of an endpoint of a cluster.
func TargetOf(c *route.Cluster, e *route.Endpoint) Target {
	t := Target{Addr: e.Address}
	if c.TLS != nil {
		t.TLS, t.SNI, t.Insecure = true, c.TLS.SNI, c.TLS.Insecure
		if t.SNI == "" {
			t.SNI = c.Host
		}
	}
	return t
}

// Idle returns an idle connection to t that is still open and was used within maxIdle (0: no limit of the caller's);
// nil if there is none.
func (p *Pools) Idle(t Target, maxIdle time.Duration) *Conn {
	pool := p.pool(t)
	for {
		c := pool.take()
		if c == nil {
			return nil
		}
		idle := time.Since(c.idleSince)
		if (maxIdle <= 0 || idle < maxIdle) && (idle < busy || c.Alive()) {
			return c
		}
		c.Close()
	}
}

// Dial makes a new connection to t within timeout.
func (p *Pools) Dial(ctx context.Context, t Target, timeout time.Duration) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nc, err := p.dial(ctx, "tcp", t.Addr)
	if err != nil {
		return nil, err
	}
	if t.TLS {
		secured := tls.Client(nc, &tls.Config{ServerName: t.SNI, InsecureSkipVerify: t.Insecure, MinVersion: tls.VersionTLS12})
		if err := secured.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, err
		}
		nc = secured
	}
	return newConn(nc, p.pool(t)), nil
}

func (p *Pools) pool(addr Target) *Pool {
	p.mu.RLock()
	pool := p.pools[addr]
	p.mu.RUnlock()
	if pool != nil {
		return pool
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if pool = p.pools[addr]; pool == nil {
		pool = &Pool{}
		p.pools[addr] = pool
	}
	return pool
}

func (p *Pool) take() *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c
}

func (p *Pool) put(c *Conn) {
	c.idleSince = time.Now()
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < MaxIdle
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.Close()
	}
}

// sweep closes connections that were idle for too long or that the endpoint closed,.
func (p *Pools) sweep() {
	defer close(p.done)
	tick := time.NewTicker(IdleTimeout / 4)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case now := <-tick.C:
			p.mu.RLock()
			pools := make([]*Pool, 0, len(p.pools))
			for _, pool := range p.pools {
				pools = append(pools, pool)
			}
			p.mu.RUnlock()
			for _, pool := range pools {
				pool.expire(now.Add(-IdleTimeout))
			}
		}
	}
}

// expire closes the connections that are idle since before.
func (p *Pool) expire(before time.Time) {
	p.mu.Lock()
	var old []*Conn
	kept := p.idle[:0]
	for _, c := range p.idle {
		if c.idleSince.Before(before) || !c.Alive() {
			old = append(old, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}

// Close closes every idle connection; one in use is closed when it is released.
func (p *Pools) Close() {
	close(p.stop)
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pool := range p.pools {
		pool.mu.Lock()
		pool.closed = true
		for _, c := range pool.idle {
			c.Close()
		}
		pool.idle = nil
		pool.mu.Unlock()
	}
}
