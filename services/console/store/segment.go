package store

import (
	"encoding/binary"
	"hash/maphash"
	"strings"

	"example.com/bookinfo/services/console/span"
)

const (
	chunkBits = 18
	chunkSize = 1 << chunkBits
	// inlineAfter is the number of different values after which a key's further values are no longer shared by the
	// dictionary but stand in the records.
	inlineAfter = 512
	// maxSpanBytes bounds the strings of one span, so that a record always fits a chunk.
	maxSpanBytes = chunkSize / 4
)

// What an entry of a shape is. The value of the fields is text; ports are decimal.
const (
	fieldService = iota
	fieldName
	fieldVersion
	fieldIP
	fieldHost
	fieldRemoteService
	fieldRemoteIP
	fieldRemotePort
	fieldStatusMessage
	fieldTraceState
	fieldScope
	fieldCut
	fieldTag
	fieldResource
	fieldEvent
	fieldEventTag // of the last event before it
)

// requestIDTag is always in the record: it differs with every request.
const requestIDTag = "guid:x-request-id"

// entry is one name and value of a span, in the order in which decoding puts them back.
type entry struct {
	field      byte
	inline     bool
	key, value string
}

type keyName struct {
	field byte
	name  string
}

type pairName struct {
	key   uint32
	value string
}

type keyInfo struct {
	keyName
	values int
	inline bool
}

// shape is what many spans have in common: everything but ids, times and the values that differ with each request.
type shape struct {
	encoded                      []byte // uvarints: pair<<1, or key<<1|1 for a value in the record
	app, version, ip, host, name uint32 // pairs; name is 0 when it stands in the record
	remote                       uint32 // pair of the remote service
	series, node                 uint32 // in the rollups
	spans, last                  uint32 // how many records, and the offset of the newest
	events, inlines              uint32
	kind                         span.Kind
	status                       span.Status
	shared                       bool
}

// segment holds the spans of a stretch of time (that of their arrival). Records are bytes in chunks that the garbage
// collector does not look into; what is shared stands in the segment's own dictionary. A segment is evicted whole.
type segment struct {
	seq    uint32
	base   int64 // records' times are relative to it
	chunks [][]byte
	used   uint32 // offset of the next record
	extra  int64  // bytes of dictionary and tables, by estimate

	keys   []keyInfo
	keyIDs map[keyName]uint32
	pairs  []pairName // pair 0 is the empty value
	pairID map[pairName]uint32
	shapes []shape
	byHash map[[2]uint64]uint32

	inlineKeys []keyName // small: looked at for each tag
	buckets    []uint32  // chains of inlined values by hash, for equality

	spans    int64
	minStart int64
	maxStart int64
	slots    []uint32 // traces whose home this segment is or was
	carried  []uint32 // those among them that have spans in an earlier segment
	sealed   bool     // takes no more records
	retiring bool     // its traces are being dropped; nobody sees them any more
	index    *index   // of a sealed segment, once it is made
}

func newSegment(seq uint32, base int64, before *segment) *segment {
	g := &segment{
		seq: seq, base: base, used: 1,
		keyIDs: map[keyName]uint32{}, pairID: map[pairName]uint32{}, byHash: map[[2]uint64]uint32{},
		pairs:      make([]pairName, 1),
		inlineKeys: []keyName{{fieldTag, requestIDTag}},
		minStart:   1<<63 - 1, maxStart: -1 << 63,
	}
	g.keys = append(g.keys, keyInfo{})
	// What had too many values before will have them again.
	if before != nil {
		g.inlineKeys = append(g.inlineKeys, before.inlineKeys[1:]...)
	}
	for _, k := range g.inlineKeys {
		g.keys[g.key(k)].inline = true
	}
	return g
}

func (g *segment) bytes() int64 {
	n := int64(len(g.chunks))*chunkSize + g.extra + int64(len(g.buckets))*4
	if g.index != nil {
		return n + g.index.bytes()
	}
	return n + int64(cap(g.slots)+cap(g.carried))*4
}

func (g *segment) at(off uint32) []byte { return g.chunks[off>>chunkBits][off&(chunkSize-1):] }

func (g *segment) key(k keyName) uint32 {
	if id, ok := g.keyIDs[k]; ok {
		return id
	}
	k.name = clone(k.name)
	id := uint32(len(g.keys))
	g.keys = append(g.keys, keyInfo{keyName: k})
	g.keyIDs[k] = id
	g.extra += 120 + int64(len(k.name))
	return id
}

func (g *segment) pair(key uint32, value string) uint32 {
	p := pairName{key, value}
	if id, ok := g.pairID[p]; ok {
		return id
	}
	p.value = clone(value)
	id := uint32(len(g.pairs))
	g.pairs = append(g.pairs, p)
	g.pairID[p] = id
	g.extra += 88 + int64(len(value))
	k := &g.keys[key]
	k.values++
	if k.values > inlineAfter && !k.inline && canInline(k.field) && len(g.inlineKeys) < 64 {
		k.inline = true
		g.inlineKeys = append(g.inlineKeys, k.keyName)
	}
	return id
}

// canInline leaves out what the rollups and filters read from the shape.
func canInline(field byte) bool {
	switch field {
	case fieldService, fieldVersion, fieldIP, fieldHost, fieldRemoteService, fieldEvent, fieldCut:
		return false
	}
	return true
}

func (g *segment) inlined(field byte, key string) bool {
	for i := range g.inlineKeys {
		if k := &g.inlineKeys[i]; k.field == field && k.name == key {
			return true
		}
	}
	return false
}

