package deliver

import (
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// Lane says what the endpoint of a subscription is given by this node at the moment.
// There is nothing to tell of an endpoint for which nothing is outstanding.
func (s *Sender) Lane(k hook.SubscriptionKey) hook.Lane {
	sub, app := s.directory.Subscription(k)
	if sub == nil {
		return hook.Lane{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[sub.Serving(app).URL]
	if l == nil {
		return hook.Lane{}
	}
	v := hook.Lane{Flying: l.flying, InFlight: s.allowed(l), SparedUntil: l.breaker.until}
	if l.limiter != nil {
		v.PerSecond = float64(l.limiter.Limit())
	}
	if l.breaker.probing {
		v.SparedUntil = time.Time{} // one request is finding out whether it answers
	}
	return v
}

// Standing is how the sender stands at a moment.
type Standing struct {
	// Lanes are the endpoints that have something in hand or under way, and Spared those
	// whose circuit breaker is open.
	Lanes, Spared int
	// InHand are the deliveries in memory, Bytes what their bodies have, and Deepest how
	// many of them one endpoint has.
	InHand, Bytes, Deepest int
	// InFlight are the attempts under way, and Recording those that have ended and are
	// not durable yet; Unrecorded are those of them that the store did not take.
	InFlight, Recording, Unrecorded int
	// Stored are the subscriptions for which there is more in the store that is due.
	Stored int
	// Nodes share the work, as far as this one knows, which is one of them.
	Nodes int
}

// lookLanes is how many lanes are looked at without letting anybody else in between.
const lookLanes = 256

// Standing tells how the sender stands. It looks at every endpoint for which there is
// something to remember.
func (s *Sender) Standing() (v Standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := 0
	for _, l := range s.lanes {
		if seen++; seen%lookLanes == 0 {
			// What comes and goes meanwhile is seen or not, as ranging over a map has it.
			s.mu.Unlock()
			s.mu.Lock()
		}
		held := 0
		for _, q := range l.queues {
			held += q.held
			if q.stored || q.pending > 0 {
				v.Stored++
			}
		}
		if held > 0 || l.flying > 0 {
			v.Lanes++
		}
		if !l.breaker.until.IsZero() {
			v.Spared++
		}
		v.Deepest = max(v.Deepest, held)
	}
	v.InHand, v.Bytes, v.InFlight, v.Recording, v.Unrecorded = s.held, s.bytes, s.flying, s.recording, len(s.failed)
	v.Nodes = s.nodes
	return v
}
