package upstream

import (
	"context"
	"net"
	"sync"
	"time"
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
	pools map[string]*Pool
	stop  chan struct{}
	done  chan struct{}
}

// NewPools returns empty pools. Close must be called. dial may be nil for plain TCP.
func NewPools(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Pools {
	if dial == nil {
		dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	p := &Pools{dial: dial, pools: map[string]*Pool{}, stop: make(chan struct{}), done: make(chan struct{})}
	go p.sweep()
	return p
}

// Pool holds the idle connections of one endpoint, the last used on top.
type Pool struct {
	mu     sync.Mutex
	idle   []*Conn
	closed bool
}

// Idle returns an idle connection to addr (HOST:PORT) that is still open; nil if there is none.
func (p *Pools) Idle(addr string) *Conn {
	pool := p.pool(addr)
	for {
		c := pool.take()
		if c == nil || c.alive() {
			return c
		}
		c.Close()
	}
}

// Dial makes a new connection to addr within timeout.
func (p *Pools) Dial(ctx context.Context, addr string, timeout time.Duration) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nc, err := p.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return newConn(nc, p.pool(addr)), nil
}

func (p *Pools) pool(addr string) *Pool {
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
		if c.idleSince.Before(before) || !c.alive() {
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
