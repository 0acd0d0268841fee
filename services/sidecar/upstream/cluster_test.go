package upstream

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"example.com/bookinfo/services/sidecar/route"
)

func hosts(n int) []route.Endpoint {
	var endpoints []route.Endpoint
	for i := range n {
		endpoints = append(endpoints, route.Endpoint{Address: fmt.Sprintf("10.0.0.%d:9080", i+1)})
	}
	return endpoints
}

func TestBalancers(t *testing.T) {
	for _, kind := range []route.BalancerKind{route.LeastRequest, route.RoundRobin, route.Random} {
		c := NewCluster(&route.Cluster{Endpoints: hosts(3), Balancer: route.Balancer{Kind: kind}}, nil)
		dice, count := rand.NewPCG(1, 2), map[string]int{}
		for range 3000 {
			h := c.Pick(dice, 0, false, nil)
			count[h.Endpoint.Address]++
			c.Done(h, 200)
		}
		for addr, n := range count {
			if n < 850 || n > 1150 || kind == route.RoundRobin && n != 1000 {
				t.Errorf("%s: %s was picked %d times of 3000", kind, addr, n)
			}
		}
	}
}

func TestLeastRequestAvoidsTheBusy(t *testing.T) {
	c := NewCluster(&route.Cluster{Endpoints: hosts(2)}, nil)
	dice := rand.NewPCG(1, 2)
	for range 100 { // none is ever done: the two stay level, since the busier is avoided whenever both are drawn
		c.Pick(dice, 0, false, nil)
	}
	a, b := c.hosts[0].requests.Load(), c.hosts[1].requests.Load()
	if a+b != 100 || a-b > 12 || b-a > 12 {
		t.Errorf("%d and %d requests", a, b)
	}
}

func TestWeights(t *testing.T) {
	endpoints := hosts(2)
	endpoints[0].Weight, endpoints[1].Weight = 9, 1
	c := NewCluster(&route.Cluster{Endpoints: endpoints, Balancer: route.Balancer{Kind: route.Random}}, nil)
	dice, first := rand.NewPCG(1, 2), 0
	for range 2000 {
		h := c.Pick(dice, 0, false, nil)
		if h.Endpoint.Address == endpoints[0].Address {
			first++
		}
		c.Done(h, 200)
	}
	if first < 1740 || first > 1860 {
		t.Errorf("nine of ten: %d of 2000", first)
	}
}

// TestRing: a key stays where it is, and the loss of a host moves only its own keys.
func TestRing(t *testing.T) {
	config := &route.Cluster{Endpoints: hosts(4), Balancer: route.Balancer{Kind: route.RingHash, MinimumRingSize: 1024}}
	all := NewCluster(config, nil)
	fewer := *config
	fewer.Endpoints = config.Endpoints[:3]
	less := NewCluster(&fewer, nil)
	dice, count := rand.NewPCG(1, 2), map[string]int{}
	for i := range 1000 {
		hash := route.HashString(fmt.Sprint("user-", i))
		first := all.Pick(dice, hash, true, nil).Endpoint.Address
		if again := all.Pick(dice, hash, true, nil).Endpoint.Address; again != first {
			t.Fatalf("key %d moved from %s to %s", i, first, again)
		}
		count[first]++
		if now := less.Pick(dice, hash, true, nil).Endpoint.Address; first != config.Endpoints[3].Address && now != first {
			t.Errorf("key %d moved from %s to %s though its host stayed", i, first, now)
		}
	}
	for addr, n := range count {
		if n < 150 || n > 350 {
			t.Errorf("%s has %d keys of 1000", addr, n)
		}
	}
}

func TestAvoidsWhatWasTried(t *testing.T) {
	c := NewCluster(&route.Cluster{Endpoints: hosts(2), Balancer: route.Balancer{Kind: route.RoundRobin}}, nil)
	dice := rand.NewPCG(1, 2)
	for range 20 {
		first := c.Pick(dice, 0, false, nil)
		if second := c.Pick(dice, 0, false, []*Host{first}); second == first {
			t.Fatal("the host that was tried before was picked again")
		}
	}
	if NewCluster(&route.Cluster{}, nil).Pick(dice, 0, false, nil) != nil {
		t.Error("a host of an empty cluster")
	}
}

// TestOutlier ejects a host that fails in a row, brings it back after its time, and ejects it longer the next time.
// What is known of it survives a change of the table.
func TestOutlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := &route.Cluster{
			Endpoints: hosts(2), Balancer: route.Balancer{Kind: route.RoundRobin},
			Outlier: &route.Outlier{Consecutive5xx: 3, BaseEjection: 10 * time.Second, MaxEjectionPercent: 50},
		}
		c := NewCluster(config, nil)
		dice := rand.NewPCG(1, 2)
		bad := config.Endpoints[0].Address
		send := func() (toBad int) {
			for range 10 {
				h := c.Pick(dice, 0, false, nil)
				status := 200
				if h.Endpoint.Address == bad {
					toBad++
					status = 500
				}
				c.Done(h, status)
			}
			return toBad
		}
		if n := send(); n != 3 {
			t.Errorf("the failing host got %d requests, want 3 before it is ejected", n)
		}
		c = NewCluster(config, c)
		if n := send(); n != 0 {
			t.Errorf("the ejected host got %d requests", n)
		}
		time.Sleep(11 * time.Second)
		if n := send(); n != 3 {
			t.Errorf("after its time the host got %d requests, want 3", n)
		}
		time.Sleep(11 * time.Second)
		if n := send(); n != 0 {
			t.Errorf("the second ejection was no longer than the first: %d requests", n)
		}
	})
}

func TestLimits(t *testing.T) {
	c := NewCluster(&route.Cluster{Limits: route.Limits{MaxConnections: 1, MaxPending: 1}}, nil)
	if a, _ := c.Begin(); a != Admitted {
		t.Fatal("the first was not admitted")
	}
	a, turn := c.Begin()
	if a != Queued {
		t.Fatal("the second is not queued")
	}
	if a, _ := c.Begin(); a != Refused {
		t.Fatal("the third was not refused")
	}
	c.End()
	<-turn
	c.End()
	a, _ = c.Begin()
	b, turn := c.Begin()
	c.Leave(turn)
	if a != Admitted || b != Queued {
		t.Errorf("then %v and %v", a, b)
	}
	if b, _ := c.Begin(); b != Queued {
		t.Errorf("whoever left still waits: %v", b)
	}
}
