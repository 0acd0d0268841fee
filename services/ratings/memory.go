package ratings

import "sync"

// maxMemory bounds the posted ratings that are kept, in bytes of JSON. Beyond it the oldest are forgotten, so that no
// client can fill the memory.
const maxMemory = 8 << 20

// entryCost is what an entry takes beside its JSON, roughly.
const entryCost = 128

// ratingsV1 are the ratings of every product for which none were posted.
const ratingsV1 = `{"Reviewer1":5,"Reviewer2":4}`

// memory holds the ratings that were posted, for as long as the process lives.
type memory struct {
	mu     sync.RWMutex
	posted map[float64][]byte // JSON by product id
	order  []float64          // ids, the oldest first
	size   int
}

func newMemory() *memory { return &memory{posted: map[float64][]byte{}} }

func (m *memory) get(id float64) []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if ratings, ok := m.posted[id]; ok {
		return ratings
	}
	return []byte(ratingsV1)
}

func (m *memory) put(id float64, ratings []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.posted[id]; ok {
		m.size -= len(old)
	} else {
		m.size += entryCost
		m.order = append(m.order, id)
	}
	m.posted[id] = ratings
	m.size += len(ratings)
	for m.size > maxMemory && len(m.order) > 1 {
		oldest := m.order[0]
		m.order = m.order[1:]
		m.size -= len(m.posted[oldest]) + entryCost
		delete(m.posted, oldest)
	}
}
