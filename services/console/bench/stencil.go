package main

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// stencil is one post of OTLP whose ids and times are written anew for each use, so that senders cost little beside
// the console that they share processors with.
type stencil struct {
	rnd      *rand.Rand
	spans    int
	body     []byte
	ids      [][]int // places of each id's 8 bytes
	requests [][]int // places of each x-request-id's last 12 digits
	times    []int
	now      time.Time
}

func newStencil(t *traffic, spans int) (*stencil, error) {
	made := t.spans(spans)
	body, err := otlp(made).MarshalProto()
	if err != nil {
		return nil, err
	}
	s := &stencil{rnd: t.rnd, spans: len(made), body: body, now: t.start}
	ids, requests, times := map[uint64]int{}, map[string]int{}, map[uint64]bool{}
	for i := range made {
		m := &made[i]
		for _, id := range []uint64{binary.BigEndian.Uint64(m.trace[:]), binary.BigEndian.Uint64(m.trace[8:]), m.id} {
			if _, ok := ids[id]; !ok {
				ids[id] = len(ids)
			}
		}
		if tail := m.request[len(m.request)-12:]; len(requests) == 0 || requests[tail] == 0 {
			requests[tail] = len(requests) + 1
		}
		times[uint64(m.start.UnixNano())], times[uint64(m.start.Add(m.duration).UnixNano())] = true, true
	}
	s.ids, s.requests = make([][]int, len(ids)), make([][]int, len(requests))
	for at := 0; at+12 <= len(body); at++ {
		if i, ok := ids[binary.BigEndian.Uint64(body[at:])]; ok {
			s.ids[i] = append(s.ids[i], at)
		}
		if times[binary.LittleEndian.Uint64(body[at:])] {
			s.times = append(s.times, at)
		}
		if i := requests[string(body[at:at+12])]; i > 0 {
			s.requests[i-1] = append(s.requests[i-1], at)
		}
	}
	return s, nil
}

// next is the post for that moment, valid until the next call.
func (s *stencil) next(now time.Time) []byte {
	for _, places := range s.ids {
		id := s.rnd.Uint64() | 1
		for _, at := range places {
			binary.BigEndian.PutUint64(s.body[at:], id)
		}
	}
	var raw [6]byte
	for _, places := range s.requests {
		binary.BigEndian.PutUint32(raw[:], s.rnd.Uint32())
		binary.BigEndian.PutUint16(raw[4:], uint16(s.rnd.Uint32()))
		for _, at := range places {
			hex.Encode(s.body[at:], raw[:])
		}
	}
	later := uint64(now.Sub(s.now))
	s.now = now
	for _, at := range s.times {
		binary.LittleEndian.PutUint64(s.body[at:], binary.LittleEndian.Uint64(s.body[at:])+later)
	}
	return s.body
}
