package hook

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"
)

// EventID numbers an event: 42 bits of Unix milliseconds, 7 of the node that
// accepted it, 14 of sequence. Ids of one node rise strictly; over all nodes
// they are ordered by time to within the nodes' clocks.
type EventID int64

const (
	sequenceBits = 14
	nodeBits     = 7

	// MaxNode is the highest node number that fits an [EventID].
	MaxNode = 1<<nodeBits - 1
)

// Time returns when the event was accepted, to the millisecond.
func (id EventID) Time() time.Time { return time.UnixMilli(int64(id) >> (sequenceBits + nodeBits)) }

// Node returns the node that accepted the event.
func (id EventID) Node() int { return int(id>>sequenceBits) & MaxNode }

// FirstID returns the lowest id that [IDs] can give at t, or the nearest there is.
func FirstID(t time.Time) int64 {
	const shift = sequenceBits + nodeBits
	if ms := t.UnixMilli(); ms > math.MaxInt64>>shift {
		return math.MaxInt64
	} else {
		return max(ms, 0) << shift
	}
}

// String returns the id as the first three groups of the request ids of the
// event's deliveries: 8_4_4 lower-case hex digits.
func (id EventID) String() string { return string(id.append(make([]byte, 0, 18))) }

func (id EventID) append(b []byte) []byte {
	b = appendHex(b, uint64(id)>>32, 8)
	b = append(b, '_')
	b = appendHex(b, uint64(id)>>16, 4)
	b = append(b, '_')
	return appendHex(b, uint64(id), 4)
}

// ParseEventID reads what [EventID.String] writes.
func ParseEventID(s string) (EventID, error) {
	if len(s) == 18 && s[8] == '_' && s[13] == '_' {
		if n, ok := parseHex(s[:8] + s[9:13] + s[14:]); ok {
			return EventID(n), nil
		}
	}
	return 0, fmt.Errorf("%q is not an event id (18 characters, as in 0193a4f2_b7c0_0001)", s)
}

// IDs hands out ids that are ordered like [EventID]s, for one node. It is safe for
// concurrent use.
type IDs struct {
	node atomic.Int64
	last atomic.Int64 // milliseconds and sequence, without the node between them
}

// NewIDs returns a source of ids for node, at most [MaxNode], all of them higher
// than after: a clock that was set back must not lead to an id being given twice.
func NewIDs(node int, after int64) *IDs {
	ids := &IDs{}
	ids.node.Store(int64(node) & MaxNode)
	ids.last.Store(after>>(sequenceBits+nodeBits)<<sequenceBits | after&(1<<sequenceBits-1))
	return ids
}

// Become makes the ids that are given from now on those of another node, all of them
// higher than after.
func (s *IDs) Become(node int, after int64) {
	s.Raise(after)
	s.node.Store(int64(node) & MaxNode)
}

// Raise makes the ids that are given from now on higher than after, whatever node gave
// that.
func (s *IDs) Raise(after int64) {
	floor := (after>>(sequenceBits+nodeBits)+1)<<sequenceBits - 1
	for {
		last := s.last.Load()
		if last >= floor || s.last.CompareAndSwap(last, floor) {
			return
		}
	}
}

// Next returns the id of what happens at now. When more happens in a millisecond
// than the sequence holds, ids run ahead of the clock.
func (s *IDs) Next(now time.Time) int64 {
	floor := now.UnixMilli() << sequenceBits
	for {
		last := s.last.Load()
		next := max(last+1, floor)
		if s.last.CompareAndSwap(last, next) {
			return s.id(next)
		}
	}
}

// Last returns the id that was given last: what is given from now on is higher.
func (s *IDs) Last() int64 { return s.id(s.last.Load()) }

// id writes milliseconds and sequence with the node between them.
func (s *IDs) id(n int64) int64 {
	const mask = 1<<sequenceBits - 1
	return n>>sequenceBits<<(sequenceBits+nodeBits) | s.node.Load()<<sequenceBits | n&mask
}

// SubscriptionKey numbers a subscription where its text id would be too long:
// in stored rows and in request ids. It is the first 63 bits of the id.
type SubscriptionKey int64

// NewID returns a random id of 22 characters, 128 bits in URL-safe base64: the
// shape that ids of apps, clients and subscriptions have in the public API. It does
// not begin with a hyphen, for then a command line would take it for a flag.
func NewID() string {
	for {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails, says crypto/rand
		if id := base64.RawURLEncoding.EncodeToString(b[:]); id[0] != '-' {
			return id
		}
	}
}

// NewSecret returns a random secret of 32 characters, 192 bits.
func NewSecret() string {
	var b [24]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// KeyOf returns the key that belongs to a subscription id of [NewID].
func KeyOf(id string) (SubscriptionKey, error) {
	b, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(b) != 16 {
		return 0, fmt.Errorf("%q is not a subscription id (22 characters of A-Z a-z 0-9 - _)", id)
	}
	k := SubscriptionKey(binary.BigEndian.Uint64(b) >> 1)
	if k == 0 { // it stands for all or none
		return 0, fmt.Errorf("%q is no subscription's id", id)
	}
	return k, nil
}

// ListenerKey is what stands for a subscription in the request ids of those who listen
// for an app's events without one. It is the same each time.
func ListenerKey(app string) SubscriptionKey {
	sum := sha256.Sum256([]byte("listener of " + app))
	return SubscriptionKey(binary.BigEndian.Uint64(sum[:]) >> 1)
}

// DeliveryID names the event and the subscription it is owed to. It is what
// receivers see as request id, the same on every attempt, so it needs neither
// a column nor a generator of its own.
type DeliveryID struct {
	Event        EventID
	Subscription SubscriptionKey
}

// String returns the request id: lower-case hex in groups of 8_4_4_4_12.
func (d DeliveryID) String() string { return string(d.Append(make([]byte, 0, 36))) }

// Append appends the request id.
func (d DeliveryID) Append(b []byte) []byte {
	b = append(d.Event.append(b), '_')
	b = append(appendHex(b, uint64(d.Subscription)>>48, 4), '_')
	return appendHex(b, uint64(d.Subscription), 12)
}

// ParseDeliveryID reads what [DeliveryID.String] writes.
func ParseDeliveryID(s string) (DeliveryID, error) {
	if len(s) == 36 && s[18] == '_' && s[23] == '_' {
		e, err := ParseEventID(s[:18])
		if n, ok := parseHex(s[19:23] + s[24:]); ok && err == nil {
			return DeliveryID{e, SubscriptionKey(n)}, nil
		}
	}
	return DeliveryID{}, fmt.Errorf("%q is not a delivery id (36 characters, as in 0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52)", s)
}

const hexDigits = "0123456789abcdef"

// appendHex appends the lowest digits of n.
func appendHex(b []byte, n uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, hexDigits[n>>shift&15])
	}
	return b
}

// parseHex reads 16 digits as a number that fits an int64.
func parseHex(s string) (int64, bool) {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 16, 64)
	return n, err == nil
}
