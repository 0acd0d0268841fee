package store

import (
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"strconv"
	"time"

	"example.com/bookinfo/services/console/span"
)

// A record is one span in its segment's chunks:
//
//	flags, [distance to the trace's previous record | its location], slot of the trace, shape,
//	distance to the shape's previous record, id, [parent id], start, duration, received,
//	times of the events, values that the shape leaves out, [links]
//
// Numbers are varints; start is relative to the segment's base, times of events to the start; received is in
// milliseconds after the start.
const (
	recPrevHere = 1 << iota
	recPrevElsewhere
	recParent
	recLinks
)

// How a value that the shape leaves out is written.
const (
	valueOfTrace = iota // the x-request-id that the trace's entry holds
	valueUUID           // 16 bytes
	valueText           // length and bytes
)

// record is the fixed part of a record, read.
type record struct {
	off, shape, slot     uint32
	prevShape            uint32 // offset of the previous record of that shape, 0 for none
	prev                 location
	id, parent           uint64
	start, dur, received int64
	links                bool
	body                 []byte
}

func (g *segment) read(off uint32) record {
	b := g.at(off)
	r := record{off: off, links: b[0]&recLinks != 0}
	flags, i := b[0], 1
	var v uint64
	switch {
	case flags&recPrevHere != 0:
		v, i = uvarint(b, i)
		r.prev = locate(g.seq, off-uint32(v))
	case flags&recPrevElsewhere != 0:
		r.prev = location(binary.LittleEndian.Uint64(b[i:]))
		i += 8
	}
	v, i = uvarint(b, i)
	r.slot = uint32(v)
	v, i = uvarint(b, i)
	r.shape = uint32(v)
	if v, i = uvarint(b, i); v != 0 {
		r.prevShape = off - uint32(v)
	}
	r.id = binary.LittleEndian.Uint64(b[i:])
	i += 8
	if flags&recParent != 0 {
		r.parent = binary.LittleEndian.Uint64(b[i:])
		i += 8
	}
	v, i = uvarint(b, i)
	r.start = g.base + unzigzag(v)
	v, i = uvarint(b, i)
	r.dur = int64(v)
	v, i = uvarint(b, i)
	r.received = r.start + unzigzag(v)*int64(time.Millisecond)
	r.body = b[i:]
	return r
}

// uvarint reads at i and returns where it ends.
func uvarint(b []byte, i int) (uint64, int) {
	v := uint64(b[i] & 0x7f)
	for shift := 7; b[i] >= 0x80; shift += 7 {
		i++
		v |= uint64(b[i]&0x7f) << shift
	}
	return v, i + 1
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// encode writes a span as a record and returns it, with the places of the values that the chains of the segment
// lead to.
func (h *shaper) encode(g *segment, s *span.Span, e *trace, slot, shapeID uint32, off uint32) []byte {
	sh := &g.shapes[shapeID]
	b := append(h.record[:0], 0)
	switch {
	case e.head == 0:
	case e.head.segment() == g.seq:
		b[0] |= recPrevHere
		b = binary.AppendUvarint(b, uint64(off-e.head.offset()))
	default:
		b[0] |= recPrevElsewhere
		b = binary.LittleEndian.AppendUint64(b, uint64(e.head))
	}
	b = binary.AppendUvarint(b, uint64(slot))
	b = binary.AppendUvarint(b, uint64(shapeID))
	if sh.last == 0 {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(off-sh.last))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(s.ID))
	if s.ParentID != 0 {
		b[0] |= recParent
		b = binary.LittleEndian.AppendUint64(b, uint64(s.ParentID))
	}
	start := s.Start.UnixNano()
	b = binary.AppendUvarint(b, zigzag(start-g.base))
	b = binary.AppendUvarint(b, uint64(max(s.Duration, 0)))
	b = binary.AppendUvarint(b, zigzag((s.Received.UnixNano()-start)/int64(time.Millisecond)))
	for i := range s.Events {
		b = binary.AppendUvarint(b, zigzag(s.Events[i].Time.UnixNano()-start))
	}
	for i := range h.inline {
		b = g.appendValue(b, &h.inline[i], e, off, h.seeds[0])
	}
	if len(s.Links) > 0 {
		b[0] |= recLinks
		b = binary.AppendUvarint(b, uint64(len(s.Links)))
		for i := range s.Links {
			l := &s.Links[i]
			b = binary.LittleEndian.AppendUint64(b, l.TraceID.Hi)
			b = binary.LittleEndian.AppendUint64(b, l.TraceID.Lo)
			b = binary.LittleEndian.AppendUint64(b, uint64(l.SpanID))
			b = binary.AppendUvarint(b, uint64(len(l.Tags)))
			for _, t := range l.Tags {
				b = appendText(appendText(b, t.Key), t.Value)
			}
		}
	}
	h.record = b
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendValue writes a value and links it into the chain of its hash.
func (g *segment) appendValue(b []byte, en *entry, e *trace, rec uint32, seed maphash.Seed) []byte {
	hi, lo, uuid := parseUUID(en.value)
	if uuid && en.key == requestIDTag && e.reqHi == hi && e.reqLo == lo {
		return append(b, valueOfTrace)
	}
	if g.buckets == nil {
		g.buckets = make([]uint32, 1<<15)
	}
	bucket := &g.buckets[bucketFor(seed, en.key, en.value)&uint64(len(g.buckets)-1)]
	pos := rec + uint32(len(b))
	code := byte(valueText)
	if uuid {
		code = valueUUID
	}
	b = append(b, code)
	if *bucket == 0 {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(pos-*bucket))
	}
	b = binary.AppendUvarint(b, uint64(pos-rec))
	*bucket = pos
	if uuid {
		b = binary.BigEndian.AppendUint64(b, hi)
		return binary.BigEndian.AppendUint64(b, lo)
	}
	return appendText(b, en.value)
}

