package sidecar

import "sync"

// syncMap remembers values that are made from their keys, up to a number of them.
type syncMap[K comparable, V any] struct {
	mu     sync.RWMutex
	values map[K]V
}

// get returns the value of key, making it if it is not there. Beyond limit nothing more is remembered, and the zero
// value is returned.
func (m *syncMap[K, V]) get(key K, limit int, newValue func() V) V {
	m.mu.RLock()
	v, ok := m.values[key]
	m.mu.RUnlock()
	if ok {
		return v
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok = m.values[key]; ok || len(m.values) >= limit {
		return v
	}
	if m.values == nil {
		m.values = map[K]V{}
	}
	v = newValue()
	m.values[key] = v
	return v
}
