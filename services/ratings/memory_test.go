package ratings

import (
	"bytes"
	"testing"
)

func TestMemoryForgetsTheOldest(t *testing.T) {
	m := newMemory()
	large := bytes.Repeat([]byte("1"), maxMemory/4)
	for id := range 10 {
		m.put(float64(id), large)
	}
	if m.size > maxMemory {
		t.Errorf("holds %d bytes, more than %d", m.size, maxMemory)
	}
	if got := m.get(0); string(got) != ratingsV1 {
		t.Error("the oldest ratings are still there")
	}
	if got := m.get(9); !bytes.Equal(got, large) {
		t.Error("the newest ratings are gone")
	}
	m.put(9, []byte("2"))
	if got := m.get(9); string(got) != "2" {
		t.Errorf("got %s after the second post", got)
	}
	if len(m.order) != len(m.posted) {
		t.Errorf("%d ids in order, %d posted", len(m.order), len(m.posted))
	}
}