func bucketFor(seed maphash.Seed, key, value string) uint64 {
	return maphash.String(seed, value) ^ maphash.String(seed, key)
}

// chain calls f with the offset of each record that has an inlined value of that hash, until f returns false.
func (g *segment) chain(seed maphash.Seed, key, value string, f func(off uint32) bool) {
	if g.buckets == nil {
		return
	}
	pos := g.buckets[bucketFor(seed, key, value)&uint64(len(g.buckets)-1)]
	for pos != 0 {
		b := g.at(pos)[1:]
		d, n := binary.Uvarint(b)
		back, _ := binary.Uvarint(b[n:])
		if !f(pos - uint32(back)) {
			return
		}
		if d == 0 {
			return
		}
		pos -= uint32(d)
	}
}

// parseUUID reads the canonical lower-case form, so that it can be given back as it was.
func parseUUID(s string) (hi, lo uint64, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return 0, 0, false
	}
	var v [2]uint64
	n := 0
	for i := 0; i < 36; i++ {
		c := s[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			continue
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, 0, false
		}
		v[n>>4] = v[n>>4]<<4 | uint64(c)
		n++
	}
	return v[0], v[1], true
}

func formatUUID(hi, lo uint64) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], hi)
	binary.BigEndian.PutUint64(raw[8:], lo)
	var s [36]byte
	hex.Encode(s[0:8], raw[0:4])
	hex.Encode(s[9:13], raw[4:6])
	hex.Encode(s[14:18], raw[6:8])
	hex.Encode(s[19:23], raw[8:10])
	hex.Encode(s[24:36], raw[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// reader walks the body of a record.
type reader struct{ b []byte }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.b = r.b[n:]
	return v
}

func (r *reader) fixed() uint64 {
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) text() string {
	n := r.uvarint()
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) value(e *trace) string {
	code := r.b[0]
	r.b = r.b[1:]
	if code == valueOfTrace {
		return formatUUID(e.reqHi, e.reqLo)
	}
	r.uvarint()
	r.uvarint()
	if code == valueText {
		return r.text()
	}
	hi, lo := binary.BigEndian.Uint64(r.b), binary.BigEndian.Uint64(r.b[8:])
	r.b = r.b[16:]
	return formatUUID(hi, lo)
}

// each calls f with every entry of the span in its order, until f returns false.
func (g *segment) each(rec *record, e *trace, f func(field byte, key, value string) bool) (rest reader) {
	sh := &g.shapes[rec.shape]
	body := reader{rec.body}
	for range sh.events {
		body.uvarint()
	}
	for enc := sh.encoded; len(enc) > 0; {
		v, n := binary.Uvarint(enc)
		enc = enc[n:]
		var k *keyInfo
		var value string
		if v&1 == 1 {
			k, value = &g.keys[v>>1], body.value(e)
		} else {
			p := &g.pairs[v>>1]
			k, value = &g.keys[p.key], p.value
		}
		if !f(k.field, k.name, value) {
			break
		}
	}
	return body
}

// decode gives the span back as it came.
func (g *segment) decode(rec *record, e *trace) span.Span {
	sh := &g.shapes[rec.shape]
	s := span.Span{
		TraceID: e.id(), ID: span.ID(rec.id), ParentID: span.ID(rec.parent),
		Kind: sh.kind, Status: sh.status, Shared: sh.shared,
		Start: time.Unix(0, rec.start).UTC(), Duration: time.Duration(rec.dur), Received: time.Unix(0, rec.received).UTC(),
	}
	times := reader{rec.body}
	if sh.events > 0 {
		s.Events = make([]span.Event, 0, sh.events)
	}
	s.Tags = make(span.Tags, 0, min(len(sh.encoded), 32))
	rest := g.each(rec, e, func(field byte, key, value string) bool {
		switch field {
		case fieldService:
			s.Service = value
		case fieldName:
			s.Name = value
		case fieldVersion:
			s.Version = value
		case fieldIP:
			s.IP = value
		case fieldHost:
			s.Host = value
		case fieldRemoteService:
			s.Remote.Service = value
		case fieldRemoteIP:
			s.Remote.IP = value
		case fieldRemotePort:
			s.Remote.Port, _ = strconv.Atoi(value)
		case fieldStatusMessage:
			s.StatusMessage = value
		case fieldTraceState:
			s.TraceState = value
		case fieldScope:
			s.Scope = value
		case fieldCut:
			s.Cut = append(s.Cut, value)
		case fieldTag:
			s.Tags = append(s.Tags, span.Tag{Key: key, Value: value})
		case fieldResource:
			s.Resource = append(s.Resource, span.Tag{Key: key, Value: value})
		case fieldEvent:
			at := time.Unix(0, rec.start+unzigzag(times.uvarint())).UTC()
			s.Events = append(s.Events, span.Event{Time: at, Name: value})
		case fieldEventTag:
			ev := &s.Events[len(s.Events)-1]
			ev.Tags = append(ev.Tags, span.Tag{Key: key, Value: value})
		}
		return true
	})
	if rec.links {
		s.Links = make([]span.Link, rest.uvarint())
		for i := range s.Links {
			l := &s.Links[i]
			l.TraceID = span.TraceID{Hi: rest.fixed(), Lo: rest.fixed()}
			l.SpanID = span.ID(rest.fixed())
			for range rest.uvarint() {
				l.Tags = append(l.Tags, span.Tag{Key: rest.text(), Value: rest.text()})
			}
		}
	}
	return s
}

func itoa(n int) string { return strconv.Itoa(n) }