// shaper takes spans apart; one is reused for all spans.
type shaper struct {
	seeds   [2]maphash.Seed
	hashed  []byte  // everything that a shape stands for
	inline  []entry // values that stand in the record
	size    int     // bytes of text
	collect bool    // also into entries
	entries []entry
	record  []byte
}

func (h *shaper) add(g *segment, field byte, key, value string) {
	in := g.inlined(field, key)
	h.size += len(key) + len(value)
	if h.collect {
		h.entries = append(h.entries, entry{field, in, key, value})
	}
	h.hashed = append(h.hashed, field, byte(len(key)), byte(len(key)>>8), byte(b2i(in)))
	h.hashed = append(h.hashed, key...)
	if in {
		h.inline = append(h.inline, entry{field, in, key, value})
		return
	}
	h.hashed = append(h.hashed, byte(len(value)), byte(len(value)>>8), byte(len(value)>>16))
	h.hashed = append(h.hashed, value...)
}

func (h *shaper) addNonEmpty(g *segment, field byte, value string) {
	if value != "" {
		h.add(g, field, "", value)
	}
}

// takeApart fills hashed and inline, and entries when they are collected.
func (h *shaper) takeApart(g *segment, s *span.Span) {
	h.entries, h.inline, h.hashed, h.size = h.entries[:0], h.inline[:0], h.hashed[:0], 0
	h.hashed = append(h.hashed, byte(s.Kind), byte(s.Status), byte(b2i(s.Shared)))
	h.add(g, fieldService, "", s.Service)
	h.add(g, fieldName, "", s.Name)
	h.addNonEmpty(g, fieldVersion, s.Version)
	h.addNonEmpty(g, fieldIP, s.IP)
	h.addNonEmpty(g, fieldHost, s.Host)
	if s.Remote != (span.Endpoint{}) {
		h.addNonEmpty(g, fieldRemoteService, s.Remote.Service)
		h.addNonEmpty(g, fieldRemoteIP, s.Remote.IP)
		if s.Remote.Port != 0 {
			h.add(g, fieldRemotePort, "", itoa(s.Remote.Port))
		}
	}
	h.addNonEmpty(g, fieldStatusMessage, s.StatusMessage)
	h.addNonEmpty(g, fieldTraceState, s.TraceState)
	h.addNonEmpty(g, fieldScope, s.Scope)
	for i := range s.Tags {
		h.add(g, fieldTag, s.Tags[i].Key, s.Tags[i].Value)
	}
	for i := range s.Resource {
		h.add(g, fieldResource, s.Resource[i].Key, s.Resource[i].Value)
	}
	for i := range s.Events {
		h.add(g, fieldEvent, "", s.Events[i].Name)
		for _, t := range s.Events[i].Tags {
			h.add(g, fieldEventTag, t.Key, t.Value)
		}
	}
	for _, c := range s.Cut {
		h.add(g, fieldCut, "", c)
	}
}

// shapeOf returns the number of the span's shape, made when it is new.
func (h *shaper) shapeOf(g *segment, s *span.Span, r *rollups) uint32 {
	h.takeApart(g, s)
	if h.size > maxSpanBytes {
		fit(s)
		h.takeApart(g, s)
	}
	// 128 bits under two secret seeds: two shapes do not meet by accident or by design.
	hash := [2]uint64{maphash.Bytes(h.seeds[0], h.hashed), maphash.Bytes(h.seeds[1], h.hashed)}
	if id, ok := g.byHash[hash]; ok {
		return id
	}
	h.collect = true
	h.takeApart(g, s)
	h.collect = false
	id := uint32(len(g.shapes))
	g.shapes = append(g.shapes, h.newShape(g, s, r))
	g.byHash[hash] = id
	return id
}

// recordBound is more than the record of the span that was taken apart can take.
func (h *shaper) recordBound(s *span.Span) int {
	n := 128 + 16*len(s.Events)
	for i := range h.inline {
		n += len(h.inline[i].value) + 32
	}
	for i := range s.Links {
		n += 48
		for _, t := range s.Links[i].Tags {
			n += len(t.Key) + len(t.Value) + 8
		}
	}
	return n
}

func (h *shaper) newShape(g *segment, s *span.Span, r *rollups) shape {
	sh := shape{kind: s.Kind, status: s.Status, shared: s.Shared, events: uint32(len(s.Events))}
	enc := make([]byte, 0, 2*len(h.entries))
	region := ""
	for _, e := range h.entries {
		key := g.key(keyName{e.field, e.key})
		if e.inline {
			enc = binary.AppendUvarint(enc, uint64(key)<<1|1)
			sh.inlines++
			continue
		}
		p := g.pair(key, e.value)
		enc = binary.AppendUvarint(enc, uint64(p)<<1)
		switch e.field {
		case fieldService:
			sh.app = p
		case fieldName:
			sh.name = p
		case fieldVersion:
			sh.version = p
		case fieldIP:
			sh.ip = p
		case fieldHost:
			sh.host = p
		case fieldRemoteService:
			sh.remote = p
		case fieldTag, fieldResource:
			if e.key == "cloud.region" || (region == "" && e.key == "istio.cluster_id") {
				region = e.value
			}
		}
	}
	sh.encoded = append(make([]byte, 0, len(enc)), enc...)
	sh.series = r.seriesOf(seriesKey{app: s.Service, version: s.Version, ip: s.IP, host: s.Host, region: region})
	sh.node = r.nodeOf(nodeKey{s.Service, s.Version})
	g.extra += 112 + 36 + int64(len(enc))
	return sh
}

// text is the value of a pair, "" for pair 0.
func (g *segment) text(pair uint32) string { return g.pairs[pair].value }

func clone(s string) string { return strings.Clone(s) }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
