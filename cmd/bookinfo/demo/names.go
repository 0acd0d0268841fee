package demo

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// dialFunc opens a connection, as [net.Dialer.DialContext] does.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// names is what the cluster's DNS and its Services are to the workloads: it leads the address of a service to one of
// the endpoints behind it, each in turn.
type names struct {
	mu        sync.Mutex
	endpoints map[string][]string // address as services write it, such as reviews:9080
	turn      map[string]int
}

func newNames() *names {
	return &names{endpoints: map[string][]string{}, turn: map[string]int{}}
}

func (n *names) add(address, endpoint string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.endpoints[address] = append(n.endpoints[address], endpoint)
}

// next returns the endpoint whose turn it is.
func (n *names) next(address string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.endpoints[address]
	if len(list) == 0 {
		return "", fmt.Errorf("no such service in the demo: %s", address)
	}
	i := n.turn[address]
	n.turn[address] = (i + 1) % len(list)
	return list[i], nil
}

func (n *names) dial(ctx context.Context, network, address string) (net.Conn, error) {
	endpoint, err := n.next(address)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, endpoint)
}
