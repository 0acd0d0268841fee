package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
)

// start starts the services and the bare servers, and lists what to load.
func (b *bench) start(ctx context.Context) ([]*load, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var failed error
	start := func(name, binary string, args, env []string) *process {
		if failed != nil {
			return &process{}
		}
		p, err := startProcess(ctx, name, binary, args, env)
		if err != nil {
			failed = err
			return &process{}
		}
		b.started = append(b.started, p)
		return p
	}
	bare := func(name string, args ...string) *process {
		return start("bare "+name, self, append([]string{"bare"}, args...), nil)
	}
	ours := func(name string, env ...string) *process {
		return start(name, filepath.Join(b.bin, name), nil, env)
	}

	bareRatings := bare("ratings", "leaf")
	bareDetails := bare("details", "leaf")
	bareReviews := bare("reviews", "call", bareRatings.url("/ratings/0"))
	barePage := bare("page", "fresh", bareDetails.url("/details/0"), bareReviews.url("/reviews/0"))
	barePooled := bare("page, pooled", "call", bareDetails.url("/details/0"), bareReviews.url("/reviews/0"))

	ratings := ours("ratings")
	details := ours("details")
	reviews := ours("reviews", "ENABLE_RATINGS=true", "RATINGS_HOSTNAME=127.0.0.1", "RATINGS_SERVICE_PORT="+ratings.port)
	upstreams := []string{
		"DETAILS_HOSTNAME=127.0.0.1", "DETAILS_SERVICE_PORT=" + details.port,
		"REVIEWS_HOSTNAME=127.0.0.1", "REVIEWS_SERVICE_PORT=" + reviews.port,
		"RATINGS_HOSTNAME=127.0.0.1", "RATINGS_SERVICE_PORT=" + ratings.port,
	}
	page := ours("productpage", upstreams...)
	pooled := ours("productpage", append(upstreams, "POOL_CONNECTIONS=true")...)
	if failed != nil {
		return nil, failed
	}
	leaf := &load{name: "bare leaf", path: "/ratings/0", front: bareRatings, processes: []*process{bareRatings}, share: 1}
	call := &load{name: "bare reviews, itself", path: "/reviews/0", front: bareReviews, processes: []*process{bareReviews}, share: 2}
	bareServices := []*process{bareDetails, bareReviews, bareRatings}
	fresh := &load{name: "bare page, fresh connections", path: "/productpage", front: barePage, processes: slices.Concat(bareServices, []*process{barePage}), share: 10}
	kept := &load{name: "bare page, pooled", path: "/productpage", front: barePooled, processes: slices.Concat(bareServices, []*process{barePooled}), share: 10}
	backends := []*process{details, reviews, ratings}
	return []*load{
		leaf,
		{name: "ratings", path: "/ratings/0", front: ratings, processes: []*process{ratings}, share: 1, bare: leaf, mark: "1.6 times bare"},
		{name: "details", path: "/details/0", front: details, processes: []*process{details}, share: 1, bare: leaf, mark: "1.6 times bare"},
		call,
		{name: "reviews with ratings, itself", path: "/reviews/0", front: reviews, processes: []*process{reviews}, share: 2, bare: call},
		{name: "reviews with ratings, both", path: "/reviews/0", front: reviews, processes: []*process{reviews, ratings}, share: 2, mark: "0.16"},
		fresh,
		{name: "page, fresh connections", path: "/productpage", front: page, processes: slices.Concat(backends, []*process{page}), share: 10, bare: fresh, mark: "1.1, 10 ms"},
		kept,
		{name: "page, pooled", path: "/productpage", front: pooled, processes: slices.Concat(backends, []*process{pooled}), share: 10, bare: kept, mark: "0.55, 5 ms"},
	}, nil
}
