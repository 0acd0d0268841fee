// Package docker_test builds the images of this folder's Dockerfile and looks at what they hold and do, each alone and
// together; package stack, a module of its own, at docker-compose.yaml.
package docker_test

import (
	"context"
	"sync"
	"testing"

	"example.com/bookinfo/deploy/docker/imagetest"
)

const (
	registry = imagetest.Registry
	version  = imagetest.Version
	revision = imagetest.Revision
)

var built struct {
	sync.Once
	tag string
}

// images builds every image once for all tests, with one bake, and returns their tag.
func images(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		built.tag = imagetest.Build(t, "service", "bookinfo", "details-v1-tools", "reviews-v1-tools", "ratings-v1-tools")
	})
	if built.tag == "" {
		t.Skip("the images are not there, as an earlier test says")
	}
	return built.tag
}

func service(tag, name string) string { return registry + "/examples-bookinfo-" + name + ":" + tag }

func root(t *testing.T) string {
	t.Helper()
	return imagetest.Root(t)
}

func docker(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	return imagetest.Docker(ctx, t, args...)
}
